"""Losses of Mask R-CNN and the samples they are taken of, for one image; callers vmap over the batch.

Source: He et al., "Mask R-CNN" (arXiv:1703.06870), section 3.1; rules and normalisations of the authors'
code, facebookresearch/Detectron (roi_data/{rpn,fast_rcnn,mask_rcnn,keypoint_rcnn}.py and the losses in
modeling/), or of torchvision's models/detection.

Every loss is (sum, count), to be added over images and devices and divided once; images that only pad a batch
must be left out of both. Objects are boxes float32 [g 4], classes int32 [g] (1 .. k-1), valid bool [g] and
crowd bool [g]; crowds and boxes without area are no targets, rows that are not valid change nothing.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float, Int, UInt8

from jseg.ops import boxes as box_ops
from jseg.ops import keypoints as keypoint_ops
from jseg.ops import masks as mask_ops
from jseg.ops import matching
from jseg.typing import Array, Key

Losses = dict[str, tuple[jax.Array, jax.Array]]  # name -> (sum, count), each float32 []


class Rules(NamedTuple):
  """What is a positive, how many are drawn, and how they count; the defaults are Detectron's."""

  rpn_high: float = 0.7  # IoU from which an anchor is positive; the best of each object always is
  rpn_low: float = 0.3  # IoU below which it is negative
  rpn_inside: bool = True  # only anchors inside the image count
  rpn_count: int = 256  # anchors drawn of an image ...
  rpn_fraction: float = 0.5  # ... and the largest share of positives
  rpn_nominal: bool = True  # divide by rpn_count, even where there are not as many anchors to draw
  rpn_beta: float = 1 / 9  # where smooth L1 turns from square to line
  box_high: float = 0.5  # IoU from which a region is positive; negative below
  box_count: int = 512  # regions drawn of an image; 64 beside C4
  box_fraction: float = 0.25
  box_beta: float = 1.0
  box_weights: tuple[float, ...] = (10.0, 10.0, 5.0, 5.0)  # factors of the box deltas
  crowd_overlap: float = 0.7  # a region of which a larger share lies in a crowd is neither
  binary_masks: bool = True  # masks to learn are 0 or 1, as of rasterised polygons; or shares of each cell


RULES: Mapping[str, Rules] = {
  'detectron': Rules(),
  'torchvision': Rules(rpn_inside=False, rpn_nominal=False, box_beta=1 / 9, binary_masks=False),
}


class Samples(NamedTuple):
  """The regions of an image that the heads learn from, positives first, [n] being Rules.box_count."""

  boxes: Float[Array, 'n 4']
  classes: Int[Array, 'n']  # 0: background
  targets: Float[Array, 'n 4']  # deltas to the object's box
  objects: Int[Array, 'n']  # which object; 0 where none
  valid: Bool[Array, 'n']
  positive: Bool[Array, 'n']

  def positives(self, rules: Rules) -> 'Samples':
    """The first rows, all those that may be positive: what masks and keypoints are learned from."""
    return Samples(*(x[: int(rules.box_count * rules.box_fraction)] for x in self))


def rpn_losses(
  objectness: Float[Array, 'a'],
  deltas: Float[Array, 'a 4'],
  anchors: Float[Array, 'a 4'],
  boxes: Float[Array, 'g 4'],
  object_valid: Bool[Array, 'g'],
  crowd: Bool[Array, 'g'],
  size: Int[Array, '2'],
  key: Key,
  rules: Rules,
) -> Losses:
  """Losses of the region proposals, over a draw of the anchors.

  Args:
    objectness: logits of all levels.
    deltas: of all levels, not weighted.
    anchors: of all levels.
    boxes: of the objects.
    object_valid: rows that hold one.
    crowd: those that stand for many.
    size: (h, w) of the image without padding.
    key: of the draw; another one for every image and step.
    rules: how it is done.

  Returns:
    rpn_class, binary cross-entropy of the drawn; rpn_box, smooth L1 of the positives among them, summed over
    the four deltas. Both counts are the number drawn, or rpn_count.
  """
  anchors, boxes = jnp.asarray(anchors), jnp.asarray(boxes)
  iou = box_ops.iou(boxes, anchors)
  usable = jnp.ones(anchors.shape[0], bool)
  if rules.rpn_inside:
    end = jnp.asarray(size, jnp.float32)[::-1]
    usable = jnp.all(anchors[:, :2] >= 0, axis=-1) & jnp.all(anchors[:, 2:] <= end, axis=-1)
    iou = jnp.where(usable, iou, -1)
  # An object that no anchor meets has no best one: all would be.
  targets = _targets(boxes, object_valid, crowd) & jnp.any(iou > 0, axis=1)
  match = matching.match(iou, targets, high=rules.rpn_high, low=rules.rpn_low, keep_best=True)
  index = jnp.maximum(match, 0)
  picked, valid, positive = matching.sample(
    key,
    usable & (match >= 0),
    usable & (match == -1),
    count=rules.rpn_count,
    fraction=rules.rpn_fraction,
  )
  positive = positive & valid
  entropy = optax.sigmoid_binary_cross_entropy(objectness[picked], positive)
  wanted = box_ops.encode(boxes[index[picked]], anchors[picked], (1.0, 1.0, 1.0, 1.0))
  distance = smooth_l1(deltas[picked] - jnp.where(positive[:, None], wanted, 0), rules.rpn_beta).sum(-1)
  count = jnp.float32(rules.rpn_count) if rules.rpn_nominal else jnp.sum(valid, dtype=jnp.float32)
  return {
    'rpn_class': (jnp.where(valid, entropy, 0).sum(), count),
    'rpn_box': (jnp.where(positive, distance, 0).sum(), count),
  }


