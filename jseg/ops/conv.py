"""Convolution and transposed convolution with explicit integer padding, as torch counts it."""

import jax
from jax import lax

from jseg.typing import Array

_DIMS = ('NHWC', 'HWIO', 'NHWC')


def conv2d(
  x: Array,
  kernel: Array,
  *,
  stride: int = 1,
  padding: int | tuple[tuple[int, int], tuple[int, int]] = 0,
  dilation: int = 1,
  groups: int = 1,
) -> jax.Array:
  """Cross-correlation of x [b h w cin] with kernel [kh kw cin/groups cout]: torch's conv2d.

  Args:
    x: the input.
    kernel: the filters.
    stride: in both directions.
    padding: zeros on all four sides, or ((top, bottom), (left, right)).
    dilation: in both directions.
    groups: channel groups.

  Returns:
    [b h' w' cout] with h' = (h + top + bottom - dilation * (kh - 1) - 1) // stride + 1.
  """
  pads = ((padding, padding), (padding, padding)) if isinstance(padding, int) else padding
  return lax.conv_general_dilated(
    x, kernel, (stride, stride), pads,
    rhs_dilation=(dilation, dilation), feature_group_count=groups, dimension_numbers=_DIMS,
  )  # fmt: skip


def conv_transpose2d(
  x: Array, kernel: Array, *, stride: int, padding: int = 0, output_padding: int = 0
) -> jax.Array:
  """Torch's conv_transpose2d of x [b h w cin] with kernel [kh kw cout cin], unflipped.

  Returns:
    [b h' w' cout] with h' = (h - 1) * stride - 2 * padding + kh + output_padding.
  """
  kh, kw = kernel.shape[:2]
  pads = tuple((k - 1 - padding, k - 1 - padding + output_padding) for k in (kh, kw))
  flipped = kernel[::-1, ::-1].transpose(0, 1, 3, 2)  # [kh kw cin cout]
  return lax.conv_general_dilated(
    x, flipped, (1, 1), pads, lhs_dilation=(stride, stride), dimension_numbers=_DIMS
  )
