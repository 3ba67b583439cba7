"""U-Net: names of jvanvugt/pytorch-unet (the paper's network) and milesial/Pytorch-UNet (padded, BN)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import rows


def _skip_first(kernel: np.ndarray) -> np.ndarray:
  """Swaps the halves of the input channels of OIHW: theirs are [upsampled, skip], ours [skip, upsampled]."""
  half = kernel.shape[1] // 2
  return np.concatenate([kernel[:, half:], kernel[:, :half]], axis=1)


def jvanvugt(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.unet with valid convolutions and no normalisation; any depth.

  Raises:
    ValueError: arrays are missing or left over.
  """
  depth = max(2, sum(name.startswith('down_path.') and name.endswith('block.0.weight') for name in arrays))
  table = rows.conv('last', ('score',))
  for level in range(depth):
    for theirs, ours in (('0', 'conv1'), ('2', 'conv2')):
      table += rows.conv(f'down_path.{level}.block.{theirs}', (f'down{level}', ours))
  for level in range(depth - 1):
    step = f'up_path.{depth - 2 - level}'
    table += rows.deconv(f'{step}.up', (f'up{level}_conv',))
    table += rows.conv(f'{step}.conv_block.block.0', (f'up{level}', 'conv1'), change=_skip_first)
    table += rows.conv(f'{step}.conv_block.block.2', (f'up{level}', 'conv2'))
  return rows.apply(arrays, table)


def learns_upsampling(arrays: Mapping[str, np.ndarray]) -> bool:
  """Whether milesial's network has transposed convolutions, or else upsamples bilinearly."""
  return 'up1.up.weight' in arrays


def milesial(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of models.unet with padding='same', norm='bn', depth 5; upsample as the names say.

  Raises:
    ValueError: arrays are missing or left over.
  """
  places = [('inc', 'down0')]
  places += [(f'down{i}.maxpool_conv.1', f'down{i}') for i in range(1, 5)]
  places += [(f'up{5 - level - 1}.conv', f'up{level}') for level in range(4)]
  table = rows.conv('outc.conv', ('score',))
  for theirs, ours in places:
    for i, (conv, norm) in enumerate((('0', '1'), ('3', '4')), start=1):
      table += rows.conv(f'{theirs}.double_conv.{conv}', (ours, f'conv{i}'), bias=False)
      table += rows.norm(f'{theirs}.double_conv.{norm}', (ours, f'norm{i}'))
  if learns_upsampling(arrays):
    for level in range(4):
      table += rows.deconv(f'up{4 - level}.up', (f'up{level}_conv',))
  return rows.apply(arrays, table)
