"""Pooling and its inverse: maxima with their places, averages, and unpooling by remembered places.

Windows follow torch's rule: floor or ceil mode, and in ceil mode no window starts in the padding on the
right. Padding never wins a maximum. Of equal maxima the first in row-major order wins, both the place and
the gradient (Caffe and torch agree on this).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jseg.typing import Array

Places = list[tuple[int, int, jax.Array]]  # (row in the window, column in the window, that value [b h' w' c])


def output_size(size: int, *, kernel: int, stride: int, padding: int = 0, ceil_mode: bool = False) -> int:
  """How many windows fit along one axis.

  Raises:
    ValueError: not even one does, or the padding is more than half of the kernel.
  """
  if 2 * padding > kernel:
    raise ValueError(
      f'pooling padding {padding} is over half of the kernel {kernel}; use {kernel // 2} at most'
    )
  room = size + 2 * padding - kernel
  count = (-(-room // stride) if ceil_mode else room // stride) + 1
  if ceil_mode and (count - 1) * stride >= size + padding:
    count -= 1
  if count < 1 or size < 1:
    raise ValueError(
      f'pooling window {kernel} does not fit {size} pixels padded by {padding}; '
      f'give at least {max(1, kernel - 2 * padding)}'
    )
  return count


def _slices(
  x: Array, kernel: tuple[int, int], stride: int, padding: tuple[int, int], ceil_mode: bool
) -> Places:
  """The window's positions as strided slices of x, in row-major order; padding holds -inf."""
  sides = list(zip(x.shape[1:3], kernel, padding, strict=True))
  counts = [output_size(n, kernel=k, stride=stride, padding=p, ceil_mode=ceil_mode) for n, k, p in sides]
  # What the last window reaches beyond the map; negative where the map's end is left over.
  pads = [(p, (m - 1) * stride + k - p - n, 0) for m, (n, k, p) in zip(counts, sides, strict=True)]
  x = lax.pad(jnp.asarray(x), jnp.array(-jnp.inf, x.dtype), ((0, 0, 0), *pads, (0, 0, 0)))
  spans = [(m - 1) * stride + 1 for m in counts]
  return [
    (i, j, x[:, i : i + spans[0] : stride, j : j + spans[1] : stride])
    for i in range(kernel[0])
    for j in range(kernel[1])
  ]


def _wins(value: jax.Array, best: jax.Array) -> jax.Array:
  """Strictly greater, so that the first of equals stays; NaN wins, so that it cannot hide."""
  return (value > best) | (value != value)


def max_pool(
  x: Array, *, kernel: int = 2, stride: int = 2, padding: int = 0, ceil_mode: bool = False
) -> jax.Array:
  """Maximum over windows of x [b h w c]; the gradient goes to the first maximum of each window.

  Raises:
    ValueError: no window fits.
  """
  if (kernel, stride, padding) == (2, 2, 0):
    return max_pool_2x2(x, ceil_mode=ceil_mode)[0]
  if stride > 1:
    return _maximum(_slices(x, (kernel, kernel), stride, (padding, padding), ceil_mode))
  # Along rows, then along columns: the same first maximum, by 2 k selects in place of k * k.
  x = _maximum(_slices(x, (1, kernel), 1, (0, padding), ceil_mode))
  return _maximum(_slices(x, (kernel, 1), 1, (padding, 0), ceil_mode))


def _maximum(slices: Places) -> jax.Array:
  (_, _, best), *others = slices
  for _, _, value in others:
    best = jnp.where(_wins(value, best), value, best)
  return best


def max_pool3d(x: Array, *, kernel: int = 2, stride: int = 2) -> jax.Array:
  """Maximum over cubic windows of x [b d h w c]; the gradient goes to the first maximum of each window.

  Raises:
    ValueError: no window fits.
  """
  b, d, *plane = x.shape
  y = max_pool(x.reshape(b * d, *plane), kernel=kernel, stride=stride)
  y = y.reshape(b, d, *y.shape[1:])
  span = (output_size(d, kernel=kernel, stride=stride) - 1) * stride + 1
  best, *others = (y[:, i : i + span : stride] for i in range(kernel))
  for value in others:
    best = jnp.where(_wins(value, best), value, best)
  return best


