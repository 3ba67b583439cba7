"""AlexNet, CaffeNet and FCN-AlexNet: the layers' names in Caffe's and the authors' prototxts."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows


def _kernel(side: int):
  """A change of a fully connected layer (out, c * side * side), or of the convolution it is, to OIHW."""
  return lambda array: array.reshape(len(array), -1, side, side)


def _common() -> list[rows.Row]:
  """conv1 .. conv5, fc6 and fc7."""
  table = []
  for i in range(1, 6):
    table += rows.conv(f'conv{i}', ('encoder', f'conv{i}'))
  return [
    *table,
    *rows.conv('fc6', ('fc6',), change=_kernel(6)),
    *rows.conv('fc7', ('fc7',), change=_kernel(1)),
  ]


def classifier(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.encoders.alexnet.Classifier, forms 'caffenet' and 'alexnet'.

  Raises:
    ValueError: arrays are missing or left over.
  """
  return rows.apply(arrays, _common() + rows.conv('fc8', ('fc8',), change=_kernel(1)))


def fcn(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.fcn_alexnet with deconv='learned'.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = _common() + rows.conv('score_fr', ('score_fr',))
  return rows.apply(arrays, table + rows.deconv('upscore', ('upscore',), bias=False))
