"""The generator of gengyanlei/ssgan, an unofficial port of Souly et al. 2017."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows


def generator(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.generators.dcgan.Generator.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = [
    rows.Row('linear.0.weight', ('params', 'kernel'), lambda a: a.T),
    rows.Row('linear.0.bias', ('params', 'bias'), lambda a: a),
  ]
  for i in range(1, 5):
    # All but the last, which ends in tanh, are sequences: the layer, its normalisation, ReLU.
    table += rows.deconv(f'deconv{i}.0', (f'deconv{i}',))
    table += rows.norm(f'deconv{i}.1', (f'deconv{i}_norm',)) if i < 4 else []
  return rows.apply(arrays, table)
