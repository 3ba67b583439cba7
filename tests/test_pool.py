"""Pooling and unpooling by hand-worked windows; the goldens in test_goldens.py have torch's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import test_util

from jseg.ops import normalise, pool


def grid(rows):
  """One image of one channel from its rows."""
  return jnp.asarray(rows, jnp.float32)[None, :, :, None]


def flat(array):
  return np.asarray(array)[0, ..., 0].tolist()


def random_map(*shape):
  return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
  ('size', 'options', 'windows'),
  [
    (45, {'kernel': 2, 'stride': 2}, 22),
    (45, {'kernel': 2, 'stride': 2, 'ceil_mode': True}, 23),  # SegNet at 360x480
    (1, {'kernel': 2, 'stride': 2, 'ceil_mode': True}, 1),
    (5, {'kernel': 3, 'stride': 2, 'padding': 1, 'ceil_mode': True}, 3),
    # A fifth window would begin at 7 = 8 + 1 - 2, within; a window at 8 + 1 would begin in the padding.
    (8, {'kernel': 3, 'stride': 2, 'padding': 1, 'ceil_mode': True}, 5),
    (4, {'kernel': 2, 'stride': 3, 'padding': 1, 'ceil_mode': True}, 2),
  ],
)
def test_output_size(size, options, windows):
  assert pool.output_size(size, **options) == windows


def test_windows_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match='give at least 2'):
    pool.max_pool(jnp.zeros((1, 1, 4, 1)))
  with pytest.raises(ValueError, match='use 1 at most'):
    pool.avg_pool(jnp.zeros((1, 4, 4, 1)), kernel=3, stride=1, padding=2)


def test_the_first_of_equal_maxima_wins_place_and_gradient():
  x = grid([[1, 3, 0, 0], [3, 2, 0, 0]])
  assert flat(pool.max_pool(x)) == [[3, 0]]
  assert flat(pool.max_pool_argmax(x)[1]) == [[1, 2]]
  assert flat(pool.max_pool_2x2(x)[1]) == [[1, 0]]
  once = [[0, 1, 1, 0], [0, 0, 0, 0]]
  assert flat(jax.grad(lambda x: pool.max_pool(x).sum())(x)) == once
  assert flat(jax.grad(lambda x: pool.max_pool_argmax(x)[0].sum())(x)) == once
  # Overlapping windows of 3 at 0 and 1, over 3 3 1 3: firsts are 0 and 1.
  x = grid([[3, 3, 1, 3]] * 3)
  overlap = jax.grad(lambda x: pool.max_pool(x, kernel=3, stride=1).sum())(x)
  assert flat(overlap) == [[1, 1, 0, 0], [0] * 4, [0] * 4]


@pytest.mark.parametrize(('kernel', 'stride'), [(2, 2), (3, 2), (2, 1)])
def test_pooling_of_volumes(kernel, stride):
  x = random_map(2, 5, 6, 7, 3)
  y = pool.max_pool3d(x, kernel=kernel, stride=stride)
  windows = np.lib.stride_tricks.sliding_window_view(x, (kernel,) * 3, (1, 2, 3))
  np.testing.assert_array_equal(y, windows[:, ::stride, ::stride, ::stride].max((-3, -2, -1)))
  with pytest.raises(ValueError, match='give at least 2'):
    pool.max_pool3d(x[:, :1])


def test_the_first_of_equal_maxima_of_a_volume_wins_the_gradient():
  x = jnp.asarray([[[1, 3], [3, 2]], [[3, 0], [0, 0]]], jnp.float32).reshape(1, 2, 2, 2, 1)
  gradient = jax.grad(lambda x: pool.max_pool3d(x).sum())(x)
  assert gradient.reshape(-1).tolist() == [0, 1, 0, 0, 0, 0, 0, 0]
  last = x.at[0, 1, 1, 1, 0].set(4)
  assert jax.grad(lambda x: pool.max_pool3d(x).sum())(last).reshape(-1).tolist() == [0] * 7 + [1]


def test_padding_never_wins():
  x = -1 - jnp.abs(random_map(1, 5, 5, 2))
  for options in ({'kernel': 3, 'padding': 1}, {'kernel': 2, 'ceil_mode': True}):
    y, index = pool.max_pool_argmax(x, **options)
    assert (y < 0).all() and np.isfinite(y).all()
    np.testing.assert_array_equal(
      np.take_along_axis(x.reshape(1, 25, 2), index.reshape(1, -1, 2), 1), y.reshape(1, -1, 2)
    )
  nothing = jnp.full((1, 5, 5, 1), -jnp.inf)
  assert flat(pool.max_pool_argmax(nothing, kernel=3, padding=1)[1])[0] == [0, 1, 3]


def test_nan_does_not_hide():
  x = grid([[5, 1], [float('nan'), 2]])
  assert np.isnan(pool.max_pool(x)).all()
  assert np.isnan(pool.max_pool(x, kernel=2, stride=1)).all()


@pytest.mark.parametrize('size', [(8, 6), (7, 9), (1, 1)])
def test_places_and_flat_indices_say_the_same(size):
  x = random_map(2, *size, 3)
  y, place = pool.max_pool_2x2(x, ceil_mode=True)
  y_flat, index = pool.max_pool_argmax(x, ceil_mode=True)
  np.testing.assert_array_equal(y, y_flat)
  assert place.dtype == jnp.uint8
  np.testing.assert_array_equal(pool.flat_index(place, size), index)
  z = random_map(*y.shape) + 3
  np.testing.assert_array_equal(pool.unpool_2x2(z, place, size), pool.unpool(z, index, size))
  ct = random_map(*x.shape)
  np.testing.assert_array_equal(
    jax.vjp(lambda z: pool.unpool_2x2(z, place, size), z)[1](ct)[0],
    jax.vjp(lambda z: pool.unpool(z, index, size), z)[1](ct)[0],
  )


def test_pooling_undoes_unpooling():
  x = np.abs(random_map(2, 7, 6, 3)) + 1
  y, place = pool.max_pool_2x2(x, ceil_mode=True)
  back = pool.unpool_2x2(y, place, (7, 6))
  np.testing.assert_array_equal(pool.max_pool(back, ceil_mode=True), y)
  assert np.count_nonzero(back) == y.size
  np.testing.assert_array_equal(np.where(back != 0, x, 0), back)


def test_gradient_of_pooling_and_unpooling_is_numerically_right():
  x = random_map(1, 5, 4, 2)

  def both(x):
    y, place = pool.max_pool_2x2(x, ceil_mode=True)
    return pool.unpool_2x2(jnp.sin(y), place, (5, 4))

  test_util.check_grads(both, (x,), order=2, modes=['rev'], eps=1e-2, atol=2e-2, rtol=2e-2)
  test_util.check_grads(
    lambda x: pool.max_pool(x, kernel=3, padding=1), (x,), order=1, modes=['rev'], eps=1e-3, atol=1e-2
  )


def test_unpooling_refuses_foreign_places_and_sizes():
  x, place = jnp.zeros((1, 2, 3, 1)), jnp.zeros((1, 2, 3, 1), jnp.uint8)
  for size in ((3, 5), (4, 6), (5, 7)):
    assert pool.unpool_2x2(x, place, size).shape == (1, *size, 1)
  with pytest.raises(ValueError, match='4x6'):
    pool.unpool_2x2(x, place, (4, 8))
  with pytest.raises(ValueError, match='differ in shape'):
    pool.unpool_2x2(x, place[:, :1], (4, 6))
  with pytest.raises(ValueError, match='differ in shape'):
    pool.unpool(x, place[:, :1], (4, 6))


def test_average_divides_by_what_it_is_told():
  x = grid([[4, 8, 12]])
  options = {'kernel': 2, 'stride': 2, 'padding': 1}
  # The upper left window holds three zeros of padding and the 4; the other one the 8 and the 12.
  assert flat(pool.avg_pool(x, **options)) == [[1, 5]]
  assert flat(pool.avg_pool(x, **options, count_include_pad=False)) == [[4, 10]]
  # Ceil mode adds a window over 12 and beyond: what is beyond counts in neither way.
  assert flat(pool.avg_pool(x.repeat(2, 1), kernel=2, stride=2, ceil_mode=True)) == [[6, 12]]


def test_adaptive_bins_overlap():
  # Three bins over five pixels: [0, 2), [1, 4), [3, 5); more bins than pixels repeat them.
  x = grid([[0, 1, 2, 3, 4]])
  np.testing.assert_allclose(flat(pool.adaptive_avg_pool(x, (1, 3))), [[0.5, 2, 3.5]])
  assert flat(pool.adaptive_avg_pool(grid([[7, 9]]), (2, 4))) == [[7, 7, 9, 9]] * 2


def test_lrn_by_hand():
  x = jnp.asarray([1.0, 2.0, 3.0]).reshape(1, 1, 1, 3)
  y = normalise.lrn(x, size=3, alpha=3.0, beta=1.0, k=1.0)
  np.testing.assert_allclose(y.reshape(-1), [1 / 6, 2 / 15, 3 / 14], rtol=1e-6)
