"""Which object each anchor or proposal stands for, and the seeded sample that a loss is taken of."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jseg.ops import nms
from jseg.typing import Array, Key

BACKGROUND, BETWEEN = -1, -2


def match(
  iou: Float[Array, 'g a'], valid: Bool[Array, ' g'], *, high: float, low: float, keep_best: bool
) -> Int[Array, ' a']:
  """The object that each anchor overlaps most.

  Source: Ren et al. 2015 (Faster R-CNN), section 3.1.2; torchvision's Matcher.

  Args:
    iou: of every object with every anchor.
    valid: False for padding among the objects. Objects without area should be marked so too: their best
      IoU is 0, and with keep_best every anchor that touches no object would be theirs.
    high: from this IoU on an anchor is its object's.
    low: below this IoU an anchor is background.
    keep_best: the anchors that overlap an object most of all, ties included, are objects' whatever their
      IoU; each is that of the object that it overlaps most itself, as in torchvision.

  Returns:
    int32: the object's index (of equal ones the first), -1 for background, -2 for what lies between.
  """
  iou = jnp.where(valid[:, None], iou, -1)
  if not len(iou):
    return jnp.full(iou.shape[1], BACKGROUND, jnp.int32)
  best = jnp.argmax(iou, axis=0).astype(jnp.int32)
  value = jnp.max(iou, axis=0)
  found = jnp.where(value >= high, best, jnp.where(value < low, BACKGROUND, BETWEEN))
  if keep_best:
    most = jnp.max(iou, axis=1, keepdims=True, initial=-1)
    found = jnp.where(jnp.any((iou == most) & valid[:, None], axis=0), best, found)
  return found


def sample(
  key: Key, positive: Bool[Array, ' n'], negative: Bool[Array, ' n'], *, count: int, fraction: float
) -> tuple[Int[Array, ' s'], Bool[Array, ' s'], Bool[Array, ' s']]:
  """A random sample without replacement: at most count * fraction positives, then negatives up to `count`.

  The counts are torchvision's and Detectron's: too few positives are made up for by negatives, too few
  negatives by nothing.

  Args:
    key: the seed.
    positive: who may be drawn as a positive.
    negative: who may be drawn as a negative; nobody is both.
    count: size of the sample, s.
    fraction: of it that may be positive, rounded down.

  Returns:
    The places int32, positives first; which of them are drawn (False: padding); which of those are positive.
  """
  most, row = int(count * fraction), jnp.arange(count)
  chance = jax.random.uniform(key, positive.shape)
  first, is_first = nms.top(chance, positive, most)
  second, is_second = nms.top(chance, negative, count)
  positives = jnp.sum(is_first)
  is_positive = row < positives
  if not most:
    return second, is_second, is_positive
  other = jnp.maximum(row - positives, 0)
  picked = jnp.where(is_positive, first[jnp.minimum(row, most - 1)], second[other])
  return picked, is_positive | is_second[other], is_positive
