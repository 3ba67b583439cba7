"""SegNet and SegNet-Basic: names of the authors' prototxts and of delta-onera/segnet_pytorch."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows

_STAGES = (2, 2, 3, 3, 3)


def _positions() -> list[tuple[int, int]]:
  return [(i, j) for i, convs in enumerate(_STAGES, start=1) for j in range(1, convs + 1)]


def segnet(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.segnet from the layers of `segnet_inference.prototxt`: conv1_1, conv1_1_bn, ...

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = []
  for i, j in _positions():
    table += rows.conv(f'conv{i}_{j}', ('encoder', f'conv{i}_{j}'))
    table += rows.norm(f'conv{i}_{j}_bn', ('encoder', f'norm{i}_{j}'))
    if (i, j) == (1, 1):
      table += rows.conv('conv1_1_D', ('score',))
    else:
      table += rows.conv(f'conv{i}_{j}_D', (f'decode{i}_{j}',))
      table += rows.norm(f'conv{i}_{j}_D_bn', (f'decode_norm{i}_{j}',))
  return rows.apply(arrays, table)


def segnet_onera(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.segnet from delta-onera's names: conv11, bn11, ..., conv11d.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = []
  for i, j in _positions():
    table += rows.conv(f'conv{i}{j}', ('encoder', f'conv{i}_{j}'))
    table += rows.norm(f'bn{i}{j}', ('encoder', f'norm{i}_{j}'))
    if (i, j) == (1, 1):
      table += rows.conv('conv11d', ('score',))
    else:
      table += rows.conv(f'conv{i}{j}d', (f'decode{i}_{j}',))
      table += rows.norm(f'bn{i}{j}d', (f'decode_norm{i}_{j}',))
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
