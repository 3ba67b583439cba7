"""torchvision's Mask R-CNN and Keypoint R-CNN against ours, part by part and whole (rows of test_goldens).

A part's golden has the weights of that part alone, under the names of the whole network.
"""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jseg.convert import rows, torch_mask_rcnn
from jseg.data import detections
from jseg.models import mask_rcnn, rcnn_heads
from jseg.ops import preprocess, resize
from jseg.tasks import detection_losses

Golden = dict[str, Any]
Maps = dict[str, Any]  # of the golden's outputs and taps, ours, channels last


def _last(x: np.ndarray) -> np.ndarray:
  return np.moveaxis(x, 1, -1)


def _run(module: nn.Module, variables: Any, *args: Any, method: Any = None, **kwargs: Any) -> tuple[Any, Any]:
  """The result, and the outputs of the modules within."""

  def apply(variables, *args):
    return module.apply(
      variables, *args, **kwargs, method=method, capture_intermediates=True, mutable=['intermediates']
    )

  result, state = jax.jit(apply)(variables, *args)
  return result, state['intermediates']


def _part(variables: Any, name: str) -> Any:
  return {'params': variables['params'][name]}


def _backbone(golden: Golden) -> tuple[Any, Maps]:
  arrays = golden_rule.state_dict(golden)
  variables = rows.apply(arrays, torch_mask_rcnn.backbone(arrays))
  (image,) = golden_rule.inputs(golden).values()
  model = mask_rcnn.Model(num_classes=2, strided='3x3')
  levels, inner = _run(model, variables, _last(image), method='features', train=False)
  maps = dict(zip(('0', '1', '2', '3', 'pool'), levels, strict=True))
  stages, _ = inner['encoder']['__call__'][0]
  for i in range(1, 5):
    maps[f'backbone.body.layer{i}'] = stages[i]
  for theirs, ours in (('inner_blocks', 'lateral'), ('layer_blocks', 'output')):
    for i in range(4):
      maps[f'backbone.fpn.{theirs}.{i}'] = inner['pyramid'][f'{ours}{i + 2}']['__call__'][0]
  return variables, maps


def _rpn_head(golden: Golden) -> tuple[Any, Maps]:
  arrays = golden_rule.state_dict(golden)
  variables = rows.apply(arrays, torch_mask_rcnn.proposals(arrays))
  num_anchors = len(arrays['rpn.head.cls_logits.bias'])
  head, maps = rcnn_heads.RegionProposals(num_anchors), {}
  for name, x in golden_rule.inputs(golden).items():
    x = _last(x)
    (objectness, deltas), _ = _run(head, _part(variables, 'rpn_head'), x)
    maps[name.replace('f', 'objectness')] = objectness.reshape(*x.shape[:3], -1)
    maps[name.replace('f', 'deltas')] = deltas.reshape(*x.shape[:3], -1)
  return variables, maps


def _box_head(golden: Golden) -> tuple[Any, Maps]:
  arrays = golden_rule.state_dict(golden)
  variables = rows.apply(arrays, torch_mask_rcnn.box())
  (regions,) = golden_rule.inputs(golden).values()
  x, _ = _run(rcnn_heads.BoxHead(), _part(variables, 'box_head'), _last(regions))
  classes = len(arrays['roi_heads.box_predictor.cls_score.bias'])
  (logits, deltas), _ = _run(rcnn_heads.BoxScores(classes), _part(variables, 'box_scores'), x)
  n = len(regions)
  return variables, {
    'box_features': x.reshape(n, -1), 'class_logits': logits, 'box_regression': deltas.reshape(n, -1),
  }  # fmt: skip


def _mask_head(golden: Golden) -> tuple[Any, Maps]:
  arrays = golden_rule.state_dict(golden)
  variables = rows.apply(arrays, torch_mask_rcnn.mask(arrays))
  (regions,) = golden_rule.inputs(golden).values()
  head = rcnn_heads.MaskHead(len(arrays['roi_heads.mask_predictor.mask_fcn_logits.bias']))
  logits, inner = _run(head, _part(variables, 'mask_head'), _last(regions))
  return variables, {'mask_features': nn.relu(inner['conv4']['__call__'][0]), 'mask_logits': logits}