def max_pool_argmax(
  x: Array, *, kernel: int = 2, stride: int = 2, padding: int = 0, ceil_mode: bool = False
) -> tuple[jax.Array, jax.Array]:
  """Maximum over windows of x [b h w c] and where it was.

  Returns:
    The maxima [b h' w' c] and their flat indices int32 [b h' w' c] over (h, w), as torch's
    `return_indices` gives them.

  Raises:
    ValueError: no window fits.
  """
  height, width = x.shape[1:3]
  slices = _slices(x, (kernel, kernel), stride, (padding, padding), ceil_mode)
  best = jnp.full_like(slices[0][2], -jnp.inf)
  rows = (np.arange(best.shape[1]) * stride - padding)[None, :, None, None]
  columns = (np.arange(best.shape[2]) * stride - padding)[None, None, :, None]
  # A window of nothing but -inf answers with its first pixel inside the map.
  start = np.maximum(rows, 0) * width + np.maximum(columns, 0)
  index = jnp.broadcast_to(jnp.asarray(start, jnp.int32), best.shape)
  for i, j, value in slices:
    here = np.clip(rows + i, 0, height - 1) * width + np.clip(columns + j, 0, width - 1)
    wins = _wins(value, best)
    best = jnp.where(wins, value, best)
    index = jnp.where(wins, jnp.broadcast_to(jnp.asarray(here, jnp.int32), best.shape), index)
  return best, index


def max_pool_2x2(x: Array, *, ceil_mode: bool = False) -> tuple[jax.Array, jax.Array]:
  """Maximum over 2x2 windows of x [b h w c] with stride 2, and its place within the window.

  Returns:
    The maxima [b h' w' c] and their places uint8 [b h' w' c]: 0 1 / 2 3, row-major in the window.

  Raises:
    ValueError: floor mode and a side of one pixel.
  """
  sides = [2 * output_size(n, kernel=2, stride=2, ceil_mode=ceil_mode) for n in x.shape[1:3]]
  x = _fit(x, sides, -jnp.inf)
  (_, best), *others = _quarters(lax.stop_gradient(x))
  place = jnp.zeros(best.shape, jnp.uint8)
  for i, value in others:
    wins = _wins(value, best)
    best, place = jnp.where(wins, value, best), jnp.where(wins, jnp.uint8(i), place)
  return _pick(x, place), place


def _fit(x: Array, sides: Sequence[int], value: float) -> jax.Array:
  """x [b h w c] cut or filled with the value at its right and lower end to have these sides."""
  ends = [(0, new - old, 0) for new, old in zip(sides, x.shape[1:3], strict=True)]
  return lax.pad(jnp.asarray(x), jnp.array(value, x.dtype), ((0, 0, 0), *ends, (0, 0, 0)))


