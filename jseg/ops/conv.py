"""Convolution and transposed convolution with explicit integer padding, as torch counts it.

Three departures from the plain XLA form, all of the same result:
- 1x1 kernels are a matrix product; so is a transposed convolution of a map smaller than its kernel.
- Other transposed ones are a small convolution per output phase, then an interleave: no zeros are inserted
  and none multiplied. So is the input gradient of a strided convolution on CPU.
- On CPU the kernel gradient is a scan over rows with one product each; XLA's form has a tenth of the speed.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jseg.typing import Array

_DIMS = {4: ('NHWC', 'HWIO', 'NHWC'), 5: ('NDHWC', 'DHWIO', 'NDHWC')}  # by the rank of the maps

# A matrix product of the kernel gradient: values laid side by side for it, so that they stay in cache, and
# the fewest pixels it contracts, so that its own start and result do not weigh.
_VALUES, _PIXELS = 800_000, 96

# The input gradient is made of matrix products up to this many pixels for each of the output's channels.
_FEW = 4

Pads = tuple[tuple[int, int], tuple[int, int]]


def conv2d(
  x: Array,
  kernel: Array,
  *,
  stride: int = 1,
  padding: int | Pads = 0,
  dilation: int = 1,
  groups: int = 1,
) -> jax.Array:
  """Cross-correlation of x [b h w cin] with kernel [kh kw cin/groups cout]: torch's conv2d.

  Differentiable any number of times in reverse mode; forward mode raises unless groups > 1.

  Args:
    x: the input.
    kernel: the filters, of x's dtype.
    stride: in both directions.
    padding: zeros on all four sides, or ((top, bottom), (left, right)).
    dilation: in both directions.
    groups: channel groups.

  Returns:
    [b h' w' cout] with h' = (h + top + bottom - dilation * (kh - 1) - 1) // stride + 1.
  """
  kernel = jnp.asarray(kernel)
  x, inner = split_padding(jnp.asarray(x), kernel.shape[:2], padding, dilation)
  if groups != 1:
    return plain(x, kernel, stride, inner, dilation, groups)
  if kernel.shape[:2] == (1, 1):
    return _product(x[:, ::stride, ::stride], kernel[0, 0])
  return _conv(x, kernel, stride, inner, dilation)


def split_padding(
  x: jax.Array, kernel_size: tuple[int, ...], padding: int | tuple[tuple[int, int], ...], dilation: int
) -> tuple[jax.Array, Any]:
  """x [b ... c] and its padding on each spatial axis, of which x itself took what a convolution must not get.

  XLA's CPU convolution reads beyond the edges when a padding is negative, here or in the input gradient: what
  is below zero or over dilation * (k - 1) is done beforehand.
  """
  pads = ((padding, padding),) * len(kernel_size) if isinstance(padding, int) else padding
  spans = [dilation * (k - 1) for k in kernel_size]
  inner = tuple((min(max(a, 0), n), min(max(b, 0), n)) for (a, b), n in zip(pads, spans, strict=True))
  if inner != tuple(map(tuple, pads)):
    x = _pad(x, tuple((a - c, b - d) for (a, b), (c, d) in zip(pads, inner, strict=True)))
  return x, inner


def conv_transpose2d(
  x: Array,
  kernel: Array,
  *,
  stride: int,
  padding: int = 0,
  output_padding: int = 0,
  dilation: int = 1,
  groups: int = 1,
) -> jax.Array:
  """Torch's conv_transpose2d of x [b h w cin] with kernel [kh kw cout/groups cin], unflipped.

  Returns:
    [b h' w' cout] with h' = (h - 1) * stride - 2 * padding + dilation * (kh - 1) + 1 + output_padding.
  """
  x, kernel = jnp.asarray(x), jnp.asarray(kernel)
  if (dilation, groups) != (1, 1):  # rare: no phases, but the stride's zeros
    y = _transposed(x, kernel, stride, dilation, groups)
    return _pad(y, ((-padding, output_padding - padding),) * 2)
  sides = zip(x.shape[1:3], kernel.shape[:2], strict=True)
  size = tuple((n - 1) * stride - 2 * padding + k + output_padding for n, k in sides)
  if stride == 1 and math.prod(x.shape[1:3]) <= math.prod(kernel.shape[:2]):
    return _spread(x, kernel, padding, size)
  return _by_phases(x, kernel, stride, (padding, padding), size)


def _spread(x, kernel, padding: int, size: tuple[int, ...]) -> jax.Array:
  """The transposed convolution at stride 1 by one matrix product, its parts added where they belong.

  For maps smaller than the kernel: a convolution flips that and multiplies mostly the zeros around them.
  """
  (b, h, w, cin), (kh, kw, cout, _) = x.shape, kernel.shape
  wide = jnp.promote_types(x.dtype, jnp.float32)
  parts = lax.dot_general(
    x.reshape(-1, cin), kernel.reshape(-1, cin), (((1,), (1,)), ((), ())), preferred_element_type=wide
  ).reshape(b, h, w, kh, kw, cout)
  total = 0.0
  for i, j in np.ndindex(kh, kw):
    ends = zip((i - padding, j - padding), size, (h, w), strict=True)
    total = total + _pad(parts[:, :, :, i, j], tuple((low, end - n - low) for low, end, n in ends))
  return jnp.asarray(total, x.dtype)


def _product(x, kernel) -> jax.Array:
  """The matrix product of every pixel of x [b h w cin] with kernel [cin cout].

  Of two matrices: with the pixels on three axes XLA's CPU compiler would move them, slowly, for the gradient.
  """
  y = lax.dot_general(x.reshape(-1, x.shape[3]), kernel, (((1,), (0,)), ((), ())))
  return y.reshape(*x.shape[:3], -1)


def plain(
  x: Any, kernel: Any, stride: int, pads: tuple[tuple[int, int], ...], dilation: int, groups: int = 1
) -> jax.Array:
  """XLA's own convolution of maps or volumes x [b ... cin]; pads as `split_padding` gives them."""
  sides = x.ndim - 2
  return lax.conv_general_dilated(
    x, kernel, (stride,) * sides, pads,
    rhs_dilation=(dilation,) * sides, feature_group_count=groups, dimension_numbers=_DIMS[x.ndim],
  )  # fmt: skip