def _keypoint_head(golden: Golden) -> tuple[Any, Maps]:
  arrays = golden_rule.state_dict(golden)
  variables = rows.apply(arrays, torch_mask_rcnn.keypoint())
  (regions,) = golden_rule.inputs(golden).values()
  head = rcnn_heads.KeypointHead(len(arrays['roi_heads.keypoint_predictor.kps_score_lowres.bias']))
  logits, inner = _run(head, _part(variables, 'keypoint_head'), _last(regions))
  return variables, {'keypoint_features': nn.relu(inner['conv8']['__call__'][0]), 'keypoint_logits': logits}


_PARTS: dict[str, Callable[[Golden], tuple[Any, Maps]]] = {
  'maskrcnn_backbone_fpn': _backbone,
  'maskrcnn_rpn_head': _rpn_head,
  'maskrcnn_box_head': _box_head,
  'maskrcnn_mask_head': _mask_head,
  'keypointrcnn_head': _keypoint_head,
}


def check_part(stem: str, path: pathlib.Path) -> list[dict[str, Any]]:
  """What golden_rule.compare says of every output and tap of a part."""
  golden = golden_rule.load(path)
  variables, maps = _PARTS[stem](golden)
  assert sum(a.size for a in jax.tree.leaves(variables['params'])) == golden['trainable_params']
  recorded = [*golden['output'], *golden['taps']]
  return [golden_rule.compare(golden, maps[name], output=name, layout='NHWC') for name in recorded]


def _size(size: tuple[int, int], short: int, long: int) -> tuple[int, int]:
  """torchvision's: the short side becomes `short` unless the long one then exceeds `long`; rounded down."""
  scale = min(short / min(size), long / max(size))
  return int(size[0] * scale), int(size[1] * scale)


