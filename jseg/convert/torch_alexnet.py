"""AlexNet: torchvision's names."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows


def classifier(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.encoders.alexnet.Classifier, form 'torchvision'.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = []
  for i, number in enumerate((0, 3, 6, 8, 10), start=1):  # ReLUs and pools count too
    table += rows.conv(f'features.{number}', ('encoder', f'conv{i}'))
  for number, ours, side in ((1, 'fc6', 6), (4, 'fc7', 1), (6, 'fc8', 1)):
    # (out, c * side * side), flattened from C, H, W, to the OIHW kernel.
    table += rows.conv(
      f'classifier.{number}', (ours,), change=lambda a, side=side: a.reshape(len(a), -1, side, side)
    )
  return rows.apply(arrays, table)
