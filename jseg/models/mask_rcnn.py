"""Mask R-CNN: a ResNet, with or without a feature pyramid, region proposals, and heads on regions of maps.

Source: He et al., "Mask R-CNN" (arXiv:1703.06870), section 3 and figure 4, in the form of the authors' code,
facebookresearch/Detectron: bottlenecks stride in their first 1x1, normalisation is a constant, stem and first
stage do not learn. torchvision's weights are strided='3x3', anchor_rule='torchvision' and, of its COCO
weights, bn_eps=0.0.

Beside the pyramid (FPN) boxes have two fully connected layers on 7x7 regions, masks four convolutions on
14x14 ones. Beside C4, the map of stride 16, both have the ResNet's last stage on the regions: on 7x7 ones
with stride 1 (paper; Detectron: region=14 with stride 2), masks from its 7x7 map.

Maps are float [b h w c]; boxes are those of ops.boxes; class 0 is the background. Where a batch holds images
of several sizes, pixels beyond an image's own must be zeros in what `features` takes.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float, Int

from jseg.models import fpn, rcnn_heads
from jseg.models.encoders import resnet
from jseg.ops import anchors, keypoints, proposals, roi_align
from jseg.typing import Array, Dtype

_BACKBONES = ('fpn', 'c4')
_ROIS = ('align', 'pool')
_STRIDE = 16  # of C4
_BOX, _MASK = 7, 14  # sides of the regions that the heads beside the pyramid take


class Model(nn.Module):
  """Mask R-CNN, Faster R-CNN (masks=False) and Keypoint R-CNN (keypoints=17)."""

  num_classes: int  # with the background, class 0
  depth: int = 50  # of the ResNet
  width: int = 64  # of the ResNet; pyramid and masks have 4, keypoints 8, boxes 16 times as many features
  backbone: str = 'fpn'  # fpn | c4
  norm: str = 'fixed'  # of the ResNet, as blocks.Norm
  bn_eps: float = 1e-5  # of the ResNet
  strided: str = '1x1'  # as resnet.Encoder
  freeze_at: int = 2  # as resnet.Encoder: neither the stem nor the first stage learns
  masks: bool = True  # the mask head
  keypoints: int = 0  # that a thing has; 0: no keypoint head
  class_agnostic: bool = False  # one mask in place of one for each class (paper, table 2b)
  roi: str = 'align'  # align | pool: Fast R-CNN's, of C4 only (paper, table 2c)
  aligned: bool = False  # regions half a pixel to the upper left, where pixel centres are (Detectron2's)
  region: int = 7  # side of C4's regions: 7, stage 4 with stride 1 | 14, with stride 2
  anchor_sizes: tuple[float, ...] = (32, 64, 128, 256, 512)  # pixels; one for each level, or all at C4
  anchor_ratios: tuple[float, ...] = (0.5, 1, 2)  # height over width
  anchor_rule: str = 'detectron'  # how their sides are rounded: detectron | torchvision
  remat: bool = False  # as resnet.Encoder
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  def setup(self) -> None:
    """The modules.

    Raises:
      ValueError: an option is unknown, or goes with another one.
    """
    self._check()
    c4, width = self.backbone == 'c4', self.width
    # The stride of stage 4, which C4's regions alone see, is 1 with output_stride=16.
    self.encoder = resnet.Encoder(
      self.depth, width, self.norm, self.bn_eps, strided=self.strided, freeze_at=self.freeze_at,
      output_stride=16 if c4 and self.region == _BOX else 32, dilate=False, remat=self.remat,
      dtype=self.dtype, axis_name=self.axis_name,
    )  # fmt: skip
    per_place = len(self.anchor_ratios) * (len(self.anchor_sizes) if c4 else 1)
    self.rpn_head = rcnn_heads.RegionProposals(per_place, self.dtype)
    self.box_scores = rcnn_heads.BoxScores(self.num_classes, self.dtype)
    if not c4:
      self.pyramid = fpn.Pyramid(4 * width, self.dtype)
      self.box_head = rcnn_heads.BoxHead(16 * width, self.dtype)
    if self.masks:
      channels = 1 if self.class_agnostic else self.num_classes
      self.mask_head = rcnn_heads.MaskHead(channels, 4 * width, 0 if c4 else 4, self.dtype)
    if self.keypoints:
      self.keypoint_head = rcnn_heads.KeypointHead(self.keypoints, 8 * width, dtype=self.dtype)

  def _check(self) -> None:
    """Raises the ValueErrors of setup."""
    for word, value, known in (
      ('backbone', self.backbone, _BACKBONES), ('roi', self.roi, _ROIS),
      ('region', self.region, (_BOX, _MASK)),
      ('anchor_rule', self.anchor_rule, anchors.RULES),
    ):  # fmt: skip
      if value not in known:
        raise ValueError(f"Mask R-CNN's {word} {value} is unknown; there are: {', '.join(map(str, known))}")
    if self.backbone == 'fpn':
      if self.roi == 'pool' or self.region != _BOX:
        raise ValueError("roi='pool' and region are options of backbone='c4'; leave them at their defaults")
      if len(self.anchor_sizes) != 5:
        raise ValueError(f'the pyramid has 5 levels, anchor_sizes {self.anchor_sizes} are not as many')
    elif self.norm in ('bn', 'batch'):
      raise ValueError(
        f"norm '{self.norm}' would take statistics over regions, where C4 has its last stage; "
        'there are: fixed, frozen, gn, none'
      )

  def __call__(
    self, image: Float[Array, 'b h w c'], boxes: Float[Array, 'b n 4'] | None = None, *, train: bool
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Everything once, to make or count the parameters: the heads run on boxes that are given.

    Args:
      image: as preprocessed.
      boxes: where the heads look; None: at the whole image, one box.
      train: as in blocks.Norm.

    Returns:
      Class logits [b*n k], and by name what the other methods return: p2 .. p6 or c4; objectness [b a] and
      deltas [b a 4] of all levels; box_deltas [b n k 4], masks and keypoints.
    """
    b, h, w = image.shape[:3]
    maps = self.features(image, train=train)
    if boxes is None:
      boxes = jnp.broadcast_to(jnp.asarray([0, 0, w, h], jnp.float32), (b, 1, 4))
    names = ('c4',) if self.backbone == 'c4' else ('p2', 'p3', 'p4', 'p5', 'p6')
    out = dict(zip(names, maps, strict=True))
    objectness, deltas = self.rpn(maps)
    out |= {'objectness': jnp.concatenate(objectness, 1), 'deltas': jnp.concatenate(deltas, 1)}
    logits, out['box_deltas'] = self.box(maps, boxes)
    if self.masks:
      out['masks'] = self.mask(maps, boxes)
    if self.keypoints:
      out['keypoints'] = self.keypoint(maps, boxes)
    return logits.reshape(-1, self.num_classes), out

  def features(self, image: Float[Array, 'b h w c'], *, train: bool) -> tuple[jax.Array, ...]:
    """The maps [b h w c] that all heads look at: P2 .. P6, strides 4 .. 64, or C4 alone, stride 16.

    Args:
      image: as preprocessed, any size; a multiple of 32 keeps every level's stride exact.
      train: as in blocks.Norm.
    """
    if self.backbone == 'c4':
      return (self.encoder(image, train=train, last=3)[0][-1],)
    maps, _ = self.encoder(image, train=train)
    return self.pyramid(maps[1:])

  def rpn(self, features: Sequence[Array]) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    """Objectness logits [b a] and box deltas [b a 4] of every level, float32, in the order of `anchors`."""
    objectness, deltas = zip(*(self.rpn_head(x) for x in features), strict=True)
    return tuple(objectness), tuple(deltas)

  def anchors(self, size: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """The anchors float32 [a 4] of every level for images of `size` (h, w), padding included."""
    grids, grid = [], size
    for stride in (2, 4, 8, 16, 32, 64):
      grid = tuple(-(-side // 2) for side in grid)
      if stride == _STRIDE if self.backbone == 'c4' else stride >= 4:
        grids.append(grid)
    # Whole pixels, as torchvision has them: of sizes that the strides do not divide, too.
    strides = [tuple(side // n for side, n in zip(size, grid, strict=True)) for grid in grids]
    c4 = self.backbone == 'c4'
    sizes = [self.anchor_sizes] if c4 else [(side,) for side in self.anchor_sizes]
    return anchors.pyramid(grids, strides, sizes, self.anchor_ratios, rule=self.anchor_rule)

  def box(
    self, features: Sequence[Array], boxes: Float[Array, 'b n 4']
  ) -> tuple[Float[Array, 'b n k'], Float[Array, 'b n k 4']]:
    """Class logits and the box deltas of every class, float32, of regions of the image in pixels."""
    if self.backbone == 'c4':
      x = self._stage4(features, boxes).mean((1, 2), keepdims=True)
    else:
      x = self.box_head(self._regions(features, boxes, _BOX))
    logits, deltas = self.box_scores(x)
    b, n = boxes.shape[:2]
    return logits.reshape(b, n, -1), deltas.reshape(b, n, -1, 4)

  def mask(self, features: Sequence[Array], boxes: Float[Array, 'b n 4']) -> Float[Array, 'b n m m k']:
    """Mask logits float32, m = 28 (14 beside C4); k is 1 with class_agnostic."""
    if self.backbone == 'c4':
      x = self._stage4(features, boxes)
    else:
      x = self._regions(features, boxes, _MASK)
    x = self.mask_head(x)
    return x.reshape(*boxes.shape[:2], *x.shape[1:])

  def keypoint(self, features: Sequence[Array], boxes: Float[Array, 'b n 4']) -> Float[Array, 'b n 56 56 p']:
    """Logits float32 of each keypoint over 56x56 places of each box."""
    x = self.keypoint_head(self._regions(features, boxes, _MASK))
    return x.reshape(*boxes.shape[:2], *x.shape[1:])

  def _stage4(self, features: Sequence[Array], boxes: Array) -> jax.Array:
    """C4's regions after the ResNet's last stage, [b*n 7 7 c]."""
    x = self._regions(features, boxes, self.region)
    return self.encoder(x, train=False, first=3)[0][-1]

  def _regions(self, features: Sequence[Array], boxes: Array, side: int) -> jax.Array:
    """The maps under the boxes, [b*n side side c]."""
    if self.backbone == 'c4':
      options = {'output': side, 'scale': 1 / _STRIDE}
      cut = roi_align.roi_pool
      if self.roi == 'align':
        cut = functools.partial(roi_align.roi_align, sampling=2, aligned=self.aligned)
      x = jax.vmap(functools.partial(cut, **options))(features[0], boxes)
    else:
      cut = functools.partial(
        roi_align.multilevel,
        output=side,
        scales=(1 / 4, 1 / 8, 1 / 16, 1 / 32),
        sampling=2,
        aligned=self.aligned,
      )
      x = jax.vmap(cut)(tuple(features[:4]), boxes)
    return x.reshape(-1, *x.shape[2:])

  @nn.nowrap
  def propose(
    self,
    objectness: Sequence[Array],
    deltas: Sequence[Array],
    size: tuple[int, int],
    sizes: Int[Array, 'b 2'],
    *,
    before: int,
    after: int,
    threshold: float = 0.7,
    min_size: float = 1e-3,
  ) -> tuple[Float[Array, 'b after 4'], Float[Array, 'b after'], Array]:
    """The regions that the heads look at, of each image by itself, without gradients.

    Detectron takes `after` in training over all images of a device, two in its recipes; 1000 an image is
    the nearest to that.

    Args:
      objectness: as `rpn` returns it.
      deltas: as `rpn` returns them.
      size: (h, w) of the batch's images, padding included.
      sizes: (h, w) of each image in it.
      before: the best of each level, before suppression: 2000 in training, 1000 at test (C4: 12000, 6000).
      after: the best of all levels, after suppression: 2000 in training, 1000 at test.
      threshold: IoU at which the better one suppresses the other, within a level.
      min_size: pixels; regions with a shorter side are dropped.

    Returns:
      (boxes, scores in [0, 1], valid bool [b after]), by falling score.
    """
    levels = self.anchors(size)
    of_one = functools.partial(
      proposals.proposals, before=before, after=after, threshold=threshold, min_size=min_size
    )
    objectness, deltas = jax.lax.stop_gradient((tuple(objectness), tuple(deltas)))
    return jax.vmap(lambda o, d, s: of_one(o, d, levels, s))(objectness, deltas, sizes)

  def detect(
    self,
    image: Float[Array, 'b h w c'],
    sizes: Int[Array, 'b 2'],
    *,
    before: int = 1000,
    after: int = 1000,
    rpn_threshold: float = 0.7,
    min_size: float = 1e-3,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    count: int = 100,
    weights: tuple[float, ...] = (10.0, 10.0, 5.0, 5.0),
  ) -> dict[str, jax.Array]:
    """The things in images.

    Args:
      image: as preprocessed.
      sizes: (h, w) of each image, without the padding around it.
      before: as `propose`, which torchvision's rpn_pre_nms_top_n_test is.
      after: as `propose`.
      rpn_threshold: as `propose`.
      min_size: as `propose`.
      score_threshold: detections have a higher probability.
      nms_threshold: IoU over which a detection suppresses another one of its class.
      count: detections of an image, at most and padded to.
      weights: of the box deltas, see ops.boxes.encode.

    Returns:
      By falling score, `count` an image: boxes [b n 4] in pixels of the image given, scores [b n], classes
      int32 [b n], valid bool [b n]; masks float32 [b n m m], probabilities over the box; keypoints [b n p 3],
      each (x, y, score), the score being a logit. Where not valid, all are without meaning.
    """
    maps = self.features(image, train=False)
    objectness, deltas = self.rpn(maps)
    boxes, _, valid = self.propose(
      objectness, deltas, image.shape[1:3], sizes, before=before, after=after, threshold=rpn_threshold,
      min_size=min_size,
    )  # fmt: skip
    logits, deltas = self.box(maps, boxes)
    of_one = functools.partial(
      proposals.detections, score_threshold=score_threshold, nms_threshold=nms_threshold, count=count,
      weights=weights,
    )  # fmt: skip
    found = jax.vmap(of_one)(jax.nn.softmax(logits), deltas, boxes, valid, sizes)
    if self.masks:
      found['masks'] = jax.nn.sigmoid(self.of_class(self.mask(maps, found['boxes']), found['classes']))
    if self.keypoints:
      place, score = jax.vmap(keypoints.decode)(self.keypoint(maps, found['boxes']), found['boxes'])
      found['keypoints'] = jnp.concatenate([place, score[..., None]], axis=-1)
    return found

  @nn.nowrap
  def of_class(self, masks: Float[Array, 'b n m m k'], classes: Int[Array, 'b n']) -> Float[Array, 'b n m m']:
    """The mask of each region's class; the only one where there is but one."""
    if masks.shape[-1] == 1:
      return masks[..., 0]
    return jnp.take_along_axis(masks, classes[:, :, None, None, None], axis=-1)[..., 0]
