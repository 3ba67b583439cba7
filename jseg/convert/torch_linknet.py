"""LinkNet: names of the authors' PyTorch form, and of their Lua form written out in the same manner."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows, torch_resnet


def lua(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.linknet as it is: trunk.*, dec.0 .. dec.3, head1 .. head3.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = torch_resnet.encoder(arrays, ('encoder',), prefix='trunk.')
  for i in range(4):
    for number, theirs in enumerate(('conv1', 'deconv', 'conv2'), start=1):
      layer = rows.deconv if theirs == 'deconv' else rows.conv
      table += layer(f'dec.{i}.{theirs}', (f'decode{i + 1}', f'conv{number}'))
      table += rows.norm(f'dec.{i}.bn{number}', (f'decode{i + 1}', f'norm{number}'))
  table += rows.deconv('head1', ('head1',)) + rows.norm('hbn1', ('head_norm1',))
  table += rows.conv('head2', ('head2',)) + rows.norm('hbn2', ('head_norm2',))
  table += rows.deconv('head3', ('score',))
  return rows.apply(arrays, table)


def port(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.linknet with decoder_bias=False, from e-lab/pytorch-linknet.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = torch_resnet.encoder(arrays, ('encoder',), block='encoder{0}.block{1}', first=1)
  for i in range(1, 5):
    for number, theirs in enumerate(('conv1', 'tp_conv', 'conv2'), start=1):
      layer = rows.deconv if theirs == 'tp_conv' else rows.conv
      table += layer(f'decoder{i}.{theirs}.0', (f'decode{i}', f'conv{number}'), bias=False)
      table += rows.norm(f'decoder{i}.{theirs}.1', (f'decode{i}', f'norm{number}'))
  table += rows.deconv('tp_conv1.0', ('head1',)) + rows.norm('tp_conv1.1', ('head_norm1',))
  table += rows.conv('conv2.0', ('head2',)) + rows.norm('conv2.1', ('head_norm2',))
  table += rows.deconv('tp_conv2', ('score',))
  return rows.apply(arrays, table)
