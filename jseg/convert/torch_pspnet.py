"""PSPNet and the ResNets with a deep stem that it starts from: names of hszhao/semseg."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows, torch_resnet

_STEM = (('layer0.0', 'layer0.1'), ('layer0.3', 'layer0.4'), ('layer0.6', 'layer0.7'))
_BINS = (1, 2, 3, 6)


def pspnet(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.pspnet with strided='3x3'; without the auxiliary head if theirs has none.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = torch_resnet.encoder(arrays, ('encoder',), stem=_STEM)
  for i, bins in enumerate(_BINS):
    table += rows.conv(f'ppm.features.{i}.1', (f'pool{bins}',), bias=False)
    table += rows.norm(f'ppm.features.{i}.2', (f'pool{bins}_norm',))
  heads = {'cls': 'head', 'aux': 'aux'}
  for theirs, ours in heads.items():
    if f'{theirs}.0.weight' in arrays:
      table += rows.conv(f'{theirs}.0', (ours, 'conv'), bias=False)
      table += rows.norm(f'{theirs}.1', (ours, 'norm'))
      table += rows.conv(f'{theirs}.4', (ours, 'score'))
  return rows.apply(arrays, table)


def classifier(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.encoders.resnet.Classifier with stem='deep': semseg's initmodel/resnet*_v2.

  Raises:
    ValueError: arrays are missing or left over.
  """
  stem = tuple((f'conv{i}', f'bn{i}') for i in (1, 2, 3))
  table = torch_resnet.encoder(arrays, ('encoder',), stem=stem)
  table += rows.conv('fc', ('fc',), change=lambda array: array[:, :, None, None])
  return rows.apply(arrays, table)
