"""Features under boxes, resampled to a fixed grid: RoIAlign in two forms, over a pyramid too, and RoIPool.

Source: He et al. 2017 (Mask R-CNN), section 3; Girshick 2015 (Fast R-CNN), section 2.1; the borders as in
torchvision's kernels. A box gives no gradient, as there: only the features do.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from jseg.ops import boxes as box_ops
from jseg.typing import Array

Output = int | tuple[int, int]

# Bins whose gradients are scattered at once. On a CPU the pieces are to stay in its cache: measured for 1000
# boxes, 7x7 bins, 256 channels over 320x320: 42 ms against 835 ms in one piece.
BINS_ON_CPU, BINS = 400, 8192


def roi_align(
  features: Float[Array, 'h w c'],
  boxes: Float[Array, 'n 4'],
  *,
  output: Output,
  scale: float,
  sampling: int = 2,
  aligned: bool = False,
) -> Float[Array, 'n o p c']:
  """The mean of bilinear samples in every bin of every box.

  Args:
    features: the map of one image.
    boxes: in pixels of the image; padding may hold anything finite.
    output: bins (rows, columns), or one number for both.
    scale: pixels of the map per pixel of the image.
    sampling: samples per bin and axis; 0: as many as a bin has pixels of the map, rounded up, which takes
      the form of two products per box instead of gathers.
    aligned: True: half a pixel is taken off, for pixel centres lie at halves (Detectron2), and boxes may be
      smaller than a pixel; False: the paper's and torchvision's default, boxes have a pixel at least.

  Returns:
    [n o p c] of the features' dtype. A sample more than a pixel outside of the map counts as 0.
  """
  boxes, rows, columns = lax.stop_gradient(boxes), *_sides(output)
  height, width, channels = features.shape
  if not sampling:
    down = matrix(boxes[:, 1::2], height, output=rows, scale=scale, sampling=0, aligned=aligned)
    across = matrix(boxes[:, 0::2], width, output=columns, scale=scale, sampling=0, aligned=aligned)
    return multiply(features, down, across)
  options = {'scale': scale, 'sampling': sampling, 'aligned': aligned}
  y = _taps(boxes[:, 1::2], height, output=rows, **options)
  x = _taps(boxes[:, 0::2], width, output=columns, **options)
  return _gather(jnp.asarray(features).reshape(-1, channels), *_grid(y, x, width, 0))


def multilevel(
  features: Sequence[Float[Array, '_ _ c']],
  boxes: Float[Array, 'n 4'],
  *,
  output: Output,
  scales: Sequence[float],
  sampling: int = 2,
  aligned: bool = False,
  canonical: float = 224,
  level0: int = 4,
) -> Float[Array, 'n o p c']:
  """`roi_align` of each box on the one level of a pyramid that fits its size.

  The levels lie behind one another in one array and each box gathers from its own, so that no box is
  computed on a level it does not belong to.

  Args:
    features: the maps of one image, from the finest.
    boxes: in pixels of the image.
    output: bins (rows, columns), or one number for both.
    scales: pixels of each map per pixel of the image.
    sampling: samples per bin and axis, at least 1.
    aligned: see `roi_align`.
    canonical: side of the boxes that belong to `level0`, pixels.
    level0: a level k has scale 2^-k.

  Raises:
    ValueError: not one scale per map, or adaptive sampling.
  """
  if len(scales) != len(features):
    raise ValueError(f'{len(features)} maps and {len(scales)} scales; give one each')
  if sampling < 1:
    raise ValueError(f'sampling {sampling} over a pyramid; give 1 or more, roi_align alone adapts')
  boxes, (rows, columns) = lax.stop_gradient(boxes), _sides(output)
  own = levels(boxes, scales, canonical=canonical, level0=level0)
  sizes = np.array([map.shape[:2] for map in features])
  first = np.cumsum([0, *sizes.prod(axis=1)])[:-1]
  height, width, start = (jnp.asarray(a, jnp.int32)[own] for a in (*sizes.T, first))
  options = {'scale': jnp.asarray(scales, jnp.float32)[own], 'sampling': sampling, 'aligned': aligned}
  y = _taps(boxes[:, 1::2], height, output=rows, **options)
  x = _taps(boxes[:, 0::2], width, output=columns, **options)
  flat = jnp.concatenate([jnp.asarray(map).reshape(-1, map.shape[-1]) for map in features])
  return _gather(flat, *_grid(y, x, width, start))


def levels(
  boxes: Float[Array, 'n 4'], scales: Sequence[float], *, canonical: float = 224, level0: int = 4
) -> Array:
  """The map that each box belongs to, int32 [n] in [0, len(scales)) (Lin et al. 2017, FPN, equation 1)."""
  side = jnp.sqrt(box_ops.areas(boxes))
  level = jnp.floor(level0 + jnp.log2(side / canonical) + 1e-6)  # the last, for whole numbers, as torchvision
  finest = round(-math.log2(scales[0]))
  return jnp.clip(level - finest, 0, len(scales) - 1).astype(jnp.int32)


def _sides(output: Output) -> tuple[int, int]:
  return (output, output) if isinstance(output, int) else output


def _bins(ends: Array, output: int, scale: float | Array, aligned: bool) -> tuple[jax.Array, jax.Array]:
  """Where the first bin of each box begins on the map and how long the bins are, [n] each; `ends` [n 2]."""
  start, end = (jnp.asarray(ends)[:, i] * scale - (0.5 if aligned else 0) for i in range(2))
  length = end - start if aligned else jnp.maximum(end - start, 1)
  return start, length / output


def _taps(
  ends: Array, length: int | Array, *, output: int, scale: float | Array, sampling: int, aligned: bool
) -> tuple[jax.Array, jax.Array]:
  """The pixels and weights of all samples along one axis, [n output 2*sampling] each; a row's weights mean.

  `length` and `scale`, of the map, may differ between the boxes: [n].
  """
  start, bin = (a[:, None, None] for a in _bins(ends, output, scale, aligned))
  length = jnp.broadcast_to(jnp.asarray(length), len(ends))[:, None, None]
  within = (jnp.arange(sampling) + 0.5) / sampling
  position = start + (jnp.arange(output)[:, None] + within) * bin  # [n output sampling]
  inside = (position >= -1) & (position <= length)
  position = jnp.clip(position, 0, length - 1)
  low = jnp.floor(position).astype(jnp.int32)
  share = position - low
  pixels = jnp.concatenate([low, jnp.minimum(low + 1, length - 1)], axis=-1)
  weights = jnp.concatenate([1 - share, share], axis=-1) * jnp.concatenate([inside, inside], axis=-1)
  return pixels, weights / sampling


def _grid(
  y: tuple[jax.Array, jax.Array], x: tuple[jax.Array, jax.Array], width: int | Array, start: int | Array
) -> tuple[jax.Array, jax.Array]:
  """Flat places and weights [t n o p] of all t = rows' taps times columns' taps of each bin."""
  (rows, down), (columns, across) = y, x
  width, start = (
    jnp.broadcast_to(jnp.asarray(a), len(rows))[:, None, None, None, None] for a in (width, start)
  )
  index = start + rows[:, :, None, :, None] * width + columns[:, None, :, None, :]  # [n o p ty tx]
  weight = down[:, :, None, :, None] * across[:, None, :, None, :]
  index, weight = (a.reshape(*a.shape[:3], a.shape[3] * a.shape[4]) for a in (index, weight))
  return jnp.moveaxis(index, -1, 0), jnp.moveaxis(weight, -1, 0)


def _gather(flat: jax.Array, index: jax.Array, weight: jax.Array) -> jax.Array:
  """The weighted sums of the pixels [size c] at the places [t ...], [... c].

  Forward, one gather per tap: XLA fuses them into one loop without a copy of what they fetch. Backward, a
  scatter of all taps, a few bins at a time.
  """
  shape, dtype = flat.shape, flat.dtype

  @jax.custom_vjp
  def gather(flat: jax.Array, index: jax.Array, weight: jax.Array) -> jax.Array:
    terms = [flat.at[i].get(mode='clip') * w[..., None] for i, w in zip(index, weight, strict=True)]
    return jnp.asarray(sum(terms[1:], start=terms[0]), dtype)

  def backward(saved: tuple[Array, Array], ct: Array) -> tuple[jax.Array, None, None]:
    bins = math.prod(ct.shape[:-1])
    index, weight = (a.reshape(len(a), bins).T for a in saved)
    ct = ct.reshape(bins, shape[-1]).astype(jnp.float32)
    scatter = [_scatter_by(at_once, shape) for at_once in (BINS_ON_CPU, BINS)]
    total = lax.platform_dependent(index, weight, ct, cpu=scatter[0], default=scatter[1])
    return total.astype(dtype), None, None

  gather.defvjp(lambda flat, index, weight: (gather(flat, index, weight), (index, weight)), backward)
  return gather(flat, index, weight)


def _scatter_by(bins: int, shape: tuple[int, ...]) -> Callable[[Array, Array, Array], jax.Array]:
  """What adds weight [m t] times ct [m c] at index [m t] to zeros of the shape, so many bins at a time."""

  def scatter(index: jax.Array, weight: jax.Array, ct: jax.Array) -> jax.Array:
    count = -(-len(index) // bins)
    room = (0, count * bins - len(index))
    index, weight, ct = (jnp.pad(a, (room, (0, 0))) for a in (index, weight, ct))  # weight 0 adds nothing

    def step(i: jax.Array, total: jax.Array) -> jax.Array:
      own, factor, value = (lax.dynamic_slice_in_dim(a, i * bins, bins) for a in (index, weight, ct))
      return total.at[own].add(value[:, None] * factor[..., None])

    return lax.fori_loop(0, count, step, jnp.zeros(shape, jnp.float32))

  return scatter


def matrix(
  ends: Float[Array, 'n 2'], length: int, *, output: int, scale: float, sampling: int, aligned: bool
) -> Float[Array, 'n o s']:
  """RoIAlign along one axis as a matrix per box, float32 [n output length].

  Args:
    ends: where each box begins and ends, pixels of the image.
    length: pixels of the map.
    output: bins.
    scale: pixels of the map per pixel of the image.
    sampling: samples per bin; 0: its length in pixels, rounded up.
    aligned: see `roi_align`.
  """
  start, bin = (a[:, None, None] for a in _bins(ends, output, scale, aligned))
  pixel, bin_start = jnp.arange(length), start + jnp.arange(output)[:, None] * bin  # [n output 1]
  count = sampling if sampling else jnp.ceil(bin)
  step = bin / jnp.maximum(count, 1)
  # A pixel sees the samples within one pixel of it. Adaptive ones lie over half a pixel apart (unless there
  # is but one), so they are no more than four, and one for rounding; begin a little early for that as well.
  first = 0
  if not sampling:
    first = jnp.ceil((pixel - 1 - bin_start) / jnp.where(step > 0, step, 1) - 0.501)
    first = jnp.clip(first, 0, jnp.maximum(count, 1))
  total = jnp.zeros((len(ends), output, length), jnp.float32)
  for k in range(sampling or 5):
    position = bin_start + (first + k + 0.5) * step
    counts = (position >= -1) & (position <= length) & (first + k < count)
    near = 1 - jnp.abs(jnp.clip(position, 0, length - 1) - pixel)
    total += jnp.where(counts, jnp.maximum(near, 0), 0)
  return total / jnp.maximum(count, 1)


def multiply(
  features: Float[Array, 'h w c'], down: Float[Array, 'n o h'], across: Float[Array, 'n p w']
) -> Float[Array, 'n o p c']:
  """The matrices of both axes applied to one map."""
  highest = lax.Precision.HIGHEST
  rows = jnp.einsum('noh,hwc->nowc', down.astype(features.dtype), features, precision=highest)
  return jnp.einsum('npw,nowc->nopc', across.astype(features.dtype), rows, precision=highest)


def roi_pool(
  features: Float[Array, 'h w c'], boxes: Float[Array, 'n 4'], *, output: Output, scale: float
) -> Float[Array, 'n o p c']:
  """The maximum of the pixels in every bin of every box, ends rounded to pixels (Fast R-CNN's pooling).

  Arguments as for `roi_align`. An empty bin is 0; of equal maxima the first in row-major order has the
  gradient.
  """
  (rows, columns), (height, width, channels) = _sides(output), features.shape
  boxes = lax.stop_gradient(boxes)
  (top, bottom), (left, right) = (
    _ranges(boxes[:, axis::2] * scale, bins, length)
    for axis, bins, length in ((1, rows, height), (0, columns, width))
  )
  first = jnp.zeros((len(boxes), rows, columns, channels), jnp.int32) - 1

  @jax.custom_vjp
  def pool(flat: jax.Array) -> jax.Array:
    return forward(flat)[0]

  def forward(flat: jax.Array) -> tuple[jax.Array, jax.Array]:
    def row(i: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
      def column(j: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        best, place = state
        y, x = (top + i)[:, :, None], (left + j)[:, None, :]
        inside, index = (y < bottom[:, :, None]) & (x < right[:, None, :]), y * width + x
        value = flat.at[index].get(mode='clip')
        wins = inside[..., None] & ((value > best) | (place < 0))
        return jnp.where(wins, value, best), jnp.where(wins, index[..., None], place)

      return lax.fori_loop(0, jnp.max(right - left, initial=0), column, state)

    start = jnp.zeros(first.shape, flat.dtype), first
    return lax.fori_loop(0, jnp.max(bottom - top, initial=0), row, start)

  def backward(place: Array, ct: Array) -> tuple[jax.Array]:
    bins = math.prod(ct.shape[:-1])
    index = jnp.where(place < 0, height * width, place).reshape(bins, channels)  # an empty bin's is dropped
    zeros = jnp.zeros((height * width, channels), ct.dtype)
    return (zeros.at[index, jnp.arange(channels)].add(ct.reshape(bins, channels), mode='drop'),)

  pool.defvjp(forward, backward)
  return pool(jnp.asarray(features).reshape(-1, channels))


def _ranges(ends: Array, bins: int, length: int) -> tuple[jax.Array, jax.Array]:
  """The pixels [begin, end) of every bin, int32 [n bins] each, within [0, length)."""
  first, last = (jnp.floor(ends[:, i, None] + 0.5).astype(jnp.int32) for i in range(2))
  side, k = jnp.maximum(last - first + 1, 1), jnp.arange(bins)
  begin, end = k * side // bins + first, -(-(k + 1) * side // bins) + first  # whole numbers: no rounding
  begin, end = (jnp.clip(a, 0, length) for a in (begin, end))
  return begin, jnp.maximum(end, begin)
