"""Convolution and transposed convolution of volumes [b d h w c], as torch counts them.

What XLA does slowly is done slice by slice, with the two-dimensional operators of conv.py: on CPU the kernel
gradient (measured at two to four times XLA's speed), and the transposed convolution, which inserts no zeros.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jseg.ops import conv
from jseg.typing import Array

Pads = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def conv3d(
  x: Array,
  kernel: Array,
  *,
  stride: int = 1,
  padding: int | Pads = 0,
  dilation: int = 1,
  groups: int = 1,
) -> jax.Array:
  """Cross-correlation of x [b d h w cin] with kernel [kd kh kw cin/groups cout]: torch's conv3d.

  Differentiable any number of times in reverse mode; forward mode raises unless groups > 1.

  Args:
    x: the input.
    kernel: the filters, of x's dtype.
    stride: in all three directions.
    padding: zeros on all six sides, or ((front, back), (top, bottom), (left, right)).
    dilation: in all three directions.
    groups: channel groups.

  Returns:
    [b d' h' w' cout] with d' = (d + front + back - dilation * (kd - 1) - 1) // stride + 1; so h' and w'.
  """
  x, kernel = jnp.asarray(x), jnp.asarray(kernel)
  x, pads = conv.split_padding(x, kernel.shape[:3], padding, dilation)
  if groups != 1:
    return conv.plain(x, kernel, stride, pads, dilation, groups)
  if len(kernel) == 1:
    return _by_slices(x[:, ::stride], kernel[0], stride, pads[1:], dilation)
  return _conv(x, kernel, stride, pads, dilation)


def conv_transpose3d(
  x: Array, kernel: Array, *, stride: int, padding: int = 0, output_padding: int = 0
) -> jax.Array:
  """Torch's conv_transpose3d of x [b d h w cin] with kernel [kd kh kw cout cin], unflipped.

  One two-dimensional transposed convolution gives what every slice of x adds to its kd slices of the result,
  side by side in the channels; those of one phase (equal modulo the stride) add up, the phases interleave.

  Returns:
    [b d' h' w' cout] with d' = (d - 1) * stride - 2 * padding + kd + output_padding; so h' and w'.
  """
  x, kernel = jnp.asarray(x), jnp.asarray(kernel)
  (kd, kh, kw, cout, cin), (b, d, *plane) = kernel.shape, x.shape
  y = conv.conv_transpose2d(
    x.reshape(b * d, *plane), kernel.transpose(1, 2, 0, 3, 4).reshape(kh, kw, kd * cout, cin),
    stride=stride, padding=padding, output_padding=output_padding,
  )  # fmt: skip
  _, h, w, _ = y.shape
  y = y.reshape(b, d, h, w, kd, cout)
  taps = -(-kd // stride)
  rest: Any = ((0, 0),) * 3
  phases = []
  for phase in range(stride):
    parts = [
      jnp.pad(y[..., k, :], ((0, 0), (tap, taps - 1 - tap), *rest))
      for tap, k in enumerate(range(phase, kd, stride))
    ]
    phases.append(sum(parts[1:], start=parts[0]) if parts else jnp.zeros_like(phases[0]))
  y = jnp.stack(phases, axis=2).reshape(b, -1, h, w, cout)
  size = (d - 1) * stride - 2 * padding + kd + output_padding
  ends = (-padding, padding + size - y.shape[1], 0)
  return lax.pad(y, jnp.zeros((), y.dtype), ((0, 0, 0), ends, *((0, 0, 0),) * 3))


def _by_slices(x, kernel, stride: int, pads, dilation: int) -> jax.Array:
  """The two-dimensional convolution of every slice of x [b d h w cin] with kernel [kh kw cin cout]."""
  b, d, *plane = x.shape
  y = conv.conv2d(x.reshape(b * d, *plane), kernel, stride=stride, padding=pads, dilation=dilation)
  return y.reshape(b, d, *y.shape[1:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv(x, kernel, stride: int, pads: Pads, dilation: int) -> jax.Array:
  return conv.plain(x, kernel, stride, pads, dilation)


def _conv_forward(x, kernel, stride: int, pads: Pads, dilation: int):
  return _conv(x, kernel, stride, pads, dilation), (x, kernel)


def _conv_backward(stride: int, pads: Pads, dilation: int, saved, g):
  x, kernel = saved

  def plain(x, g):
    shape = jax.ShapeDtypeStruct(kernel.shape, kernel.dtype)
    return jax.linear_transpose(lambda k: conv.plain(x, k, stride, pads, dilation), shape)(g)[0]

  def slices(x, g):
    x = jnp.pad(x, ((0, 0), pads[0], (0, 0), (0, 0), (0, 0)))
    span, parts = (g.shape[1] - 1) * stride + 1, []
    for i in range(len(kernel)):
      met = x[:, i * dilation : i * dilation + span : stride]
      _, pull = jax.vjp(lambda k, met=met: _by_slices(met, k, stride, pads[1:], dilation), kernel[i])
      parts.append(pull(g)[0])
    return jnp.stack(parts)

  shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
  (dx,) = jax.linear_transpose(lambda x: conv.plain(x, kernel, stride, pads, dilation), shape)(g)
  return dx, lax.platform_dependent(x, g, cpu=slices, default=plain)


_conv.defvjp(_conv_forward, _conv_backward)
