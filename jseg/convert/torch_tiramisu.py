"""FC-DenseNet: names of bfortuner/pytorch_tiramisu."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows


def fc_densenet(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.fc_densenet; the layers of each block follow from the names.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = rows.conv('firstconv', ('first',)) + rows.conv('finalConv', ('score',))
  depth = sum(re.fullmatch(r'transDownBlocks\.\d+\.conv\.bias', name) is not None for name in arrays)
  blocks = {'bottleneck.bottleneck': 'bottom'}
  for i in range(depth):
    blocks |= {f'denseBlocksDown.{i}': f'down{i + 1}', f'denseBlocksUp.{i}': f'up{depth - i}'}
    table += _layer(f'transDownBlocks.{i}', f'transition{i + 1}')
    table += rows.deconv(f'transUpBlocks.{i}.convTrans', (f'up{depth - i}_conv',))
  for theirs, ours in blocks.items():
    for j in range(layers(arrays, theirs)):
      table += _layer(f'{theirs}.layers.{j}', f'{ours}_{j + 1}')
  return rows.apply(arrays, table)


def layers(arrays: Mapping[str, np.ndarray], block: str) -> int:
  """How many layers a dense block of theirs has."""
  return sum(
    re.fullmatch(rf'{re.escape(block)}\.layers\.\d+\.conv\.bias', name) is not None for name in arrays
  )


def _layer(theirs: str, ours: str) -> list[rows.Row]:
  return rows.norm(f'{theirs}.norm', (ours, 'norm')) + rows.conv(f'{theirs}.conv', (ours, 'conv'))