def _transposed(x, kernel, stride: int, dilation: int, groups: int) -> jax.Array:
  """The transposed convolution without padding in XLA's terms: x spread out by zeros, the kernel flipped."""
  kh, kw, features, cin = kernel.shape
  kernel = kernel[::-1, ::-1].reshape(kh, kw, features, groups, cin // groups)
  kernel = kernel.transpose(0, 1, 4, 3, 2).reshape(kh, kw, cin // groups, groups * features)
  rows, columns = dilation * (kh - 1), dilation * (kw - 1)
  return lax.conv_general_dilated(
    x, kernel, (1, 1), ((rows, rows), (columns, columns)), (stride, stride), (dilation, dilation),
    feature_group_count=groups, dimension_numbers=_DIMS[4],
  )  # fmt: skip


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv(x, kernel, stride: int, pads: Pads, dilation: int) -> jax.Array:
  return plain(x, kernel, stride, pads, dilation)


def _conv_forward(x, kernel, stride: int, pads: Pads, dilation: int):
  return _conv(x, kernel, stride, pads, dilation), (x, kernel)


def _conv_backward(stride: int, pads: Pads, dilation: int, saved, g):
  x, kernel = saved

  def plain_kernel(x, g):
    shape = jax.ShapeDtypeStruct(kernel.shape, kernel.dtype)
    return jax.linear_transpose(lambda k: plain(x, k, stride, pads, dilation), shape)(g)[0]

  def plain_input(kernel, g):
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.linear_transpose(lambda x: plain(x, kernel, stride, pads, dilation), shape)(g)[0]

  def rows(x, g):
    return _kernel_gradient(x, g, kernel.shape[:2], stride, pads, dilation).astype(kernel.dtype)

  def phases(kernel, g):
    return _by_phases(g, kernel, stride, (pads[0][0], pads[1][0]), x.shape[1:3])

  def products(kernel, g):
    return _input_gradient(kernel, g, x.shape[1:3], pads, dilation)

  if stride > 1 and dilation == 1:
    dx = lax.platform_dependent(kernel, g, cpu=phases, default=plain_input)
  elif stride == 1 and math.prod(g.shape[:3]) <= _FEW * g.shape[3]:
    dx = lax.platform_dependent(kernel, g, cpu=products, default=plain_input)
  else:
    dx = plain_input(kernel, g)
  return dx, lax.platform_dependent(x, g, cpu=rows, default=plain_kernel)


_conv.defvjp(_conv_forward, _conv_backward)


def _pad(x, pads: tuple[tuple[int, int], ...]) -> jax.Array:
  """Pads every spatial axis of x [b ... c] with zeros; negative amounts crop."""
  inside = tuple((low, high, 0) for low, high in pads)
  return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *inside, (0, 0, 0)))


