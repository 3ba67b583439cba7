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


def test_pixel_weights_by_hand():
  # Equal logits: each of the three known pixels costs log 2, times its class's weight, times its own.
  labels = jnp.asarray([[[0, 1, 1, 255]]], jnp.uint8)
  own = jnp.asarray([[[0.5, 2.0, 10.0, np.nan]]])
  for normalise, expected in (('pixels', 3), ('weights', 3 * 0.5 + 5 * 12), ('images', 1)):
    total, count = losses.cross_entropy(
      jnp.zeros((1, 1, 4, 2)), labels, jnp.asarray([3.0, 5.0]), pixel_weights=own, normalise=normalise
    )
    np.testing.assert_allclose(total, (3 * 0.5 + 5 * 12) * np.log(2), rtol=1e-6)
    assert count == expected


@pytest.mark.parametrize('smoothing', [0.0, 0.2])
def test_pixel_weights_multiply_each_pixels_loss(smoothing):
  logits, labels = _case()
  own = jnp.asarray(np.random.default_rng(1).uniform(0, 3, labels.shape).astype(np.float32))
  options = {'class_weights': jnp.asarray([1.0, 2.0, 0.5, 3.0]), 'label_smoothing': smoothing}
  alone = [
    losses.cross_entropy(logits[:, i : i + 1, j : j + 1], labels[:, i : i + 1, j : j + 1], **options)[0]
    for i in range(5)
    for j in range(6)
  ]
  total, _ = losses.cross_entropy(logits, labels, pixel_weights=jnp.ones(labels.shape), **options)
  np.testing.assert_allclose(total, sum(alone), rtol=1e-5)
  own = jnp.stack([own[0]] * 2)  # the two images weigh alike, so that a pair of pixels is one term
  total, _ = losses.cross_entropy(logits, labels, pixel_weights=own, **options)
  np.testing.assert_allclose(total, np.asarray(alone) @ np.asarray(own[0]).ravel(), rtol=1e-5)


def test_images_counts_images_with_any_label():
  labels = jnp.full((3, 2, 2), 255, jnp.uint8).at[0, 0, 0].set(1)
  _, count = losses.cross_entropy(jnp.zeros((3, 2, 2, 2)), labels, jnp.ones(2), normalise='images')
  assert count == 1


@pytest.mark.parametrize('normalise', losses.NORMALISE)
def test_void_pixels_change_neither_loss_nor_gradient(normalise):
  logits, labels = _case()
  weights = jnp.asarray([1.0, 2.0, 0.5, 3.0])

  def loss(logits):
    return losses.cross_entropy(
      logits, labels, weights, pixel_weights=own, normalise=normalise, label_smoothing=0.1
    )[0]

  own = jnp.full(labels.shape, 2.0)
  disturbed = logits.at[0, :2].add(100.0)
  before = loss(logits)
  np.testing.assert_array_equal(before, loss(disturbed))
  own = own.at[0, :2].add(100.0)
  np.testing.assert_array_equal(before, loss(logits))
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
