"""From a detector's raw scores and deltas to boxes: the RPN's proposals and the final detections.

Both are of one image and fixed in size; nothing here has a gradient.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float, Shaped

from jseg.ops import boxes as box_ops
from jseg.ops import nms
from jseg.typing import Array

Size = Shaped[Array, '2'] | tuple[int, int]


def proposals(
  objectness: Sequence[Float[Array, ' _']],
  deltas: Sequence[Float[Array, '_ 4']],
  anchors: Sequence[Float[Array, '_ 4']],
  size: Size,
  *,
  before: int,
  after: int,
  threshold: float = 0.7,
  min_size: float = 1e-3,
) -> tuple[Float[Array, '{after} 4'], Float[Array, '{after}'], Bool[Array, '{after}']]:
  """The best boxes of a region proposal network.

  Source: Lin et al. 2017 (FPN), section 4.1; torchvision's filter_proposals.

  Args:
    objectness: logits of every level's anchors.
    deltas: their deltas, of weights 1.
    anchors: where they start, in the same order.
    size: (h, w) of the image, pixels, without its padding.
    before: the best of each level that are looked at.
    after: the best of all levels that are returned.
    threshold: IoU of the suppression within each level.
    min_size: boxes with a side below it are dropped, pixels.

  Returns:
    Boxes, their scores in (0, 1), falling, and which are none: where too few are left, zeros.
  """
  found = []
  for logits, delta, anchor in zip(objectness, deltas, anchors, strict=True):
    taken = min(before, len(logits))
    logits, index = lax.top_k(lax.stop_gradient(logits.astype(jnp.float32)), taken)
    boxes = box_ops.decode(
      lax.stop_gradient(delta.astype(jnp.float32))[index], jnp.asarray(anchor)[index], (1, 1, 1, 1)
    )
    boxes = box_ops.clip(boxes, size)
    keep = nms.nms(boxes, logits, box_ops.large(boxes, min_size), threshold)
    found.append((boxes, logits, keep))
  boxes, logits, keep = (jnp.concatenate(parts) for parts in zip(*found, strict=True))
  index, valid = nms.top(logits, keep, after)
  return (
    jnp.where(valid[:, None], boxes[index], 0),
    jnp.where(valid, jax.nn.sigmoid(logits[index]), 0),
    valid,
  )


def detections(
  scores: Float[Array, 'n k'],
  deltas: Float[Array, 'n d 4'],
  proposals: Float[Array, 'n 4'],
  valid: Bool[Array, ' n'],
  size: Size,
  *,
  score_threshold: float = 0.05,
  nms_threshold: float = 0.5,
  count: int = 100,
  weights: Sequence[float] = (10, 10, 5, 5),
  min_size: float = 1e-2,
) -> dict[str, jax.Array]:
  """The best boxes of all classes after suppression within each class.

  Greedy suppression needs no more than the boxes it keeps: the best box of all is taken, what it suppresses
  is struck out, and so on `count` times. That is exact with every box and class, while NMS over all of
  n * k boxes would not fit and NMS over the best few thousand would not be exact.

  Args:
    scores: probabilities; class 0, the background, is left out.
    deltas: of each class, times `weights`: d = k, or d = 1 where all classes share them.
    proposals: where they start.
    valid: False for padding among the proposals.
    size: (h, w) of the image, pixels, without its padding.
    score_threshold: only boxes with a score above it count.
    nms_threshold: IoU of the suppression.
    count: how many are returned at most.
    weights: factors of the deltas, see `boxes.encode`.
    min_size: boxes with a side below it are dropped, pixels.

  Returns:
    boxes [count 4], scores [count], falling, classes int32 [count] in [1, k), proposal int32 [count], the
    row that each comes from, and valid bool [count]; zeros where there are fewer.
  """
  n, num_classes = scores.shape
  decoded = box_ops.decode(deltas.astype(jnp.float32), jnp.asarray(proposals)[:, None], weights)
  boxes = jnp.broadcast_to(box_ops.clip(decoded, size), (n, num_classes, 4)).transpose(1, 0, 2)[1:]
  scores = scores.astype(jnp.float32).T[1:]  # classes first: each one's column in one piece
  alive = valid & (scores > score_threshold) & box_ops.large(boxes, min_size)
  scores = jnp.where(alive, scores, -jnp.inf)
  limit = nms.threshold_in_float32(nms_threshold)

  def take(state, _):
    scores, best, place = state  # [k-1 n]; each class's best [k-1], and its row
    score = jnp.max(best)
    # Of equal scores the first row comes first, then the first class, as in a flat list of [n k].
    kind = jnp.argmin(jnp.where(best == score, place, n))
    row = place[kind]
    box, column = boxes[kind, row], scores[kind]
    struck = (box_ops.iou(box[None], boxes[kind])[0] > limit) | (jnp.arange(n) == row)
    column = jnp.where(struck, -jnp.inf, column)
    state = (
      scores.at[kind].set(column),
      best.at[kind].set(jnp.max(column)),
      place.at[kind].set(jnp.argmax(column).astype(jnp.int32)),
    )
    return state, (box, score, kind.astype(jnp.int32) + 1, row)

  start = scores, jnp.max(scores, axis=1), jnp.argmax(scores, axis=1).astype(jnp.int32)
  _, (box, score, kind, row) = lax.scan(take, start, None, length=count)
  real = score > -jnp.inf
  found = {'boxes': box, 'scores': score, 'classes': kind, 'proposal': row}
  found = {
    name: jnp.where(real.reshape(-1, *[1] * (value.ndim - 1)), value, 0) for name, value in found.items()
  }
  return {**found, 'valid': real}
