"""VGG16 and VGG19, with or without batch normalisation: names of torchvision and of timm."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows

_CONVS = {13: (2, 2, 3, 3, 3), 16: (2, 2, 4, 4, 4)}


def fully_connected(array: np.ndarray) -> np.ndarray:
  """(out, c * 7 * 7), flattened from C, H, W, to the OIHW kernel of a 7x7 convolution."""
  return array.reshape(len(array), -1, 7, 7)


def pointwise(array: np.ndarray) -> np.ndarray:
  """(out, in) to the OIHW kernel of a 1x1 convolution."""
  return array[:, :, None, None]


def layout(arrays: Mapping[str, np.ndarray]) -> tuple[int, bool]:
  """(16 or 19, whether there is batch normalisation), from the names.

  Raises:
    ValueError: no VGG has that many convolutions.
  """
  convs = sum(
    array.ndim == 4 and re.fullmatch(r'features\.\d+\.weight', name) is not None
    for name, array in arrays.items()
  )
  if convs not in _CONVS:
    raise ValueError(f'{convs} convolutions under features.*.weight; VGG16 has 13, VGG19 has 16')
  return convs + 3, any(name.endswith('running_mean') for name in arrays)


def classifier(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.encoders.vgg.Classifier; depth and normalisation follow from the names.

  Raises:
    ValueError: no VGG has that many convolutions, or arrays are missing or left over.
  """
  table = _features(arrays)
  table += rows.conv('classifier.0', ('fc6',), change=fully_connected)
  table += rows.conv('classifier.3', ('fc7',), change=pointwise)
  table += rows.conv('classifier.6', ('fc8',), change=pointwise)
  return rows.apply(arrays, table)


def timm(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """The same from timm's names, whose fc6 and fc7 are convolutions already.

  Raises:
    ValueError: no VGG has that many convolutions, or arrays are missing or left over.
  """
  table = _features(arrays)
  table += rows.conv('pre_logits.fc1', ('fc6',)) + rows.conv('pre_logits.fc2', ('fc7',))
  table += rows.conv('head.fc', ('fc8',), change=pointwise)
  return rows.apply(arrays, table)


def _features(arrays: Mapping[str, np.ndarray]) -> list[rows.Row]:
  depth, with_norm = layout(arrays)
  table, index = [], 0
  for i, count in enumerate(_CONVS[depth - 3], start=1):
    for j in range(1, count + 1):
      table += rows.conv(f'features.{index}', ('encoder', f'conv{i}_{j}'))
      if with_norm:
        table += rows.norm(f'features.{index + 1}', ('encoder', f'norm{i}_{j}'))
      index += 3 if with_norm else 2  # the ReLU counts too
    index += 1  # and so does the pool
  return table
