"""Values and gradients of the convolutions of volumes against the plain XLA form; goldens have torch's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, test_util

from jseg.ops import conv3d

_DIMS = ('NDHWC', 'DHWIO', 'NDHWC')

# x, kernel, stride, padding, dilation, groups.
CONVS = [
  pytest.param((2, 5, 7, 6, 3), (3, 3, 3, 3, 4), 1, 0, 1, 1, id='valid'),
  pytest.param((2, 4, 7, 5, 3), (3, 3, 3, 3, 4), 1, 1, 1, 1, id='padded'),
  pytest.param((1, 7, 9, 8, 2), (3, 3, 3, 2, 3), 2, 1, 1, 1, id='stride2'),
  pytest.param((1, 8, 9, 10, 2), (3, 3, 3, 2, 3), 1, 2, 2, 1, id='dilated'),
  pytest.param((1, 8, 9, 10, 2), (2, 3, 4, 2, 3), 2, ((1, 0), (2, 1), (0, 3)), 1, 1, id='unequal'),
  pytest.param((1, 9, 8, 10, 2), (3, 2, 3, 2, 3), 2, ((2, 1), (1, 2), (0, 3)), 2, 1, id='stride2_dilated'),
  pytest.param((2, 4, 5, 3, 3), (1, 1, 1, 3, 4), 1, 0, 1, 1, id='1x1x1'),
  pytest.param((2, 5, 6, 5, 3), (1, 3, 3, 3, 4), 2, ((1, 0), (1, 1), (0, 2)), 1, 1, id='1x3x3_stride2'),
  pytest.param((2, 5, 4, 3, 2), (3, 1, 1, 2, 4), 1, ((1, 1), (0, 0), (0, 0)), 1, 1, id='3x1x1'),
  pytest.param((1, 5, 6, 7, 2), (2, 2, 2, 2, 3), 1, ((-1, 3), (0, -2), (4, 1)), 1, 1, id='beyond_the_kernel'),
  pytest.param((1, 5, 6, 7, 6), (3, 3, 3, 2, 9), 1, 1, 1, 3, id='groups'),
]  # fmt: skip

# x, kernel [kd kh kw cout cin], stride, padding, output padding.
TRANSPOSED = [
  pytest.param((2, 3, 4, 5, 3), (2, 2, 2, 4, 3), 2, 0, 0, id='k2s2'),
  pytest.param((2, 3, 4, 5, 3), (2, 2, 2, 4, 3), 2, 0, 1, id='k2s2op1'),
  pytest.param((1, 3, 4, 2, 3), (4, 4, 4, 2, 3), 2, 1, 0, id='k4s2p1'),
  pytest.param((1, 3, 4, 2, 3), (3, 3, 3, 2, 3), 2, 1, 1, id='k3s2p1op1'),
  pytest.param((1, 3, 4, 2, 3), (3, 3, 3, 2, 3), 1, 1, 0, id='k3s1p1'),
  pytest.param((1, 3, 4, 2, 2), (5, 4, 3, 2, 2), 3, 1, 1, id='k5x4x3s3p1op1'),
  pytest.param((1, 3, 2, 4, 2), (2, 2, 2, 3, 2), 3, 0, 0, id='k2s3'),
  pytest.param((1, 1, 1, 1, 2), (3, 3, 3, 2, 2), 1, 0, 0, id='one_voxel'),
]


def plain(x, kernel, stride, padding, dilation, groups):
  pads = ((padding, padding),) * 3 if isinstance(padding, int) else padding
  zero = jnp.zeros((), x.dtype)
  x = lax.pad(x, zero, ((0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0)))
  return lax.conv_general_dilated(
    x, kernel, (stride,) * 3, 'VALID', rhs_dilation=(dilation,) * 3, feature_group_count=groups,
    dimension_numbers=_DIMS,
  )  # fmt: skip


def plain_transpose(x, kernel, stride, padding, output_padding):
  pads = tuple((k - 1 - padding, k - 1 - padding + output_padding) for k in kernel.shape[:3])
  flipped = kernel[::-1, ::-1, ::-1].transpose(0, 1, 2, 4, 3)
  return lax.conv_general_dilated(
    x, flipped, (1, 1, 1), pads, lhs_dilation=(stride,) * 3, dimension_numbers=_DIMS
  )


def arrays(*shapes, dtype=jnp.float32):
  rng = np.random.default_rng(0)
  return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def assert_same(ours, theirs, x, kernel, tolerance=3e-6):
  """Value, input gradient and kernel gradient, for one random cotangent."""
  shape = jax.eval_shape(theirs, x, kernel)
  (cotangent,) = arrays(shape.shape, dtype=shape.dtype)

  @functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})  # compiles for less
  def results(x, kernel, cotangent):
    value, pull = jax.vjp(ours, x, kernel)
    expected, push = jax.vjp(theirs, x, kernel)
    return (value, *pull(cotangent)), (expected, *push(cotangent))

  for a, b in zip(*results(x, kernel, cotangent), strict=True):
    assert a.shape == b.shape and a.dtype == b.dtype
    assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


@pytest.mark.parametrize('x, kernel, stride, padding, dilation, groups', CONVS)
def test_conv_is_the_plain_one(x, kernel, stride, padding, dilation, groups):
  options = {'stride': stride, 'padding': padding, 'dilation': dilation, 'groups': groups}
  assert_same(
    lambda x, k: conv3d.conv3d(x, k, **options), lambda x, k: plain(x, k, **options), *arrays(x, kernel)
  )


@pytest.mark.parametrize('x, kernel, stride, padding, output_padding', TRANSPOSED)
def test_transposed_conv_is_the_plain_one(x, kernel, stride, padding, output_padding):
  options = {'stride': stride, 'padding': padding, 'output_padding': output_padding}
  assert_same(
    lambda x, k: conv3d.conv_transpose3d(x, k, **options),
    lambda x, k: plain_transpose(x, k, **options),
    *arrays(x, kernel),
  )


def test_float64_stays_float64():
  with jax.enable_x64(True):
    x, kernel = arrays((1, 5, 6, 4, 2), (3, 3, 3, 2, 3), dtype=jnp.float64)
    f = lambda x, k: conv3d.conv3d(x, k, stride=2, padding=1)  # noqa: E731
    assert_same(f, lambda x, k: plain(x, k, 2, 1, 1, 1), x, kernel, 1e-13)


def test_bfloat16_accumulates_in_float32():
  x, kernel = arrays((1, 5, 6, 4, 2), (3, 3, 3, 2, 3), dtype=jnp.bfloat16)
  f = lambda x, k: conv3d.conv3d(x, k, padding=1)  # noqa: E731
  exact = lambda x, k: plain(x.astype(jnp.float32), k.astype(jnp.float32), 1, 1, 1, 1).astype(x.dtype)  # noqa: E731
  assert_same(f, exact, x, kernel, 2**-7)  # one rounding of the result


@pytest.mark.slow
def test_second_derivative():
  x, kernel = arrays((1, 3, 4, 3, 1), (2, 2, 2, 1, 2))
  f = lambda x, k: jnp.sin(conv3d.conv3d(x, k, padding=1))  # noqa: E731
  test_util.check_grads(f, (x, kernel), order=2, modes=['rev'], eps=1e-2, atol=2e-2, rtol=2e-2)
