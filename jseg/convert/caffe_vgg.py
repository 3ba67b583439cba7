"""VGG16 and VGG19: layers of the authors' Caffe networks, VGG_ILSVRC_{16,19}_layers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows, torch_vgg

_STAGES = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def depth(arrays: Mapping[str, np.ndarray]) -> int:
  """16 or 19, by whether there is a fourth convolution in stage 3.

  Raises:
    ValueError: there is no third one.
  """
  if 'conv3_3.weight' not in arrays:
    raise ValueError('no conv3_3.weight: not the names of a VGG')
  return 19 if 'conv3_4.weight' in arrays else 16


def classifier(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.encoders.vgg.Classifier; its input is BGR less Caffe's mean.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = []
  for i, convs in enumerate(_STAGES[depth(arrays)], start=1):
    for j in range(1, convs + 1):
      table += rows.conv(f'conv{i}_{j}', ('encoder', f'conv{i}_{j}'))
  table += rows.conv('fc6', ('fc6',), change=torch_vgg.fully_connected)
  table += rows.conv('fc7', ('fc7',), change=torch_vgg.pointwise)
  table += rows.conv('fc8', ('fc8',), change=torch_vgg.pointwise)
  return rows.apply(arrays, table)
