"""ENet: names of the authors' Lua form, written out as a state_dict."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows

# Bottlenecks of each section, theirs and ours.
_SECTIONS = {'enc1': ('stage1', 5, 0), 'enc2': ('stage2', 9, 0), 'enc3': ('stage3', 8, 1)}
_DECODER = {'dec4': ('stage4', 3, 0), 'dec5': ('stage5', 2, 0)}


def lua(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.enet with encoder_head=True, or without where `enc_cls` is absent.

  Raises:
    ValueError: arrays are missing or left over.
  """
  table = rows.conv('init_conv', ('first',)) + rows.norm('init_bn', ('first_norm',))
  table += rows.prelu('init_act', ('first_act',))
  for theirs, (ours, count, shift) in {**_SECTIONS, **_DECODER}.items():
    for i in range(count):
      table += _bottleneck(arrays, f'{theirs}.{i}', f'{ours}_{i + shift}')
  if 'enc_cls.weight' in arrays:
    table += rows.conv('enc_cls', ('encoder_score',))
  return rows.apply(arrays, table + rows.deconv('full', ('score',)))


def _bottleneck(arrays: Mapping[str, np.ndarray], theirs: str, ours: str) -> list[rows.Row]:
  table = rows.conv(f'{theirs}.proj', (ours, 'project'), bias=False)
  table += rows.conv(f'{theirs}.expand', (ours, 'expand'), bias=False)
  for i, act in enumerate(('act1', 'act2', 'out'), start=1):
    table += rows.norm(f'{theirs}.bn{i}', (ours, f'norm{i}'))
    if f'{theirs}.{act}.weight' in arrays:
      table += rows.prelu(f'{theirs}.{act}', (ours, f'act{i}'))
  if f'{theirs}.skip.weight' in arrays:
    table += rows.conv(f'{theirs}.skip', (ours, 'shortcut'), bias=False)
    table += rows.norm(f'{theirs}.bns', (ours, 'shortcut_norm'))
    return table + rows.deconv(f'{theirs}.conv', (ours, 'conv'))
  if f'{theirs}.conv.0.weight' in arrays:
    table += rows.conv(f'{theirs}.conv.0', (ours, 'conv1x5'), bias=False)
    return table + rows.conv(f'{theirs}.conv.1', (ours, 'conv5x1'))
  return table + rows.conv(f'{theirs}.conv', (ours, 'conv'))
