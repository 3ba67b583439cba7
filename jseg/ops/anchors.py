"""Anchors: the boxes that a region proposal network starts from, a few at every place of every level.

They depend on shapes alone, so they are NumPy arrays: constants of the compiled program.
"""

from collections.abc import Sequence

import numpy as np

RULES = ('torchvision', 'detectron')


def base(size: float, ratios: Sequence[float], *, rule: str = 'torchvision', stride: int = 16) -> np.ndarray:
  """The anchors of one size around the origin, float32 [len(ratios) 4], in the order of the ratios.

  Args:
    size: the side of the square of the same area, pixels.
    ratios: height over width.
    rule: 'torchvision' rounds the ends of the box around (0, 0) to whole pixels; 'detectron' rounds the
      sides of a box of the stride's size before it is scaled to `size`, around the middle of the stride
      (generate_anchors.py, whose inclusive ends become borders here).
    stride: pixels of the image per place of the map; for 'detectron' only.

  Raises:
    ValueError: no such rule.
  """
  if rule not in RULES:
    raise ValueError(f'anchors of rule {rule!r} are not known; use one of {", ".join(RULES)}')
  ratio = np.asarray(ratios, np.float32)
  if rule == 'torchvision':  # in float32 as there: halves are rounded to even
    height = np.sqrt(ratio)
    sides = np.stack([1 / height, height], axis=1) * np.float32(size)
    return np.round(np.concatenate([-sides, sides], axis=1) / 2)
  width = np.round(np.sqrt(stride * stride / ratio))
  sides = np.stack([width, np.round(width * ratio)], axis=1) * np.float32(size / stride)
  return (np.concatenate([-sides, sides], axis=1) + np.float32(stride)) / 2


def level(
  grid: tuple[int, int],
  stride: tuple[int, int],
  sizes: Sequence[float],
  ratios: Sequence[float],
  *,
  rule: str = 'torchvision',
) -> np.ndarray:
  """All anchors of one level, float32 [h*w*A 4], A = len(ratios) * len(sizes).

  The order is that of a head's output [h w A] flattened: row, column, then the anchor, all sizes of the
  first ratio first.

  Args:
    grid: (h, w) of the map.
    stride: (y, x), pixels of the image per place of the map.
    sizes: sides of the squares of the anchors' areas, pixels.
    ratios: heights over widths.
    rule: how the sides are rounded, see `base`.

  Raises:
    ValueError: no such rule.
  """
  boxes = np.stack([base(size, ratios, rule=rule, stride=stride[0]) for size in sizes], axis=1).reshape(-1, 4)
  y, x = np.meshgrid(*(np.arange(n) * step for n, step in zip(grid, stride, strict=True)), indexing='ij')
  places = np.stack([x, y, x, y], axis=-1).astype(np.float32)
  return (places[:, :, None] + boxes).reshape(-1, 4)


def pyramid(
  grids: Sequence[tuple[int, int]],
  strides: Sequence[tuple[int, int]],
  sizes: Sequence[Sequence[float]],
  ratios: Sequence[float],
  *,
  rule: str = 'torchvision',
) -> tuple[np.ndarray, ...]:
  """`level` for every level of a pyramid: its grid, its stride and its own sizes; ratios are shared.

  Raises:
    ValueError: no such rule, or not as many strides or sizes as grids.
  """
  if not len(grids) == len(strides) == len(sizes):
    raise ValueError(
      f'{len(grids)} grids, {len(strides)} strides and {len(sizes)} lists of sizes; give one each per level'
    )
  return tuple(
    level(grid, stride, own, ratios, rule=rule)
    for grid, stride, own in zip(grids, strides, sizes, strict=True)
  )
