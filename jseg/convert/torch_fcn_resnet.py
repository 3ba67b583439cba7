"""FCN on a dilated ResNet: torchvision's names."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows, torch_resnet


def fcn_resnet(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.fcn_resnet; depth and auxiliary head follow from the names.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = torch_resnet.encoder(arrays, ('encoder',), prefix='backbone.')
  for theirs, ours in (('classifier', 'head'), ('aux_classifier', 'aux')):
    if ours == 'head' or f'{theirs}.0.weight' in arrays:
      table += rows.conv(f'{theirs}.0', (ours, 'conv'), bias=False)
      table += rows.norm(f'{theirs}.1', (ours, 'norm'))
      table += rows.conv(f'{theirs}.4', (ours, 'score'))
  return rows.apply(arrays, table)