def sample_proposals(
  proposals: Float[Array, 'r 4'],
  proposal_valid: Bool[Array, 'r'],
  boxes: Float[Array, 'g 4'],
  classes: Int[Array, 'g'],
  object_valid: Bool[Array, 'g'],
  crowd: Bool[Array, 'g'],
  key: Key,
  rules: Rules,
) -> Samples:
  """A draw of the proposals and the objects' own boxes, with what each should become; without gradients.

  Args:
    proposals: regions.
    proposal_valid: rows that hold one.
    boxes: of the objects.
    classes: of the objects.
    object_valid: rows that hold one.
    crowd: those that stand for many: regions in them are neither positive nor negative.
    key: of the draw; another one for every image and step.
    rules: how it is done.
  """
  boxes, classes = jnp.asarray(boxes), jnp.asarray(classes)
  targets = _targets(boxes, object_valid, crowd)
  in_crowd = jnp.any(
    (box_ops.overlap(proposals, boxes) > rules.crowd_overlap) & crowd & object_valid, axis=-1
  )
  regions = jax.lax.stop_gradient(jnp.concatenate([proposals, boxes]))
  usable = jnp.concatenate([proposal_valid & ~in_crowd, targets])
  match = matching.match(
    box_ops.iou(boxes, regions), targets, high=rules.box_high, low=rules.box_high, keep_best=False
  )
  picked, valid, positive = matching.sample(
    key, usable & (match >= 0), usable & (match == -1), count=rules.box_count, fraction=rules.box_fraction
  )
  positive = positive & valid
  objects = jnp.where(positive, match[picked], 0)
  regions = regions[picked]
  wanted = box_ops.encode(boxes[objects], regions, rules.box_weights)
  return Samples(
    boxes=regions,
    classes=jnp.where(positive, classes[objects], 0),
    targets=jnp.where(positive[:, None], wanted, 0),
    objects=objects,
    valid=valid,
    positive=positive,
  )


def box_losses(
  logits: Float[Array, 'n k'], deltas: Float[Array, 'n k 4'], samples: Samples, rules: Rules
) -> Losses:
  """Losses of the box head: class, cross-entropy; box, smooth L1 of the positives' deltas to their class.

  Both counts are the number of samples, positive or not.
  """
  of_class = jax.nn.one_hot(samples.classes, logits.shape[-1], dtype=bool)
  entropy = jax.nn.logsumexp(logits, axis=-1) - jnp.where(of_class, logits, 0).sum(-1)
  deltas = jnp.where(of_class[:, :, None], deltas, 0).sum(1)
  distance = smooth_l1(deltas - samples.targets, rules.box_beta).sum(-1)
  count = jnp.sum(samples.valid, dtype=jnp.float32)
  return {
    'class': (jnp.where(samples.valid, entropy, 0).sum(), count),
    'box': (jnp.where(samples.positive, distance, 0).sum(), count),
  }


def mask_loss(
  logits: Float[Array, 'n m m k'], samples: Samples, masks: UInt8[Array, 'g h w'], rules: Rules
) -> Losses:
  """mask: binary cross-entropy of the mask of each positive's class, or of the only one; a mean over pixels.

  Args:
    logits: of samples.positives(rules).
    samples: the same ones.
    masks: of the objects, 1 on them and 0 elsewhere, of the image's size.
    rules: how it is done.
  """
  n, size, _, channels = logits.shape
  wanted = jax.lax.stop_gradient(mask_ops.targets(masks, samples.boxes, samples.objects, size=size))
  if rules.binary_masks:
    wanted = (wanted >= 0.5).astype(jnp.float32)
  if channels > 1:
    of_class = jax.nn.one_hot(samples.classes, channels, dtype=bool)
    logits = jnp.where(of_class[:, None, None], logits, 0)
  logits = logits.sum(-1)
  entropy = optax.sigmoid_binary_cross_entropy(logits, wanted).sum((1, 2))
  count = jnp.sum(samples.positive, dtype=jnp.float32) * size * size
  return {'mask': (jnp.where(samples.positive, entropy, 0).sum(), count)}


def keypoint_loss(
  logits: Float[Array, 'n s s p'], samples: Samples, keypoints: Float[Array, 'g p 3']
) -> Losses:
  """keypoint: cross-entropy over the places of the region; a mean over keypoints that are visible in it.

  Args:
    logits: of samples.positives(rules).
    samples: the same ones.
    keypoints: of the objects, (x, y, visibility), the last 0 where there is none.
  """
  n, size, _, p = logits.shape
  place, visible = keypoint_ops.encode(jnp.asarray(keypoints)[samples.objects], samples.boxes, size=size)
  visible = visible & samples.positive[:, None]
  logits = logits.reshape(n, size * size, p)
  here = jnp.arange(size * size)[:, None] == place[:, None]
  entropy = jax.nn.logsumexp(logits, axis=1) - jnp.where(here, logits, 0).sum(1)
  return {'keypoint': (jnp.where(visible, entropy, 0).sum(), jnp.sum(visible, dtype=jnp.float32))}


def _targets(boxes: Array, valid: Array, crowd: Array) -> jax.Array:
  """Objects that may be found: single ones with an area."""
  return valid & ~crowd & (box_ops.areas(boxes) > 0)


def smooth_l1(x: Array, beta: float) -> jax.Array:
  """x**2 / (2 * beta) up to |x| = beta, and a line of slope 1 from there (Girshick 2015, equation 3)."""
  return optax.huber_loss(x, delta=beta) / beta
