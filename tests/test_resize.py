"""Resizing by hand-worked ramps and by its own rules; the goldens in test_goldens.py have torch's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jseg.ops import conv, resize


def row(*values):
  return jnp.asarray(values, jnp.float32).reshape(1, 1, -1, 1)


def flat(array):
  return np.asarray(array).reshape(-1)


def test_bilinear_ramps():
  # Half-pixel centres: outputs at -0.25, 0.25, 0.75, 1.25, ... input pixels, held within the map.
  np.testing.assert_allclose(flat(resize.bilinear(row(0, 4), (1, 4))), [0, 1, 3, 4])
  np.testing.assert_allclose(flat(resize.bilinear(row(0, 3), (1, 4), align_corners=True)), [0, 1, 2, 3])
  # Halving takes the middle of two pixels and does not look further.
  np.testing.assert_allclose(flat(resize.bilinear(row(0, 2, 100, 0), (1, 2))), [1, 50])
  # A factor of 1.7 over three pixels rounds down to five; the step is 1 / 1.7, not 3 / 5.
  step = flat(resize.bilinear(row(0, 1, 2), (1, 5), scale=1.7))
  np.testing.assert_allclose(step, np.clip((np.arange(5) + 0.5) / 1.7 - 0.5, 0, 2), rtol=1e-6)


def test_one_pixel_fills_everything():
  for align_corners in (False, True):
    y = resize.bilinear(row(7), (3, 5), align_corners=align_corners)
    np.testing.assert_array_equal(y, np.full((1, 3, 5, 1), 7.0))
  np.testing.assert_array_equal(resize.bilinear(row(1, 2, 3), (1, 1), align_corners=True), row(1))


def test_bicubic_by_hand():
  # With a = -0.75 the weights at 1.25, 0.25, 0.75 and 1.75 pixels are -27, 225, 67 and -9 of 256: on the ramp
  # 0, 1, 2, ... a quarter becomes (27 + 67 - 18) / 256.
  y = flat(resize.bicubic(row(*range(8)), (1, 16)))
  np.testing.assert_allclose(y[5:12:2], np.arange(2, 6) + 76 / 256, rtol=1e-6)
  np.testing.assert_allclose(y[4:12:2], np.arange(2, 6) - 76 / 256, rtol=1e-6)
  np.testing.assert_allclose(flat(resize.bicubic(row(*[5] * 6), (1, 13))), 5, rtol=1e-6)


def test_nearest_keeps_the_type_and_the_values():
  labels = np.array([[1, 255], [3, 4]], np.uint8).reshape(1, 2, 2, 1)
  y = resize.nearest(labels, (4, 3))
  assert y.dtype == jnp.uint8
  expected = [[1, 1, 255], [1, 1, 255], [3, 3, 4], [3, 3, 4]]
  np.testing.assert_array_equal(np.asarray(y)[0, ..., 0], expected)
  np.testing.assert_array_equal(resize.nearest(labels, (1, 1)).reshape(-1), [1])


def test_a_side_for_every_axis():
  for op in (resize.bilinear, resize.bicubic, resize.nearest):
    with pytest.raises(ValueError, match='one each'):
      op(jnp.zeros((1, 2, 3, 1)), (4,))


@pytest.mark.parametrize(
  'op',
  [
    lambda x: resize.bilinear(x, (11, 4)),
    lambda x: resize.bilinear(x, (11, 4), align_corners=True),
    lambda x: resize.bicubic(x, (3, 9)),
    lambda x: resize.nearest(x, (10, 9)),
    lambda x: resize.bilinear_upsample(x, stride=2, kernel_size=4),
    lambda x: resize.bilinear_upsample(x, stride=3, kernel_size=5),
  ],
)
def test_gradient_is_the_transpose(op):
  rng = np.random.default_rng(0)
  x = rng.standard_normal((2, 5, 6, 3)).astype(np.float32)
  y, transposed = jax.vjp(op, x)
  ct = rng.standard_normal(y.shape).astype(np.float32)
  np.testing.assert_allclose((y * ct).sum(), (x * transposed(ct)[0]).sum(), rtol=1e-4)


def test_bilinear_kernel_by_hand():
  # FCN's formula: size 4: factor 2, centre 1.5; size 3: factor 2, centre 1.
  line = np.array([0.25, 0.75, 0.75, 0.25])
  np.testing.assert_allclose(resize.bilinear_kernel(4), np.outer(line, line))
  line = np.array([0.5, 1, 0.5])
  np.testing.assert_allclose(resize.bilinear_kernel(3), np.outer(line, line))


@pytest.mark.parametrize(('stride', 'kernel_size'), [(2, 4), (4, 8), (2, 3), (3, 5), (8, 16), (4, 2)])
def test_bilinear_upsampling_is_the_transposed_convolution(stride, kernel_size):
  x = np.random.default_rng(0).standard_normal((2, 3, 4, 2)).astype(np.float32)
  kernel = resize.bilinear_kernel(kernel_size)[:, :, None, None] * np.eye(2, dtype=np.float32)
  np.testing.assert_allclose(
    resize.bilinear_upsample(x, stride=stride, kernel_size=kernel_size),
    conv.conv_transpose2d(x, kernel, stride=stride),
    atol=1e-5,
  )


def test_bilinear_upsampling_of_a_ramp():
  # By hand: 0.25 0.75 0.75 0.25 around each of 4 and 8, two apart, in one row of weights 0.25 0.75 0.75 0.25.
  y = resize.bilinear_upsample(row(4, 8), stride=2, kernel_size=4)
  np.testing.assert_allclose(flat(y[:, 1]) / 0.75, [1, 3, 5, 7, 6, 2])


def test_resizing_keeps_the_number_type():
  x = jnp.ones((1, 4, 4, 2), jnp.bfloat16)
  assert resize.bilinear(x, (8, 8)).dtype == jnp.bfloat16
  assert resize.bilinear_upsample(x, stride=2, kernel_size=4).dtype == jnp.bfloat16
  assert jax.grad(lambda x: resize.bilinear(x, (7, 9)).sum().astype(jnp.float32))(x).dtype == jnp.bfloat16
