"""GoogLeNet: torchvision's names."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows

_INCEPTIONS = ('3a', '3b', '4a', '4b', '4c', '4d', '4e', '5a', '5b')
_UNITS = {
  'branch1': 'conv1x1',
  'branch2.0': 'reduce3x3',
  'branch2.1': 'conv3x3',
  'branch3.0': 'reduce5x5',
  'branch3.1': 'conv5x5',
  'branch4.1': 'pool_proj',
}


def classifier(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.encoders.googlenet.Classifier, form 'torchvision'; without its auxiliary heads.

  Raises:
    ValueError: arrays are missing or left over.
  """
  units = {f'conv{i}': (f'conv{i}',) for i in (1, 2, 3)}
  for name in _INCEPTIONS:
    units |= {f'inception{name}.{theirs}': (f'inception{name}', ours) for theirs, ours in _UNITS.items()}
  table = rows.conv('fc', ('fc',), change=lambda array: array[:, :, None, None])
  for theirs, ours in units.items():
    table += rows.conv(f'{theirs}.conv', ('encoder', *ours, 'conv'), bias=False)
    table += rows.norm(f'{theirs}.bn', ('encoder', *ours, 'norm'))
  return rows.apply(arrays, table)
