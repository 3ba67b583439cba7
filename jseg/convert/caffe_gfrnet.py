"""G-FRNet: names of the authors' prototxt."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows

_STAGES = (2, 2, 3, 3, 3)


def gfrnet(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.gfrnet from the layers of `test_camvid_gate.prototxt`.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = rows.conv('pool5_feature_s2', ('pool5_feature',)) + rows.conv('prediction', ('score',))
  for name in ('conv6', 'conv7'):
    table += rows.conv(name, (name,)) + rows.norm(f'{name}_bn', (f'{name}_norm',))
  for i, convs in enumerate(_STAGES, start=1):
    step = 7 - i  # theirs are numbered from the coarse end, where 1 has no gate
    for j in range(1, convs + 1):
      table += rows.conv(f'conv{i}_{j}', ('encoder', f'conv{i}_{j}'))
      table += rows.norm(f'conv{i}_{j}_bn', ('encoder', f'norm{i}_{j}'))
    table += rows.conv(f'conv{i}_{convs}_feature_s{step}', (f'feature{i}',))
    table += rows.norm(f'conv{i}_{convs}_feature_s{step}_bn', (f'feature{i}_norm',))
    table += rows.norm(f'gate_s{step}_bn', (f'gate{i}_norm',))
    table += rows.conv(f'pred_{i}', (f'pred_{i}',))
  return rows.apply(arrays, table)
