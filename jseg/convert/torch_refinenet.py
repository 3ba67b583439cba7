"""RefineNet: names of DrSleep/refinenet-pytorch, which are those of the authors' MatConvNet models."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows, torch_resnet


def refinenet(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.refinenet; depth and stages of pooling follow from the names.

  Raises:
    ValueError: no ResNet has these stages, or arrays are missing or left over.
  """
  torch_resnet.depth(arrays)
  table = torch_resnet.encoder(arrays, ('encoder',))
  table += rows.conv('clf_conv', ('score',))
  for i in range(1, 5):  # theirs counts blocks from the deepest
    ours = f'refine{5 - i}'
    table += rows.conv(f'p_ims1d2_outl{i}_dimred', (ours, 'adapt'), bias=False)
    for j in (1, 2):
      table += _unit(f'adapt_stage{i}_b.0.{j}', (ours, f'rcu_in{j}'))
    if i > 1:
      table += rows.conv(f'adapt_stage{i}_b2_joint_varout_dimred', (ours, 'fuse'), bias=False)
      below = f'mflow_conv_g{i - 1}_b3_joint_varout_dimred'
      table += rows.conv(below, (ours, 'fuse_below'), bias=False)
    stage = 1
    while f'{(theirs := f"mflow_conv_g{i}_pool.0.{stage}_outvar_dimred")}.weight' in arrays:
      table += rows.conv(theirs, (ours, 'crp', f'conv{stage}'), bias=False)
      stage += 1
    for j in (1, 2, 3):
      table += _unit(f'mflow_conv_g{i}_b.0.{j}', (ours, f'rcu_out{j}'))
  return rows.apply(arrays, table)


def _unit(theirs: str, ours: tuple[str, ...]) -> list[rows.Row]:
  """A residual convolution unit."""
  return [
    *rows.conv(f'{theirs}_conv', (*ours, 'conv1')),
    *rows.conv(f'{theirs}_conv_relu_varout_dimred', (*ours, 'conv2'), bias=False),
  ]
