"""DeconvNet: names of the authors' prototxt."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows

_STAGES = (2, 2, 3, 3, 3)


def deconvnet(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.deconvnet from the layers of `DeconvNet_inference_deploy.prototxt`.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = rows.conv('seg-score-voc', ('score',))
  table += rows.deconv('fc6-deconv', ('decoder', 'fc6_deconv'))
  table += rows.norm('fc6-deconv-bn', ('decoder', 'fc6_deconv_norm'))
  for name in ('fc6', 'fc7'):
    table += rows.conv(name, (name,)) + rows.norm(f'bn{name}', (f'{name}_norm',))
  for i, convs in enumerate(_STAGES, start=1):
    for j in range(1, convs + 1):
      table += rows.conv(f'conv{i}_{j}', ('encoder', f'conv{i}_{j}'))
      table += rows.norm(f'bn{i}_{j}', ('encoder', f'norm{i}_{j}'))
      table += rows.deconv(f'deconv{i}_{j}', ('decoder', f'deconv{i}_{j}'))
      table += rows.norm(f'debn{i}_{j}', ('decoder', f'deconv{i}_{j}_norm'))
  return rows.apply(arrays, table)
