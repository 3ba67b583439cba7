"""SegNet and SegNet-Basic: names of the authors' prototxts, delta-onera/segnet_pytorch and pytorch-semseg."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows

_STAGES = (2, 2, 3, 3, 3)


def segnet(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.segnet from the layers of `segnet_inference.prototxt`: conv1_1, conv1_1_bn, ...

  Raises:
    ValueError: arrays are missing or left over.
  """
  return rows.apply(arrays, _segnet('conv{0}_{1}', 'conv{0}_{1}_bn', 'conv{0}_{1}_D', 'conv{0}_{1}_D_bn'))


def segnet_onera(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.segnet from delta-onera's names: conv11, bn11, ..., conv11d.

  Raises:
    ValueError: arrays are missing or left over.
  """
  return rows.apply(arrays, _segnet('conv{0}{1}', 'bn{0}{1}', 'conv{0}{1}d', 'bn{0}{1}d'))


def _segnet(conv: str, norm: str, decode: str, decode_norm: str) -> list[rows.Row]:
  """SegNet's rows; the arguments are the reference's names with places for stage and number within it."""
  table = []
  for i, convs in enumerate(_STAGES, start=1):
    for j in range(1, convs + 1):
      table += rows.conv(conv.format(i, j), ('encoder', f'conv{i}_{j}'))
      table += rows.norm(norm.format(i, j), ('encoder', f'norm{i}_{j}'))
      if (i, j) == (1, 1):
        table += rows.conv(decode.format(i, j), ('score',))  # the last convolution is bare
      else:
        table += rows.conv(decode.format(i, j), (f'decode{i}_{j}',))
        table += rows.norm(decode_norm.format(i, j), (f'decode_norm{i}_{j}',))
  return table


def segnet_ptsemseg(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.segnet with score_norm=True from the names of meetshah1995/pytorch-semseg.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = []
  for i, convs in enumerate(_STAGES, start=1):
    for j in range(1, convs + 1):
      down, up = f'down{i}.conv{j}.cbr_unit', f'up{i}.conv{convs + 1 - j}.cbr_unit'
      ours = ('score', 'score_norm') if (i, j) == (1, 1) else (f'decode{i}_{j}', f'decode_norm{i}_{j}')
      table += rows.conv(f'{down}.0', ('encoder', f'conv{i}_{j}'))
      table += rows.norm(f'{down}.1', ('encoder', f'norm{i}_{j}'))
      table += rows.conv(f'{up}.0', ours[:1]) + rows.norm(f'{up}.1', ours[1:])
  return rows.apply(arrays, table)


def segnet_basic(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.segnet_basic from the layers of `segnet_basic_inference.prototxt`.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = rows.conv('conv_classifier', ('score',))
  for i in range(1, 5):
    for theirs, ours in ((f'conv{i}', f'encode{i}'), (f'conv_decode{i}', f'decode{i}')):
      table += rows.conv(theirs, (ours,)) + rows.norm(f'{theirs}_bn', (f'{ours}_norm',))
  return rows.apply(arrays, table)
