"""GoogLeNet: the layers' names in Caffe's bvlc_googlenet."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows

_INCEPTIONS = ('3a', '3b', '4a', '4b', '4c', '4d', '4e', '5a', '5b')
_STEM = {'conv1/7x7_s2': 'conv1', 'conv2/3x3_reduce': 'conv2', 'conv2/3x3': 'conv3'}
_UNITS = {
  '1x1': 'conv1x1',
  '3x3_reduce': 'reduce3x3',
  '3x3': 'conv3x3',
  '5x5_reduce': 'reduce5x5',
  '5x5': 'conv5x5',
  'pool_proj': 'pool_proj',
}


def classifier(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.encoders.googlenet.Classifier, form 'caffe'.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = rows.conv('loss3/classifier', ('fc',), change=lambda array: array[:, :, None, None])
  for theirs, ours in _STEM.items():
    table += rows.conv(theirs, ('encoder', ours, 'conv'))
  for name in _INCEPTIONS:
    for theirs, ours in _UNITS.items():
      table += rows.conv(f'inception_{name}/{theirs}', ('encoder', f'inception{name}', ours, 'conv'))
  return rows.apply(arrays, table)
