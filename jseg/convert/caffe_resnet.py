"""ResNets and PSPNet: layers of the authors' prototxts.

The ResNets' normalisation is two layers in Caffe, BatchNorm (bn2a_branch1) and Scale (scale2a_branch1); that
of PSPNet is one.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows

# Theirs, in the order of our conv1 .. conv3 and shortcut.
_BRANCHES = ('branch2a', 'branch2b', 'branch2c', 'branch1')
_PSPNET = ('1x1_reduce', '3x3', '1x1_increase', '1x1_proj')
# Blocks in the third of the four stages -> depth.
_DEPTHS = {6: 50, 23: 101, 36: 152}
_OURS = (('conv1', 'norm1'), ('conv2', 'norm2'), ('conv3', 'norm3'), ('shortcut', 'shortcut_norm'))


def depth(arrays: Mapping[str, np.ndarray]) -> int:
  """50, 101 or 152, by the blocks in the third stage.

  Raises:
    ValueError: no ResNet has that many.
  """
  blocks = sum(re.fullmatch(r'res4\w+_branch2a.weight', name) is not None for name in arrays)
  if blocks not in _DEPTHS:
    raise ValueError(f'{blocks} blocks in the third stage, res4, are no ResNet')
  return _DEPTHS[blocks]


def classifier(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.encoders.resnet.Classifier with stem='caffe' and strided='1x1'.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = rows.conv('conv1', ('encoder', 'conv1'), bias='conv1.bias' in arrays)
  table += _norm('conv1', ('encoder', 'norm1'), '_')
  for stage in range(2, 6):
    # a, b, c, ... or, in the deeper networks, a, b1, b2, ...: by length, then by letter, they are in order.
    found = {
      match[1] for name in arrays if (match := re.fullmatch(rf'res{stage}(\w+)_branch2a.weight', name))
    }
    for number, block in enumerate(sorted(found, key=lambda name: (_number(name), name)), start=1):
      for branch, (conv, norm) in zip(_BRANCHES, _OURS, strict=True):
        layer = f'{stage}{block}_{branch}'
        if f'res{layer}.weight' in arrays:
          ours = ('encoder', f'stage{stage - 1}_{number}')
          table += rows.conv(f'res{layer}', (*ours, conv), bias=False) + _norm(layer, (*ours, norm))
  table += rows.conv('fc1000', ('fc',), change=lambda array: array[:, :, None, None])
  return rows.apply(arrays, table)


def _number(block: str) -> int:
  return int(block[1:] or 0)


def _norm(layer: str, path: tuple[str, ...], join: str = '') -> list[rows.Row]:
  """BatchNorm and Scale of one layer as our normalisation."""
  statistics, affine = (rows.norm(f'{kind}{join}{layer}', path) for kind in ('bn', 'scale'))
  return [row for row in statistics if 'running' in row.name] + [
    row for row in affine if 'running' not in row.name
  ]


def pspnet(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.pspnet with aux=False.

  Raises:
    ValueError: arrays are missing or left over.
  """

  def layer(theirs: str, conv: tuple[str, ...], norm: tuple[str, ...], change=None) -> list[rows.Row]:
    kernel = rows.conv(theirs, conv, bias=False, **({'change': change} if change else {}))
    return kernel + rows.norm(f'{theirs}/bn', norm)

  table = []
  for i, name in enumerate(('conv1_1_3x3_s2', 'conv1_2_3x3', 'conv1_3_3x3'), start=1):
    table += layer(name, ('encoder', f'conv{i}'), ('encoder', f'norm{i}'))
  for stage in range(2, 6):
    number = 1
    while f'conv{stage}_{number}_3x3.weight' in arrays:
      ours = ('encoder', f'stage{stage - 1}_{number}')
      for part, (conv, norm) in zip(_PSPNET, _OURS, strict=True):
        name = f'conv{stage}_{number}_{part}'
        if f'{name}.weight' in arrays:
          table += layer(name, (*ours, conv), (*ours, norm))
      number += 1
  last = f'conv5_{number - 1}'
  for bins in (1, 2, 3, 6):
    table += layer(f'{last}_pool{bins}_conv', (f'pool{bins}',), (f'pool{bins}_norm',))
  table += layer(f'conv5_{number}', ('head', 'conv'), ('head', 'norm'), change=_ascending)
  return rows.apply(arrays, table + rows.conv('conv6', ('head', 'score')))


def _ascending(kernel: np.ndarray) -> np.ndarray:
  """Input channels from the order map, 6, 3, 2, 1 regions a side, as theirs are joined, to 1, 2, 3, 6."""
  own, *pooled = np.split(kernel, [kernel.shape[1] // 2 + i * kernel.shape[1] // 8 for i in range(4)], axis=1)
  return np.concatenate([own, *reversed(pooled)], axis=1)
