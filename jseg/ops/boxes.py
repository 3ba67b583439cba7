"""Boxes of one image: areas, overlaps, and the deltas that a detector regresses.

A box is float32 (x0, y0, x1, y1) in pixels, its ends on pixel borders: x1 - x0 is its width, without the + 1
of older code. A degenerate box (no width or no height) has area and overlaps 0 and gives no NaN.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Shaped

from jseg.typing import Array

# Where a box may grow by one step at most: from 16 pixels, a stride of C4, to 1000, a whole image.
LIMIT = math.log(1000 / 16)


def areas(boxes: Float[Array, '*n 4']) -> Float[Array, '*n']:
  """Areas in pixels; 0 for degenerate boxes, inverted ones included."""
  side = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
  return side[..., 0] * side[..., 1]


def _intersections(a: Array, b: Array) -> jax.Array:
  low, high = jnp.maximum(a[:, None, :2], b[None, :, :2]), jnp.minimum(a[:, None, 2:], b[None, :, 2:])
  side = jnp.maximum(high - low, 0)
  return side[..., 0] * side[..., 1]


def _ratio(part: jax.Array, whole: jax.Array) -> jax.Array:
  """part / whole, and 0 with gradient 0 where the whole is 0."""
  return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), 0)


def iou(a: Float[Array, 'n 4'], b: Float[Array, 'm 4']) -> Float[Array, 'n m']:
  """Intersection over union of every pair, in [0, 1]; 0 where both are degenerate."""
  both = _intersections(a, b)
  return _ratio(both, areas(a)[:, None] + areas(b) - both)


def overlap(a: Float[Array, 'n 4'], b: Float[Array, 'm 4']) -> Float[Array, 'n m']:
  """The share of each a that lies in each b, in [0, 1] (COCO's rule for crowds b); 0 for a degenerate a."""
  return _ratio(_intersections(a, b), areas(a)[:, None])


def _centre_form(boxes: Array) -> tuple[jax.Array, jax.Array]:
  """Centres and sides, each [... 2]."""
  boxes = jnp.asarray(boxes)
  side = boxes[..., 2:] - boxes[..., :2]
  return boxes[..., :2] + 0.5 * side, side


def encode(
  boxes: Float[Array, '... 4'], anchors: Float[Array, '... 4'], weights: Sequence[float]
) -> Float[Array, '... 4']:
  """The deltas (dx, dy, dw, dh) that lead from the anchors to the boxes.

  Source: Girshick et al. 2014 (R-CNN), appendix C; weights as in Detectron's bbox_transform_inv.

  Args:
    boxes: the targets.
    anchors: where they are regressed from.
    weights: factors of the four deltas; (1, 1, 1, 1) in the RPN, (10, 10, 5, 5) in the box head.

  Returns:
    The deltas; of a degenerate box or anchor finite numbers without meaning.
  """
  (centre, side), (origin, scale) = _centre_form(boxes), _centre_form(anchors)
  side, scale = jnp.where(side > 0, side, 1), jnp.where(scale > 0, scale, 1)
  deltas = jnp.concatenate([(centre - origin) / scale, jnp.log(side / scale)], axis=-1)
  return deltas * jnp.asarray(weights, deltas.dtype)


def decode(
  deltas: Float[Array, '... 4'],
  anchors: Float[Array, '... 4'],
  weights: Sequence[float],
  *,
  limit: float = LIMIT,
) -> Float[Array, '... 4']:
  """The boxes that the deltas lead to; `encode` backwards.

  Args:
    deltas: (dx, dy, dw, dh), times the weights.
    anchors: where they start; leading axes broadcast.
    weights: factors of the four deltas, as for `encode`.
    limit: largest dw and dh, divided by their weights; more would overflow.
  """
  deltas = deltas / jnp.asarray(weights, deltas.dtype)
  origin, scale = _centre_form(anchors)
  centre = origin + deltas[..., :2] * scale
  half = 0.5 * jnp.exp(jnp.minimum(deltas[..., 2:], limit)) * scale
  return jnp.concatenate([centre - half, centre + half], axis=-1)


def clip(boxes: Float[Array, '*n 4'], size: Shaped[Array, '2'] | tuple[int, int]) -> Float[Array, '*n 4']:
  """The boxes cut at the borders of an image of `size` = (h, w) pixels."""
  height, width = size
  x, y = jnp.clip(boxes[..., 0::2], 0, width), jnp.clip(boxes[..., 1::2], 0, height)
  return jnp.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], axis=-1)


def large(boxes: Float[Array, '*n 4'], least: float) -> Bool[Array, '*n']:
  """Which boxes have both sides of at least so many pixels."""
  return jnp.all(boxes[..., 2:] - boxes[..., :2] >= least, axis=-1)
