"""DecoupledNet: names of the authors' prototxt."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows

_STAGES = (2, 2, 3, 3, 3)


def decouplednet(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.decouplednet, bridge='layers', from the authors' prototxt.

  The first bridging layer is a convolution there and a transposed one here: of a single pixel they are the
  same. A network with bridge='vjp' leaves the three layers unused; what the authors' tool writes into them
  are the forward weights, and zero biases.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = rows.conv('cls-score-voc', ('score',)) + rows.conv('seg-score-voc', ('segmenter', 'score'))
  table += [
    rows.Row(
      'cls-score-voc-bp.weight', ('params', 'score_back', 'kernel'), lambda a: a.transpose(2, 3, 0, 1)
    ),
    rows.Row('cls-score-voc-bp.bias', ('params', 'score_back', 'bias'), lambda a: a),
  ]
  table += rows.deconv('fc6-deconv', ('segmenter', 'decoder', 'fc6_deconv'))
  table += rows.norm('fc6-deconv-bn', ('segmenter', 'decoder', 'fc6_deconv_norm'))
  table += rows.norm('pool5-bn', ('segmenter', 'pool5_norm'))
  table += rows.norm('pool5-bp-bn', ('segmenter', 'bridge_norm'))
  for name in ('fc6', 'fc7'):
    table += rows.conv(name, (name,)) + rows.deconv(f'{name}-bp', (f'{name}_back',))
    table += rows.conv(f'{name}-seg', ('segmenter', name))
    table += rows.norm(f'bn{name}-seg', ('segmenter', f'{name}_norm'))
  for i, convs in enumerate(_STAGES, start=1):
    for j in range(1, convs + 1):
      table += rows.conv(f'conv{i}_{j}', ('encoder', f'conv{i}_{j}'))
      table += rows.deconv(f'deconv{i}_{j}', ('segmenter', 'decoder', f'deconv{i}_{j}'))
      table += rows.norm(f'debn{i}_{j}', ('segmenter', 'decoder', f'deconv{i}_{j}_norm'))
  return rows.apply(arrays, table)
