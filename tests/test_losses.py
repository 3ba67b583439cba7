"""Losses: hand numbers, void, and the reduction they are made for. Recorded ones: test_goldens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jseg.tasks import losses


def _case(seed=0, k=4):
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=(2, 5, 6, k)).astype(np.float32)
  labels = rng.integers(0, k, (2, 5, 6)).astype(np.uint8)
  labels[0, :2] = 255
  return jnp.asarray(logits), jnp.asarray(labels)


def test_uniform_logits_cost_log_k():
  total, count = losses.cross_entropy(jnp.zeros((1, 2, 3, 5)), jnp.zeros((1, 2, 3), jnp.uint8), jnp.ones(5))
  assert count == 6
  np.testing.assert_allclose(total, 6 * np.log(5), rtol=1e-6)


def test_weights_scale_their_class_and_are_not_in_the_pixel_count():
  # Two pixels, one of each class, equal logits: each costs log 2, times its weight (SegNet's loss).
  labels = jnp.asarray([[[0, 1]]], jnp.uint8)
  total, count = losses.cross_entropy(jnp.zeros((1, 1, 2, 2)), labels, jnp.asarray([3.0, 5.0]))
  np.testing.assert_allclose(total, 8 * np.log(2), rtol=1e-6)
  assert count == 2
  _, weighted = losses.cross_entropy(
    jnp.zeros((1, 1, 2, 2)), labels, jnp.asarray([3.0, 5.0]), normalise='weights'
  )
  assert weighted == 8


def test_images_counts_images_with_any_label():
  labels = jnp.full((3, 2, 2), 255, jnp.uint8).at[0, 0, 0].set(1)
  _, count = losses.cross_entropy(jnp.zeros((3, 2, 2, 2)), labels, jnp.ones(2), normalise='images')
  assert count == 1


@pytest.mark.parametrize('normalise', losses.NORMALISE)
def test_void_pixels_change_neither_loss_nor_gradient(normalise):
  logits, labels = _case()
  weights = jnp.asarray([1.0, 2.0, 0.5, 3.0])

  def loss(logits):
    return losses.cross_entropy(logits, labels, weights, normalise=normalise, label_smoothing=0.1)[0]

  disturbed = logits.at[0, :2].add(100.0)
  np.testing.assert_array_equal(loss(logits), loss(disturbed))
  gradient = jax.grad(loss)(logits)
  assert not np.any(gradient[0, :2])
  assert np.all(np.any(np.asarray(gradient[1]) != 0, axis=-1))


def test_all_void_is_zero_over_zero_without_nan():
  labels = jnp.full((1, 2, 2), 255, jnp.uint8)
  total, count = losses.cross_entropy(jnp.ones((1, 2, 2, 3)), labels, jnp.ones(3))
  assert total == 0 and count == 0


def test_unknown_rule_names_the_known():
  with pytest.raises(ValueError, match='pixels, weights, images'):
    losses.cross_entropy(*_case(), jnp.ones(4), normalise='mean')