def _transformed(images: list[np.ndarray], short: int, long: int) -> tuple[jax.Array, np.ndarray]:
  """Images [3 h w] in [0, 1] as one batch for a network, and the size of each in it."""
  sizes = [_size(image.shape[1:], short, long) for image in images]
  height, width = (-(-max(sides) // 32) * 32 for sides in zip(*sizes, strict=True))
  batch = []
  for image, (h, w) in zip(images, sizes, strict=True):
    x = preprocess.RULES['imagenet'](jnp.moveaxis(image, 0, -1)[None] * 255)
    x = resize.bilinear(x, (h, w))
    batch.append(jnp.pad(x, ((0, 0), (0, height - h), (0, width - w), (0, 0))))
  return jnp.concatenate(batch), np.asarray(sizes, np.int32)


def check_transform(case: Any) -> None:
  options, arrays = case.options, case.arrays
  short, long = options['min_size'], options['max_size']
  batch, sizes = _transformed([arrays['im0'], arrays['im1']], short, long)
  assert sizes.tolist() == options['image_sizes']
  assert list(np.moveaxis(batch, -1, 1).shape) == options['batched_shape']
  np.testing.assert_allclose(
    np.moveaxis(batch, -1, 1)[:, :, ::3, ::3], arrays['batched_sub3'], rtol=1e-5, atol=5e-5
  )
  for i in (0, 1):
    before = np.asarray(arrays[f'im{i}'].shape[1:])
    scale = (sizes[i] / before)[[1, 0, 1, 0]]
    np.testing.assert_allclose(arrays[f'box_in{i}'] * scale, arrays[f'box_out{i}'], rtol=1e-6)
  masks = resize.nearest(arrays['mask_in0'][..., None], sizes[0].tolist())[..., 0]
  np.testing.assert_array_equal(masks, arrays['mask_out0'])


def check_losses(case: Any) -> None:
  {'fastrcnn': _check_box_losses, 'mask': _check_mask_loss, 'keypoint': _check_keypoint_loss}[case.name](case)


def _samples(n: int, **given: Any) -> detection_losses.Samples:
  """n positives of class 1; `given` replaces fields."""
  blank = {
    'boxes': jnp.zeros((n, 4)), 'classes': jnp.ones(n, int), 'targets': jnp.zeros((n, 4)),
    'objects': jnp.arange(n), 'valid': jnp.ones(n, bool), 'positive': jnp.ones(n, bool),
  }  # fmt: skip
  return detection_losses.Samples(**{**blank, **given})


def _check_box_losses(case: Any) -> None:
  arrays, rules = case.arrays, detection_losses.RULES['torchvision']
  n, k = arrays['class_logits'].shape
  labels = arrays['labels']
  samples = _samples(n, classes=labels, targets=arrays['targets'], positive=labels > 0)

  def loss(name, logits, deltas):
    total, count = detection_losses.box_losses(logits, deltas, samples, rules)[name]
    return total / count

  given = arrays['class_logits'], arrays['box_regression'].reshape(n, k, 4)
  for name, theirs, argnum, gradient in (('class', 'loss_cls', 0, 'dlogits'), ('box', 'loss_box', 1, 'dreg')):
    value, found = jax.jit(jax.value_and_grad(functools.partial(loss, name), argnum))(*given)
    np.testing.assert_allclose(value, arrays[theirs], rtol=1e-5)
    np.testing.assert_allclose(found.reshape(n, -1), arrays[gradient], rtol=1e-4, atol=1e-7)


def _check_mask_loss(case: Any) -> None:
  arrays, rules = case.arrays, detection_losses.RULES['torchvision']
  logits, objects = _last(arrays['mask_logits']), arrays['matched']
  samples = _samples(
    len(logits), boxes=arrays['boxes'], objects=objects, classes=arrays['gt_labels'][objects]
  )

  def loss(logits):
    total, count = detection_losses.mask_loss(logits, samples, arrays['gt_masks'], rules)['mask']
    return total / count

  value, gradient = jax.jit(jax.value_and_grad(loss))(logits)
  np.testing.assert_allclose(value, arrays['loss'], rtol=1e-5)
  np.testing.assert_allclose(gradient.sum((1, 2)), arrays['dlogits_sum'], rtol=1e-4, atol=1e-7)


def _check_keypoint_loss(case: Any) -> None:
  arrays, options = case.arrays, case.options
  logits = _last(golden_rule.normal(options['logits_key'], options['logits_shape']))
  samples = _samples(len(logits), boxes=arrays['boxes'])

  def loss(logits):
    total, count = detection_losses.keypoint_loss(logits, samples, arrays['gt'])['keypoint']
    return total / count

  value, gradient = jax.jit(jax.value_and_grad(loss))(logits)
  np.testing.assert_allclose(value, arrays['loss'], rtol=1e-5)
  np.testing.assert_allclose(np.abs(gradient).max((1, 2)), arrays['grad_absmax'], rtol=1e-4, atol=1e-8)


def _stages(model: mask_rcnn.Model, image: Any, sizes: Any, before: int, after: int, **options: Any) -> Maps:
  """What `detect` gives and, on the way to it, the regions and their class logits."""
  maps = model.features(image, train=False)
  regions, _, valid = model.propose(
    *model.rpn(maps), image.shape[1:3], sizes, before=before, after=after, min_size=1e-3
  )
  found = model.detect(image, sizes, before=before, after=after, min_size=1e-3, **options)
  logits, _ = model.box(maps, regions)
  return {**found, 'proposals': regions, 'proposals_valid': valid, 'class_logits': logits}


@functools.cache
def _whole(path: pathlib.Path) -> tuple[Golden, Maps]:
  """A whole network's golden, and what ours finds in its image, boxes in the pixels of that."""
  golden = golden_rule.load(path)
  args, arrays = golden['source']['args'], golden_rule.state_dict(golden)
  variables = torch_mask_rcnn.mask_rcnn(arrays)
  assert sum(a.size for a in jax.tree.leaves(variables['params'])) == golden['trainable_params']
  of_keypoints = 'num_keypoints' in args
  model = mask_rcnn.Model(
    num_classes=args['num_classes'],
    strided='3x3',
    anchor_rule='torchvision',
    masks=not of_keypoints,
    keypoints=args['num_keypoints'] if of_keypoints else 0,
  )
  (image,) = golden_rule.inputs(golden).values()
  image = 1 / (1 + np.exp(-image.astype(np.float64))).astype(np.float32)
  batch, sizes = _transformed([image], args['min_size'], args['max_size'])
  found = jax.jit(
    lambda variables, batch, sizes: model.apply(
      variables,
      batch,
      sizes,
      method=functools.partial(
        _stages,
        before=args['rpn_pre_nms_top_n_test'],
        after=args['rpn_post_nms_top_n_test'],
        score_threshold=args['box_score_thresh'],
        count=args['box_detections_per_img'],
      ),
    )
  )(variables, batch, sizes)
  found = {name: np.array(value[0]) for name, value in found.items()}
  assert found['valid'].all() and found['proposals_valid'].all(), 'as many as torchvision found'
  found['size'] = sizes[0]
  back = (np.asarray(image.shape[1:]) / sizes[0])[::-1].astype(np.float32)
  found['boxes'] = found['boxes'] * np.tile(back, 2)
  if of_keypoints:
    found['keypoints'][..., :2] *= back
  return golden, found


def check_whole(path: pathlib.Path) -> list[dict[str, Any]]:
  """What golden_rule.compare says of the outputs of a whole network."""
  golden, found = _whole(path)
  with np.load(path.parent / 'maskrcnn' / path.name.replace('rcnn_e2e.json', '_e2e.npz')) as file:
    found = _in_order(found, {name.removeprefix('det/'): file[name] for name in file.files})
  if 'keypoints' in found:
    found['keypoints'] = _visible(found['keypoints'])
  return [golden_rule.compare(golden, found[name], output=name) for name in golden['output']]


def _in_order(found: Maps, theirs: dict[str, np.ndarray]) -> Maps:
  """Ours in the order of theirs: scores of random weights are so close that rounding may swap them."""
  assert (np.diff(found['scores']) <= 0).all()
  ordered = dict(found)
  for of, names in (
    ('proposals', ('proposals', 'class_logits')),
    ('boxes', ('boxes', 'scores', 'classes', 'masks', 'keypoints')),
  ):
    distance = np.abs(theirs[of][:, None] - found[of]).max(-1)
    if of == 'boxes':
      distance += np.where(theirs['labels'][:, None] == found['classes'], 0, np.inf)
    order = distance.argmin(1)
    assert sorted(order) == list(range(len(order))), f'{of} are others than theirs'
    ordered |= {name: found[name][order] for name in names if name in found}
  return ordered


def _visible(keypoints: np.ndarray) -> np.ndarray:
  """(x, y, score) -> (x, y, 1), as torchvision has them."""
  return np.concatenate([keypoints[..., :2], np.ones_like(keypoints[..., 2:])], axis=-1)


def _check_detections(case: Any, stem: str) -> Maps:
  """Boxes, classes and scores in full; returns what ours found."""
  golden, found = _whole(case.path.parent.parent / f'{stem}.json')
  arrays = case.arrays
  found = _in_order(found, arrays)
  for name in ('boxes', 'proposals', 'class_logits'):
    np.testing.assert_allclose(found[name], arrays[name], rtol=1e-4, atol=1e-3, err_msg=name)
  np.testing.assert_allclose(found['scores'], arrays['scores'], rtol=1e-4)
  np.testing.assert_array_equal(found['classes'], arrays['labels'])
  assert arrays['image_size'].tolist() == found['size'].tolist()
  return {**found, 'image_shape': golden['input']['image']['shape'][1:]}


def check_mask_whole(case: Any) -> None:
  found = _check_detections(case, 'maskrcnn_e2e')
  maps, boxes = np.asarray(found['masks']), np.asarray(found['boxes'])
  pasted = np.stack(
    [detections.stretched(*pair, tuple(found['image_shape'])) for pair in zip(maps, boxes, strict=True)]
  )
  np.testing.assert_allclose(pasted.sum((1, 2)), case.arrays['mask_sum'], rtol=1e-4)
  np.testing.assert_allclose((pasted >= 0.5).sum((1, 2)), case.arrays['mask_pixels'], atol=2)
  np.testing.assert_allclose(pasted[:, ::2, ::2], case.arrays['masks_half'], atol=2e-3)


def check_keypoint_whole(case: Any) -> None:
  found = _check_detections(case, 'keypointrcnn_e2e')
  np.testing.assert_allclose(_visible(found['keypoints']), case.arrays['keypoints'], rtol=1e-4, atol=1e-3)
  np.testing.assert_allclose(
    found['keypoints'][..., 2], case.arrays['keypoints_scores'], rtol=1e-4, atol=1e-4
  )


CHECKS: dict[str, Callable[[pathlib.Path], list[dict[str, Any]]]] = {
  **{stem: functools.partial(check_part, stem) for stem in _PARTS},
  'maskrcnn_e2e': check_whole,
  'keypointrcnn_e2e': check_whole,
}

STAGES: dict[str, Callable[[Any], None]] = {
  'transform': check_transform,
  'losses': check_losses,
  'mask_e2e': check_mask_whole,
  'keypoint_e2e': check_keypoint_whole,
}
