"""FCN on VGG16: names of wkentaro/pytorch-fcn, which are those of the released Caffe networks."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows

_STAGES = (2, 2, 3, 3, 3)

# Transposed convolutions by the skips there are: theirs -> ours.
_DECONVS = {
  0: {'upscore': 'upscore'},
  1: {'upscore2': 'upscore2', 'upscore16': 'upscore'},
  2: {'upscore2': 'upscore2', 'upscore_pool4': 'upscore_pool4', 'upscore8': 'upscore'},
}


def _skips(arrays: Mapping[str, np.ndarray]) -> list[str]:
  return [name for name in ('score_pool4', 'score_pool3') if f'{name}.weight' in arrays]


def stride(arrays: Mapping[str, np.ndarray]) -> int:
  """32, 16 or 8, by the skips that are scored.

  Raises:
    ValueError: there is no score_fr.
  """
  if 'score_fr.weight' not in arrays:
    raise ValueError('no score_fr.weight: not the names of an FCN')
  return 32 >> len(_skips(arrays))


def fcn(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.fcn with deconv='learned'; the stride follows from the names.

  Raises:
    ValueError: arrays are missing or left over.
  """
  skips = _skips(arrays)
  table = []
  for i, convs in enumerate(_STAGES, start=1):
    for j in range(1, convs + 1):
      table += rows.conv(f'conv{i}_{j}', ('encoder', f'conv{i}_{j}'))
  for name in ('fc6', 'fc7', 'score_fr', *skips):
    table += rows.conv(name, (name,))
  for theirs, ours in _DECONVS[len(skips)].items():
    table += rows.deconv(theirs, (ours,), bias=False)
  return rows.apply(arrays, table)
