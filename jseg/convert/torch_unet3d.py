"""3-D U-Net: the paper's, in the recorded form's names (down, up, dec, head), and wolny/pytorch-3dunet's."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows


def _skip_first(kernel: np.ndarray) -> np.ndarray:
  """OIDHW with the input channels [upsampled, skip], a third of them the skip's, as [skip, upsampled]."""
  skip = kernel.shape[1] // 3
  return np.concatenate([kernel[:, 2 * skip :], kernel[:, : 2 * skip]], axis=1)


def paper(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.unet3d with normalisation after biased convolutions; any depth.

  Raises:
    ValueError: arrays are missing or left over.
  """
  depth = max(2, sum(name.startswith('down.') and name.endswith('.0.0.weight') for name in arrays))
  table = rows.conv('head', ('score',))
  for level in range(depth):
    for i in range(2):
      table += rows.conv(f'down.{level}.{i}.0', (f'down{level}', f'conv{i + 1}'))
      table += rows.norm(f'down.{level}.{i}.1', (f'down{level}', f'norm{i + 1}'))
  for level in range(depth - 1):
    step = depth - 2 - level
    table += rows.deconv(f'up.{step}', (f'up{level}_conv',), bias=False)
    table += rows.conv(f'dec.{step}.0.0', (f'up{level}', 'conv1'), change=_skip_first)
    table += rows.conv(f'dec.{step}.1.0', (f'up{level}', 'conv2'))
    for i in range(2):
      table += rows.norm(f'dec.{step}.{i}.1', (f'up{level}', f'norm{i + 1}'))
  return rows.apply(arrays, table)


def wolny(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.unet3d with padding='same', upsample='nearest', conv_bias=False; any depth.

  Layer order 'cbr' is norm='bn', 'gcr' is norm='gn' with norm_first=True.

  Raises:
    ValueError: arrays are missing or left over.
  """
  depth = max(2, sum(name.startswith('encoders.') and name.endswith('1.conv.weight') for name in arrays))
  places = [(f'encoders.{level}', f'down{level}') for level in range(depth)]
  places += [(f'decoders.{depth - 2 - level}', f'up{level}') for level in range(depth - 1)]
  table = rows.conv('final_conv', ('score',))
  for theirs, ours in places:
    for i in (1, 2):
      layer = f'{theirs}.basic_module.SingleConv{i}'
      table += rows.conv(f'{layer}.conv', (ours, f'conv{i}'), bias=False)
      if f'{layer}.groupnorm.weight' in arrays:
        table += rows.group_norm(f'{layer}.groupnorm', (ours, f'norm{i}'))
      else:
        table += rows.norm(f'{layer}.batchnorm', (ours, f'norm{i}'))
  return rows.apply(arrays, table)
