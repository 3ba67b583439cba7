"""Keypoints as places in a box's heatmap, and back."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float, Int

from jseg.typing import Array

A = -0.75  # of cubic convolution, torch's choice, as in resize.bicubic
TILE = 64  # pixels per side of what is resized at once
LARGEST = 2**14  # pixels per side of a box; bounds the work for boxes without meaning


def encode(
  keypoints: Float[Array, 'n p 3'], boxes: Float[Array, 'n 4'], size: int = 56
) -> tuple[Int[Array, 'n p'], Bool[Array, 'n p']]:
  """The bin of each keypoint in a grid of `size` x `size` over its box.

  Source: He et al. 2017 (Mask R-CNN), section 5; torchvision's keypoints_to_heatmap.

  Args:
    keypoints: (x, y, visibility) in pixels; visibility 0: not labelled.
    boxes: one per person.
    size: bins per side.

  Returns:
    The bin int32, y * size + x, 0 where there is none; whether there is one: labelled, and inside of the box,
    its right and lower ends included.
  """
  low, high = boxes[:, None, :2], boxes[:, None, 2:]
  side = high - low
  point = keypoints[..., :2]
  scale = size / jnp.where(side > 0, side, 1)
  place = jnp.floor((point - low) * scale).astype(jnp.int32)
  place = jnp.where(point == high, size - 1, place)
  inside = jnp.all((place >= 0) & (place < size) & (side > 0), axis=-1)
  valid = inside & (keypoints[..., 2] > 0)
  return jnp.where(valid, place[..., 1] * size + place[..., 0], 0), valid


def decode(
  heatmaps: Float[Array, 'n s s p'], boxes: Float[Array, 'n 4']
) -> tuple[Float[Array, 'n p 2'], Float[Array, 'n p']]:
  """Where each heatmap, resized to its box in pixels by cubic convolution, is highest, and how high.

  Source: torchvision's heatmaps_to_keypoints. The resized map is looked at tile by tile, as many as the box
  needs, so that no box has to be given room for the largest; nothing of this has a gradient.

  Args:
    heatmaps: logits.
    boxes: pixels; sides under one pixel count as one.

  Returns:
    (x, y) in pixels of the image, and the height there.
  """
  heatmaps, boxes = (lax.stop_gradient(jnp.asarray(a)) for a in (heatmaps, boxes))
  # A CPU takes the boxes in turn, each with its own number of tiles; others all at once, up to the most.
  return lax.platform_dependent(
    heatmaps.astype(jnp.float32),
    boxes,
    cpu=lambda *tasks: lax.map(lambda task: _highest(*task), tasks),
    default=jax.vmap(_highest),
  )


def _highest(heatmap: jax.Array, box: jax.Array) -> tuple[jax.Array, jax.Array]:
  """`decode` for one box: (x, y) [p 2] and the height [p] of a heatmap [s s p]."""
  side, _, count = heatmap.shape
  length = jnp.clip(box[2:] - box[:2], 1, LARGEST)
  whole = jnp.ceil(length).astype(jnp.int32)  # (w, h)
  highest = lax.Precision.HIGHEST

  def band(i: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    y, down = _cubic(i, side, whole[1])
    rows = jnp.einsum('yh,hwp->pyw', down, heatmap, precision=highest)

    def tile(j: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
      best, place = state
      x, across = _cubic(j, side, whole[0])
      value = jnp.einsum('xw,pyw->pyx', across, rows, precision=highest)
      inside = (y < whole[1])[:, None] & (x < whole[0])
      value = jnp.where(inside, value, -jnp.inf).reshape(count, TILE * TILE)
      index, most = jnp.argmax(value, axis=1), jnp.max(value, axis=1)
      here = y[index // TILE] * whole[0] + x[index % TILE]
      wins = (most > best) | ((most == best) & (here < place))
      return jnp.where(wins, most, best), jnp.where(wins, here, place)

    return lax.fori_loop(0, -(-whole[0] // TILE), tile, state)

  start = jnp.full(count, -jnp.inf), jnp.zeros(count, jnp.int32)
  best, place = lax.fori_loop(0, -(-whole[1] // TILE), band, start)
  pixel = jnp.stack([place % whole[0], place // whole[0]], axis=-1)
  return box[:2] + (pixel + 0.5) * (length / whole), best


def _cubic(tile: jax.Array, old: int, new: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The pixels [TILE] of one tile of an axis resized from `old` to `new`, and their weights [TILE old].

  The weights are those of `resize.bicubic`, for a size that is known at run time only.
  """
  pixel = tile * TILE + jnp.arange(TILE)
  position = (pixel + 0.5) * (old / new) - 0.5
  first = jnp.floor(position).astype(jnp.int32) - 1
  weights = jnp.zeros((TILE, old), jnp.float32)
  for tap in range(4):
    t = jnp.abs(position - first - tap)
    near = ((A + 2) * t - (A + 3)) * t * t + 1
    far = ((A * t - 5 * A) * t + 8 * A) * t - 4 * A
    here = jnp.clip(first + tap, 0, old - 1)[:, None] == jnp.arange(old)
    weights += jnp.where(here, jnp.where(t <= 1, near, far)[:, None], 0)
  return pixel, weights
