"""DenseNets: torchvision's names, and the older ones in its released files (norm.1 for norm1)."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows


def classifier(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.encoders.densenet.Classifier; the depth follows from the names.

  Raises:
    ValueError: arrays are missing or left over.
  """
  arrays = {
    re.sub(r'(denselayer\d+\.(?:norm|conv))\.([12])\.', r'\1\2.', name): array
    for name, array in arrays.items()
  }
  table = rows.conv('features.conv0', ('encoder', 'conv0'), bias=False)
  table += rows.norm('features.norm0', ('encoder', 'norm0'))
  for i in range(1, 5):
    j = 1
    while f'{(theirs := f"features.denseblock{i}.denselayer{j}")}.conv1.weight' in arrays:
      for k in (1, 2):
        table += rows.norm(f'{theirs}.norm{k}', ('encoder', f'block{i}_{j}', f'norm{k}'))
        table += rows.conv(f'{theirs}.conv{k}', ('encoder', f'block{i}_{j}', f'conv{k}'), bias=False)
      j += 1
    if i < 4:
      table += rows.norm(f'features.transition{i}.norm', ('encoder', f'transition{i}_norm'))
      table += rows.conv(f'features.transition{i}.conv', ('encoder', f'transition{i}'), bias=False)
  table += rows.norm('features.norm5', ('encoder', 'norm5'))
  table += rows.conv('classifier', ('fc',), change=lambda array: array[:, :, None, None])
  return rows.apply(arrays, table)
