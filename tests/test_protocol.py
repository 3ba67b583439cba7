"""Test-time scales, mirroring and windows: what must not change the scores, and what must."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jseg.tasks import protocol

IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(2, 11, 14, 3)).astype(np.float32))


def pointwise(x):
  """A network that looks at one pixel only."""
  return jnp.concatenate([x, -x[..., :1]], axis=-1)


def test_plain_protocol_returns_the_logits():
  np.testing.assert_array_equal(protocol.class_scores(pointwise, IMAGE), pointwise(IMAGE))


@pytest.mark.parametrize(
  'window', [(5, 5), (11, 14), (4, 20), pytest.param((1, 1), marks=pytest.mark.slow), (10, 13)]
)
@pytest.mark.parametrize('flip', [False, True])
def test_windows_and_mirror_leave_a_pointwise_network_alone(window, flip):
  found = protocol.class_scores(pointwise, IMAGE, window=window, flip=flip)
  np.testing.assert_allclose(found, jax.nn.softmax(pointwise(IMAGE)), atol=1e-6)


def test_mirror_makes_the_scores_symmetric():
  ramp = jnp.linspace(-1, 1, 14)[None, None, :, None]

  def leaning(x):
    return pointwise(x) + ramp * jnp.asarray([1.0, -1.0, 0.0, 0.0])[None, None, None]

  found = protocol.class_scores(leaning, IMAGE, flip=True)
  mirrored = protocol.class_scores(leaning, IMAGE[:, :, ::-1], flip=True)[:, :, ::-1]
  np.testing.assert_allclose(found, mirrored, atol=1e-6)


def test_scales_average_probabilities_of_resized_passes():
  flat = jnp.ones((1, 8, 10, 3)) * jnp.asarray([0.3, -0.2, 0.1])[None, None, None]
  found = protocol.class_scores(pointwise, flat, scales=(0.5, 1.0, 1.75))
  np.testing.assert_allclose(found, jax.nn.softmax(pointwise(flat)), atol=1e-6)


def noisy(x, number):
  """A network of one pixel whose logits a pass moves by its own amounts."""
  return pointwise(x) + jax.random.normal(jax.random.fold_in(jax.random.key(5), number), (4,))


@pytest.mark.parametrize('ways', [{}, {'flip': True, 'window': (5, 5)}], ids=['plain', 'flip-window'])
def test_samples_are_averaged_and_their_variance_found(ways):
  mean, uncertainty = protocol.sampled_scores(noisy, IMAGE, samples=5, **ways)
  passes = np.stack([jax.nn.softmax(noisy(IMAGE, number)) for number in range(5)]).astype(np.float64)
  np.testing.assert_allclose(mean, passes.mean(0), atol=1e-6)
  np.testing.assert_allclose(uncertainty, passes.var(0).mean(-1), rtol=1e-4, atol=1e-7)
  assert uncertainty.shape == (2, 11, 14) and uncertainty.mean() > 1e-3


def test_equal_samples_have_no_uncertainty():
  mean, uncertainty = protocol.sampled_scores(lambda x, number: pointwise(x), IMAGE, samples=3)
  np.testing.assert_allclose(mean, jax.nn.softmax(pointwise(IMAGE)), atol=1e-6)
  assert not np.any(uncertainty)


@pytest.mark.parametrize('length,window', [(11, 5), (14, 13), (6, 6), (100, 7), (9, 1)])
def test_starts_cover_with_half_overlap(length, window):
  starts = list(protocol._starts(length, window))
  assert starts[0] == 0 and starts[-1] == length - window
  assert all(0 < b - a <= max(1, -(-window // 2)) for a, b in zip(starts, starts[1:], strict=False))
