"""Resizing of maps [b ... c] with one, two or three spatial axes, in torch's conventions.

Every method is separable and linear: one small matrix per axis, built at trace time. None of them smooths
before it shrinks.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jseg.typing import Array


def _sources(n: int, m: int, align_corners: bool, scale: float | None) -> np.ndarray:
  """Where each of the m outputs falls on an axis of n inputs, in input pixels."""
  if align_corners:
    return np.arange(m) * ((n - 1) / (m - 1) if m > 1 else 0.0)
  return (np.arange(m) + 0.5) * (n / m if scale is None else 1 / scale) - 0.5


def _linear_matrix(n: int, m: int, align_corners: bool, scale: float | None) -> np.ndarray:
  position = np.clip(_sources(n, m, align_corners, scale), 0, n - 1)
  return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(n)))


def _cubic_matrix(n: int, m: int, align_corners: bool, scale: float | None) -> np.ndarray:
  a = -0.75  # torch's and OpenCV's choice; Pillow and jax.image take -0.5
  position = _sources(n, m, align_corners, scale)
  first = np.floor(position).astype(int) - 1
  matrix = np.zeros((m, n))
  for tap in range(4):
    t = np.abs(position - first - tap)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    weight = np.where(t <= 1, near, far)
    np.add.at(matrix, (np.arange(m), np.clip(first + tap, 0, n - 1)), weight)  # the border pixel repeats
  return matrix


def _apply(x: Array, matrices: Sequence[np.ndarray]) -> jax.Array:
  """Multiplies every spatial axis of x [b ... c] with its matrix [out in].

  Forward, the last axes come first, as the few gathers a row of the matrix has entries, and the first axis
  last, as a product: a product is computed once, gathers would be repeated in every loop that XLA fuses them
  into (measured: a softmax over the result four times slower). Backward, all are products with the transposed
  matrices, where gathers would turn into scatters.
  """

  @jax.custom_vjp
  def apply(x: jax.Array) -> jax.Array:
    for axis, matrix in reversed(list(enumerate(matrices, start=1))):
      if not _is_identity(matrix):
        x = _multiply(x, matrix, axis) if axis == 1 else _gather(x, matrix, axis)
    return x

  def transposed(_: None, ct: Array) -> tuple[jax.Array]:
    for axis, matrix in enumerate(matrices, start=1):
      if not _is_identity(matrix):
        ct = _multiply(ct, matrix.T, axis)
    return (jnp.asarray(ct),)

  apply.defvjp(lambda x: (apply(x), None), transposed)
  return apply(jnp.asarray(x))


def _is_identity(matrix: np.ndarray) -> bool:
  return matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix)))


def _gather(x: jax.Array, matrix: np.ndarray, axis: int) -> jax.Array:
  """The product along one axis as a weighted sum of as many gathers as the fullest row has entries."""
  taps = (matrix != 0).sum(1).max()
  index = np.argsort(matrix == 0, axis=1, kind='stable')[:, :taps]
  weight = np.take_along_axis(matrix, index, axis=1)
  shape = [1] * x.ndim
  shape[axis] = len(matrix)
  terms = [
    jnp.take(x, index[:, tap], axis=axis) * jnp.asarray(weight[:, tap].reshape(shape), x.dtype)
    for tap in range(taps)
  ]
  return sum(terms[1:], start=terms[0])


def _multiply(x: Array, matrix: np.ndarray, axis: int) -> jax.Array:
  """The product along one axis as a dense one."""
  before, n, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
  flat = x.reshape(int(np.prod(before)), n, int(np.prod(after)))
  weight = jnp.asarray(matrix, x.dtype)
  if axis == 1:  # one product per image keeps the layout
    y = jnp.matmul(
      jnp.broadcast_to(weight, (len(flat), *weight.shape)), flat, precision=lax.Precision.HIGHEST
    )
  else:
    y = jnp.einsum('on,bnc->boc', weight, flat, precision=lax.Precision.HIGHEST)
  return y.reshape(*before, len(matrix), *after)


def _resize(
  x: Array, size: Sequence[int], matrix: Callable[..., np.ndarray], align_corners: bool, scale: float | None
) -> jax.Array:
  if len(size) != x.ndim - 2:
    raise ValueError(
      f'size {tuple(size)} has {len(size)} sides, the map {x.shape} has {x.ndim - 2}; give one each'
    )
  return _apply(x, [matrix(n, m, align_corners, scale) for n, m in zip(x.shape[1:-1], size, strict=True)])


def bilinear(
  x: Array, size: Sequence[int], *, align_corners: bool = False, scale: float | None = None
) -> jax.Array:
  """Linear interpolation of floating x [b ... c] to `size` in every spatial axis (three: trilinear).

  Args:
    x: the map.
    size: the new sides, pixels.
    align_corners: True: the centres of the corner pixels stay where they are (Caffe's Interp); False: the
      corners of the map do, pixel centres lying at halves.
    scale: the new side over the old one where it is not just their ratio (torch's `scale_factor`, whose
      sides are rounded down); ignored with align_corners, as there.

  Raises:
    ValueError: `size` does not have one side per spatial axis.
  """
  return _resize(x, size, _linear_matrix, align_corners, scale)


def bicubic(
  x: Array, size: Sequence[int], *, align_corners: bool = False, scale: float | None = None
) -> jax.Array:
  """Cubic convolution (a = -0.75) of floating x [b ... c] to `size`; arguments as for `bilinear`."""
  return _resize(x, size, _cubic_matrix, align_corners, scale)


def nearest(x: Array, size: Sequence[int]) -> jax.Array:
  """The nearest pixel of x [b ... c], any dtype: index floor(i * old / new), torch's 'nearest'.

  Raises:
    ValueError: `size` does not have one side per spatial axis.
  """
  if len(size) != x.ndim - 2:
    raise ValueError(
      f'size {tuple(size)} has {len(size)} sides, the map {x.shape} has {x.ndim - 2}; give one each'
    )
  y = jnp.asarray(x)
  for axis, m in enumerate(size, start=1):
    n = y.shape[axis]
    if m % n == 0:
      y = jnp.repeat(y, m // n, axis=axis)  # whose gradient is a sum, not a scatter
    else:
      # float32 as in torch: where i * n / m is a whole number, its rounding decides.
      index = np.floor(np.arange(m, dtype=np.float32) * np.float32(n / m)).astype(int)
      y = jnp.take(y, np.minimum(index, n - 1), axis=axis)
  return y


def bilinear_kernel(size: int) -> np.ndarray:
  """FCN's upsampling filter, float32 [size size] (Long et al. 2015, section 3.3; surgery.py of its code)."""
  return np.outer(_tent(size), _tent(size)).astype(np.float32)


def _tent(size: int) -> np.ndarray:
  factor = (size + 1) // 2
  centre = factor - 1 if size % 2 else factor - 0.5
  return 1 - np.abs(np.arange(size) - centre) / factor


def bilinear_upsample(x: Array, *, stride: int, kernel_size: int) -> jax.Array:
  """The transposed convolution of x [b h w c] with `bilinear_kernel` on the channel diagonal.

  Done as one small matrix per axis: the dense 64x64 kernel at stride 32 takes a hundred times as long.

  Returns:
    [b (h-1)*stride+kernel_size (w-1)*stride+kernel_size c], fading to zero at the borders as the
    transposed convolution does.
  """
  tent, matrices = _tent(kernel_size), []
  for n in x.shape[1:3]:
    matrix = np.zeros(((n - 1) * stride + kernel_size, n))
    for i in range(n):
      matrix[i * stride : i * stride + kernel_size, i] = tent
    matrices.append(matrix)
  return _apply(x, matrices)