def _quarters(x: jax.Array) -> list[tuple[int, jax.Array]]:
  """The four places of the 2x2 windows of x [b 2h 2w c], each [b h w c]."""
  b, h, w, c = x.shape
  tiles = x.reshape(b, h // 2, 2, w // 2, 2, c)  # cheaper than strided slices
  return [(i, tiles[:, :, i // 2, :, i % 2]) for i in range(4)]


# Picking and putting are each other's transposes; saying so keeps both directions a select over the window,
# and keeps for the gradient only the places, a quarter of a float each.


@jax.custom_vjp
def _pick(x: jax.Array, place: jax.Array) -> jax.Array:
  """From each 2x2 window of x [b 2h 2w c] the value at its place [b h w c]."""
  (_, y), *others = _quarters(x)
  for i, value in others:
    y = jnp.where(place == i, value, y)
  return y


@jax.custom_vjp
def _put(x: jax.Array, place: jax.Array) -> jax.Array:
  """[b h w c] -> [b 2h 2w c]: each value at its place of a 2x2 window, zeros elsewhere."""
  b, h, w, c = x.shape
  window = jnp.arange(4, dtype=jnp.uint8).reshape(1, 1, 2, 1, 2, 1)
  here = place[:, :, None, :, None, :] == window
  y = jnp.where(here, x[:, :, None, :, None, :], jnp.zeros((), x.dtype))
  return y.reshape(b, 2 * h, 2 * w, c)


_pick.defvjp(lambda x, place: (_pick(x, place), place), lambda place, ct: (_put(ct, place), None))
_put.defvjp(lambda x, place: (_put(x, place), place), lambda place, ct: (_pick(ct, place), None))


def flat_index(place: Array, size: tuple[int, int]) -> jax.Array:
  """The flat indices int32 over `size` = (h, w) of places [b h' w' c] that `max_pool_2x2` gave."""
  place = jnp.asarray(place, jnp.int32)
  row = 2 * lax.broadcasted_iota(jnp.int32, place.shape, 1) + place // 2
  column = 2 * lax.broadcasted_iota(jnp.int32, place.shape, 2) + place % 2
  return row * size[1] + column


def unpool(x: Array, index: Array, size: Sequence[int]) -> jax.Array:
  """Puts each value back where max pooling found it; all other positions are zero.

  Source: SegNet (arXiv:1511.00561), section 3.1. The general form, a scatter.

  Args:
    x: pooled values [b h w c].
    index: position of each value in the unpooled map, flat over (H, W), as `max_pool_argmax` gives it.
    size: (H, W) of the result, in pixels.

  Returns:
    The sparse map [b H W c]. Where windows overlap an index may come twice; it holds one of the values.

  Raises:
    ValueError: `x` and `index` differ in shape.
  """
  if x.shape != index.shape:
    raise ValueError(
      f'values {x.shape} and indices {index.shape} differ in shape; they come from one pooling'
    )
  b, _, _, c = x.shape
  x, index = jnp.asarray(x).reshape(b, -1, c), jnp.asarray(index).reshape(b, -1, c)
  rows, channels = jnp.arange(b)[:, None, None], jnp.arange(c)[None, None, :]
  flat = jnp.zeros((b, size[0] * size[1], c), x.dtype).at[rows, index, channels].set(x)
  return flat.reshape(b, *size, c)


def unpool_2x2(x: Array, place: Array, size: Sequence[int]) -> jax.Array:
  """`unpool` for 2x2 windows: a select over the four places instead of a scatter.

  Args:
    x: pooled values [b h w c].
    place: their places in the windows [b h w c], as `max_pool_2x2` gives them.
    size: (H, W) of the map that was pooled: 2h or 2h - 1 (ceil mode) or 2h + 1 (floor mode); same for W.

  Returns:
    The sparse map [b H W c].

  Raises:
    ValueError: shapes differ, or the size is none of those.
  """
  if x.shape != place.shape:
    raise ValueError(f'values {x.shape} and places {place.shape} differ in shape; they come from one pooling')
  _, h, w, _ = x.shape
  if not all(abs(n - 2 * m) <= 1 for n, m in zip(size, (h, w), strict=True)):
    raise ValueError(
      f'a map of {h}x{w} unpools to {2 * h}x{2 * w} give or take one, not to {size[0]}x{size[1]}'
    )
  return _fit(_put(jnp.asarray(x), jnp.asarray(place)), size, 0)


def avg_pool(
  x: Array,
  *,
  kernel: int,
  stride: int,
  padding: int = 0,
  ceil_mode: bool = False,
  count_include_pad: bool = True,
) -> jax.Array:
  """Mean over windows of x [b h w c].

  Args:
    x: the map.
    kernel: window side, pixels.
    stride: step of the windows, pixels.
    padding: zeros on all four sides.
    ceil_mode: also take windows that reach over the right and lower end.
    count_include_pad: divide by the pixels of the padded map under the window (what ceil mode adds beyond
      the padding never counts); otherwise by those of the map itself.

  Raises:
    ValueError: no window fits.
  """
  counts, pads = [], [(0, 0)]
  for n in x.shape[1:3]:
    m = output_size(n, kernel=kernel, stride=stride, padding=padding, ceil_mode=ceil_mode)
    start = np.arange(m) * stride - padding
    low, high = (-padding, n + padding) if count_include_pad else (0, n)
    counts.append(np.minimum(start + kernel, high) - np.maximum(start, low))
    pads.append((padding, max(0, (m - 1) * stride + kernel - padding - n)))
  pads.append((0, 0))
  area = (counts[0][:, None] * counts[1][None, :])[None, :, :, None]
  total = lax.reduce_window(
    jnp.asarray(x), np.zeros((), x.dtype), lax.add, (1, kernel, kernel, 1), (1, stride, stride, 1), pads
  )
  return total / jnp.asarray(area, x.dtype)


def adaptive_avg_pool(x: Array, bins: tuple[int, int]) -> jax.Array:
  """Mean over a grid of `bins` = (rows, columns) cells that cover x [b h w c], whatever its size.

  Cell i of n spans [floor(i * h / n), ceil((i + 1) * h / n)): cells may overlap, and repeat if n > h.
  """
  cells = []
  for n, m in zip(bins, x.shape[1:3], strict=True):
    i, pixel = np.arange(n)[:, None], np.arange(m)[None, :]
    inside = (pixel >= i * m // n) & (pixel < -(-(i + 1) * m // n))
    cells.append(jnp.asarray(inside / inside.sum(1, keepdims=True), x.dtype))
  return jnp.einsum('bhwc,ih,jw->bijc', x, *cells, precision=lax.Precision.HIGHEST)
