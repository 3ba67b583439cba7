"""Losses of a segmentation network that also tells real images from generated ones.

Source: Souly, Spampinato, Shah (ICCV 2017), section 3: every pixel has K classes and one more, 'fake'. With K
scores and a fake one fixed at 0 it is Salimans et al. 2016 (arXiv:1606.03498), section 5. In both, `scores`
[... K+1] below have the fake one last. Every loss is a map over pixels: its mean is the caller's to take.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jseg.typing import Array

FORMS = ('fixed', 'explicit')


def scores(logits: Float[Array, 'b h w n'], form: str) -> Float[Array, 'b h w m']:
  """Scores with the fake class last: `logits` as they are ('explicit'), or with a 0 beside them ('fixed')."""
  if form not in FORMS:
    raise ValueError(f"task.form '{form}' is unknown; there are: {', '.join(FORMS)}")
  if form == 'explicit':
    return jnp.asarray(logits)
  return jnp.concatenate([logits, jnp.zeros_like(logits[..., :1])], axis=-1)


def real(scores: Float[Array, 'b h w n']) -> Float[Array, 'b h w']:
  """-log(1 - p_fake): of pixels that are real."""
  return jax.nn.softplus(-_margin(scores))


def fake(scores: Float[Array, 'b h w n']) -> Float[Array, 'b h w']:
  """-log p_fake: of pixels that were generated."""
  return jax.nn.softplus(_margin(scores))


def tagged(scores: Float[Array, 'b h w n'], tags: Bool[Array, 'b k']) -> Float[Array, 'b h w']:
  """-log of the probability that it is a class the tags name: of real pixels of which no more is known."""
  named = jnp.where(tags[:, None, None], scores[..., :-1], -jnp.inf)
  return jax.nn.logsumexp(scores, axis=-1) - jax.nn.logsumexp(named, axis=-1)


def _margin(scores: jax.Array) -> jax.Array:
  """The log-odds that a pixel is real, so that neither probability is ever 1 minus the other."""
  return jax.nn.logsumexp(scores[..., :-1], axis=-1) - scores[..., -1]
