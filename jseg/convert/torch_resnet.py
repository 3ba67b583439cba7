"""ResNets: torchvision's names."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows

_STAGES: dict[tuple[int, ...], int] = {
  (2, 2, 2, 2): 18,
  (3, 4, 6, 3): 50,
  (3, 4, 23, 3): 101,
  (3, 8, 36, 3): 152,
  (3, 30, 48, 8): 269,
}


def depth(arrays: Mapping[str, np.ndarray]) -> int:
  """The depth whose stages the names of torchvision count out.

  Raises:
    ValueError: no ResNet has these stages.
  """
  counts = tuple(
    sum(re.fullmatch(rf'layer{i}\.\d+\.conv1\.weight', name) is not None for name in arrays)
    for i in range(1, 5)
  )
  if counts not in _STAGES:
    known = ', '.join(map(str, _STAGES))
    raise ValueError(f'blocks {counts} in layer1 .. layer4 are no ResNet; there are: {known}')
  found = _STAGES[counts]
  return 34 if found == 50 and 'layer1.0.conv3.weight' not in arrays else found


def encoder(
  arrays: Mapping[str, np.ndarray],
  path: tuple[str, ...],
  *,
  prefix: str = '',
  block: str = 'layer{0}.{1}',
  first: int = 0,
  stem: tuple[tuple[str, str], ...] = (('conv1', 'bn1'),),
) -> list[rows.Row]:
  """The rows of an encoder that lies at `path` in ours.

  Args:
    arrays: only their names are looked at.
    path: of our encoder, below params.
    prefix: before every name of theirs.
    block: their name of a block, with places for stage and number.
    first: the number of their first block.
    stem: their names of the convolutions before the first stage, and of the normalisation of each.
  """
  table = []
  for i, (conv, norm) in enumerate(stem, start=1):
    table += rows.conv(f'{prefix}{conv}', (*path, f'conv{i}'), bias=False)
    table += rows.norm(f'{prefix}{norm}', (*path, f'norm{i}'))
  for stage in range(1, 5):
    number = 0
    while f'{(theirs := prefix + block.format(stage, number + first))}.conv1.weight' in arrays:
      ours = (*path, f'stage{stage}_{number + 1}')
      for i in (1, 2, 3):
        if f'{theirs}.conv{i}.weight' in arrays:
          table += rows.conv(f'{theirs}.conv{i}', (*ours, f'conv{i}'), bias=False)
          table += rows.norm(f'{theirs}.bn{i}', (*ours, f'norm{i}'))
      if f'{theirs}.downsample.0.weight' in arrays:
        table += rows.conv(f'{theirs}.downsample.0', (*ours, 'shortcut'), bias=False)
        table += rows.norm(f'{theirs}.downsample.1', (*ours, 'shortcut_norm'))
      number += 1
  return table


def classifier(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.encoders.resnet.Classifier.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = encoder(arrays, ('encoder',))
  table += rows.conv('fc', ('fc',), change=lambda array: array[:, :, None, None])
  return rows.apply(arrays, table)