def _input_gradient(kernel, g, size: tuple[int, int], pads: Pads, dilation: int) -> jax.Array:
  """The gradient [b *size cin] at stride 1, by one matrix product for each kernel position.

  For small maps with many channels: XLA's form transposes the kernel first, which then takes most of the
  time (1024 channels on 11x15 pixels: half of it).
  """
  total = 0.0
  for i, j in np.ndindex(*kernel.shape[:2]):
    wide = jnp.promote_types(g.dtype, jnp.float32)
    part = lax.dot_general(g, kernel[i, j], (((3,), (1,)), ((), ())), preferred_element_type=wide)
    top, left = dilation * i - pads[0][0], dilation * j - pads[1][0]
    bottom, right = size[0] - part.shape[1] - top, size[1] - part.shape[2] - left
    total = total + _pad(part, ((top, bottom), (left, right)))
  return jnp.asarray(total, g.dtype)


def _kernel_gradient(x, g, kernel_size: tuple[int, int], stride: int, pads: Pads, dilation: int) -> jax.Array:
  """The gradient [kh kw cin cout], in float32 at least, for the cotangent g [b h' w' cout].

  A kernel position is a shift of x against g. A few rows at a time, the shifted views are laid side by
  side along the channels and one matrix product contracts the pixels. Row and column shifts may each be
  laid on x or, the other way round, on g: whichever copies least.
  """
  (kh, kw), (b, _, wo, d), c = kernel_size, g.shape, x.shape[-1]
  on_x = [(kh * kw * c + d, True, True)]
  on_g = [(kh * c + kw * d, True, False), (c + kh * kw * d, False, False)]
  # Over a strided x, g would have to be spread out with zeros first.
  copied, rows_on_x, columns_on_x = min(on_x + on_g if stride == 1 else on_x)
  columns = wo if columns_on_x else x.shape[2]
  values = max(_VALUES, kh * kw * c * d // 4)  # each product is as large as the kernel: many weigh, too
  chunk = max(math.ceil(_PIXELS / (b * columns)), values // (copied * b * columns), 1)
  # What lies beyond the edges of the side with the shifts: of x its padding, of g what the padding leaves.
  flipped: Any = tuple((dilation * (k - 1) - low, dilation * (k - 1) - high)
                       for k, (low, high) in zip(kernel_size, pads, strict=True))  # fmt: skip
  above, beside = pads[0] if rows_on_x else flipped[0], pads[1] if columns_on_x else flipped[1]

  def product(still, moving, rows: int):
    xs, gs = (moving, still) if rows_on_x else (still, moving)
    xs, gs = (_pad(xs, ((0, 0), beside)), gs) if columns_on_x else (xs, _pad(gs, ((0, 0), beside)))
    xs = _views(xs, kh if rows_on_x else 1, kw if columns_on_x else 1, dilation, rows, columns, stride)
    gs = _views(gs, 1 if rows_on_x else kh, 1 if columns_on_x else kw, -dilation, rows, columns, 1)
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    return lax.dot_general(xs, gs, (((0,), (0,)), ((), ())), preferred_element_type=dtype)

  still, moving = (g, x) if rows_on_x else (x, g)
  total = _over_rows(product, still, moving, chunk, stride, above[0], dilation * (kh - 1))
  if rows_on_x and not columns_on_x:
    return total.reshape(kh, c, kw, d).transpose(0, 2, 1, 3)
  if rows_on_x:
    return total.reshape(kh, kw, c, d)
  return total.reshape(c, kh, kw, d).transpose(1, 2, 0, 3)


def _over_rows(
  product: Callable, still: jax.Array, moving: jax.Array, chunk: int, stride: int, above: int, span: int
) -> jax.Array:
  """The sum of product(rows of `still`, the rows of `moving` that they meet, how many) over all rows.

  Row a of `still` meets the rows a * stride - above to that + span of `moving`, zeros beyond its edges.
  Those at the edges make a product each, with these zeros; those in between are read as they lie, `chunk` at
  a time in a loop. Neither side is ever copied as a whole.
  """
  length, limit = still.shape[1], moving.shape[1]

  def edge(start: int, stop: int) -> jax.Array:
    first, last = start * stride - above, (stop - 1) * stride - above + span + 1
    met = _pad(moving[:, max(first, 0) : last], ((max(-first, 0), max(last - limit, 0)), (0, 0)))
    return product(still[:, start:stop], met, stop - start)

  def inner(step: Any) -> jax.Array:
    here = lax.dynamic_slice_in_dim(still, begin + step * chunk, chunk, 1)
    first, rows = (begin + step * chunk) * stride - above, (chunk - 1) * stride + 1 + span
    return product(here, lax.dynamic_slice_in_dim(moving, first, rows, 1), chunk)

  begin = math.ceil(above / stride)
  end = min((limit - 1 - span + above) // stride + 1, length)
  steps = (end - begin) // chunk
  if steps < 2:
    return edge(0, length)
  begin += (end - begin) % chunk // 2  # what is left over goes to both edges
  edges = [(0, begin), (begin + steps * chunk, length)]
  parts = [edge(start, stop) for start, stop in edges if start < stop]
  total = sum(parts[1:], start=parts[0]) if parts else inner(0)
  return lax.scan(lambda total, i: (total + inner(i), None), total, jnp.arange(0 if parts else 1, steps))[0]


def _views(x, kh: int, kw: int, step: int, rows: int, columns: int, stride: int) -> jax.Array:
  """[b . . c] -> [b*rows*columns kh*kw*c]: the views shifted by `step` per kernel position, side by side.

  A negative step starts from the far end.
  """
  first = (0, 0) if step > 0 else (-step * (kh - 1), -step * (kw - 1))
  views = []
  for i in range(kh):
    for j in range(kw):
      top, left = first[0] + step * i, first[1] + step * j
      views.append(
        x[:, top : top + (rows - 1) * stride + 1 : stride, left : left + (columns - 1) * stride + 1 : stride]
      )
  side_by_side = jnp.concatenate(views, axis=-1)
  return side_by_side.reshape(-1, side_by_side.shape[-1])


def _by_phases(x, kernel, stride: int, padding: tuple[int, int], size: tuple[int, int]) -> jax.Array:
  """The transposed convolution: y[stride * i - padding + k] += kernel[k] x[i], as [b *size cout].

  Output positions of one phase (equal modulo the stride) see every stride-th kernel tap, as a plain
  convolution. Phases whose convolutions have the same taps and padding run as one.
  """
  b, cout = x.shape[0], kernel.shape[2]
  counts = tuple(-(-n // stride) for n in size)
  vertical = _phases(kernel.shape[0], stride, padding[0], x.shape[1], counts[0])
  horizontal = _phases(kernel.shape[1], stride, padding[1], x.shape[2], counts[1])
  columns = []
  for (taps_y, pad_y), phases_y in vertical.items():
    row = []
    for (taps_x, pad_x), phases_x in horizontal.items():
      shape = (b, *counts, len(phases_y), len(phases_x), cout)
      if taps_y == 0 or taps_x == 0:
        row.append(jnp.zeros(shape, x.dtype))
        continue
      if kernel.shape[:2] == (stride, stride) and padding == (0, 0) and counts == x.shape[1:3]:
        # Kernels side by side, one tap a phase: the kernel as it stands.
        row.append(_product(x, kernel.reshape(-1, kernel.shape[3]).T).reshape(shape))
        continue
      small = jnp.stack([kernel[r::stride] for r in phases_y])  # [py ty kw cout cin]
      small = jnp.stack([small[:, :, r::stride] for r in phases_x], axis=2)  # [py ty px tx cout cin]
      small = small[:, ::-1, :, ::-1].transpose(1, 3, 5, 0, 2, 4)  # [ty tx cin py px cout]
      y = conv2d(x, small.reshape(taps_y, taps_x, x.shape[-1], -1), padding=(pad_y, pad_x))
      row.append(y.reshape(shape))
    columns.append(jnp.concatenate(row, axis=4))
  y = jnp.concatenate(columns, axis=3)  # [b i j py px cout]
  y = y.transpose(0, 1, 3, 2, 4, 5).reshape(b, counts[0] * stride, counts[1] * stride, cout)
  return y[:, : size[0], : size[1]]


def _phases(k: int, stride: int, padding: int, n: int, count: int) -> dict:
  """Per axis, (taps, (low, high) padding) -> first taps of the output phases sharing it, in phase order."""
  groups = {}
  for phase in range(stride):
    first, shift = (phase + padding) % stride, (phase + padding) // stride
    taps = -(-(k - first) // stride) if k > first else 0
    low = taps - 1 - shift
    high = count - n - low + taps - 1
    groups.setdefault((taps, (low, high)), []).append(first)
  return groups
