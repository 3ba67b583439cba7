"""Normalisation without parameters or state."""

import jax
import jax.numpy as jnp
from jax import lax

from jseg.typing import Array


def lrn(x: Array, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> jax.Array:
  """Local response normalisation of x [b h w c] across channels: x / (k + alpha / size * sum x^2)^beta.

  The sum runs over the `size` channels around each one, those beyond the ends counting as zero; Caffe's
  and torch's definition (AlexNet's paper does not divide alpha by the size).
  """
  x = jnp.asarray(x)
  channels = x.shape[-1]
  square = lax.pad(
    jnp.square(x), jnp.zeros((), x.dtype), ((0, 0, 0),) * (x.ndim - 1) + ((size // 2, (size - 1) // 2, 0),)
  )
  total = sum(lax.slice_in_dim(square, i, i + channels, axis=-1) for i in range(size))
  return x * (k + alpha / size * total) ** -beta
