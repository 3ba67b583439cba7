"""Losses of dense prediction: pure functions, each returning (sum, count), never a mean."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Integer

from jseg.typing import IGNORE_LABEL, Array

NORMALISE = ('pixels', 'weights', 'images')


def cross_entropy(
  logits: Float[Array, 'b h w k'],
  labels: Integer[Array, 'b h w'],
  class_weights: Float[Array, ' k'],
  *,
  pixel_weights: Float[Array, 'b h w'] | None = None,
  normalise: str = 'pixels',
  label_smoothing: float = 0.0,
) -> tuple[Float[Array, ''], Float[Array, '']]:
  """Softmax cross-entropy over the pixels that are not void.

  Args:
    logits: scores before the softmax, float32.
    labels: class of each pixel in [0, k), or 255 for void.
    class_weights: factor of each class on its pixels' loss.
    pixel_weights: factor of each pixel on its loss, times that of its class (U-Net's weight map); None: 1.
    normalise: what the sum will be divided by. 'pixels': the pixels that are not void (Caffe; SegNet's
      weighted loss too, spec SegNet 2.4), whatever they weigh. 'weights': the sum of the weights of those
      pixels, class times pixel (torch).
      'images': the images that are not all void, so that the loss is a sum over pixels (FCN's
      `normalize: false` at batch 1).
    label_smoothing: mass spread evenly over all classes.

  Returns:
    (sum of the losses, count to divide by), both float32 scalars.

  Raises:
    ValueError: `normalise` is none of the three.
  """
  if normalise not in NORMALISE:
    raise ValueError(f"normalise '{normalise}' is unknown; there are: {', '.join(NORMALISE)}")
  known = labels != IGNORE_LABEL
  # A select over the classes: the gradient of take_along_axis is a scatter, slow on every backend.
  classes = jnp.arange(logits.shape[-1])[None, None, None]
  chosen = labels[..., None] == classes  # [b h w k]
  log_sum = jax.nn.logsumexp(logits, axis=-1)
  loss = log_sum - jnp.sum(jnp.where(chosen, logits, 0), axis=-1)
  weights = jnp.sum(jnp.where(chosen, class_weights[None, None, None], 0), axis=-1)  # [b h w], 0 where void
  weighted = loss * weights
  if label_smoothing:
    uniform = log_sum * class_weights.sum() - logits @ class_weights
    weighted = (1 - label_smoothing) * weighted + label_smoothing / logits.shape[-1] * uniform
  if pixel_weights is not None:
    pixel_weights = jnp.where(known, pixel_weights, 0)
    weights, weighted = weights * pixel_weights, weighted * pixel_weights
  total = jnp.sum(jnp.where(known, weighted, 0))
  count = {
    'pixels': lambda: jnp.sum(known),
    'weights': lambda: jnp.sum(weights),
    'images': lambda: jnp.sum(known.any(axis=(1, 2))),
  }[normalise]()
  return total, count.astype(jnp.float32)
