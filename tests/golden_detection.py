"""Recorded operators and stages of torchvision's detectors against ours, case by case (test_goldens)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jseg.data import detections
from jseg.ops import anchors, keypoints, masks, matching, nms, proposals, roi_align
from jseg.ops import boxes as box_ops


def near(got, want, *, tolerance: float = 1e-5) -> None:
  """Equal shapes, and values within the tolerance relative to the largest."""
  scale = max(1.0, float(np.abs(want).max(initial=0)))
  np.testing.assert_allclose(np.asarray(got), want, rtol=tolerance, atol=tolerance * scale)


def check_boxes(case) -> None:
  kind, options = case.name.rsplit('_', 1)[0], case.options
  if kind in ('nms', 'batched_nms'):
    boxes, scores = case['boxes'], case['scores']
    keep = nms.nms(
      boxes, scores, np.ones(len(boxes), bool), options['iou_threshold'], groups=case.arrays.get('idxs')
    )
    order = np.argsort(-scores, kind='stable')
    np.testing.assert_array_equal(order[np.asarray(keep)[order]], case['keep'])
  elif case.name == 'iou':
    near(box_ops.iou(case['a'], case['b']), case['y'])
  elif case.name == 'clip':
    near(box_ops.clip(case['x'], tuple(options['size_hw'])), case['y'])
  elif case.name == 'remove_small':
    np.testing.assert_array_equal(np.flatnonzero(box_ops.large(case['x'], options['min_size'])), case['keep'])
  elif kind == 'decode':
    near(box_ops.decode(case['deltas'], case['anchors'], options['weights']), case['y'])
  else:
    assert kind == 'encode', kind
    near(box_ops.encode(case['gt'], case['anchors'], options['weights']), case['y'])


def check_roi_align(case) -> None:
  options, rois, x = case.options, case['rois'], case.map('x')
  align = jax.vmap(
    lambda map, box: roi_align.roi_align(
      map,
      box[None],
      output=tuple(options['output_size']),
      scale=options['spatial_scale'],
      sampling=options['sampling_ratio'],
      aligned=options['aligned'],
    )[0]
  )
  near(jax.jit(align)(x[rois[:, 0].astype(int)], jnp.asarray(rois[:, 1:])), case.map('y'))


def check_anchors(case) -> None:
  options = case.options
  for i, sizes in enumerate(options['sizes']):
    base = [anchors.base(size, options['aspect_ratios'][i]) for size in sizes]
    near(np.stack(base, axis=1).reshape(-1, 4), case[f'cell{i}'])
  grids = [tuple(grid) for grid in options['feature_hw']]
  strides = [tuple(n // m for n, m in zip(options['image_hw'], grid, strict=True)) for grid in grids]
  levels = [
    anchors.level(*level)
    for level in zip(grids, strides, options['sizes'], options['aspect_ratios'], strict=True)
  ]
  near(np.concatenate(levels), case['anchors'])


def check_matcher(case) -> None:
  gt, boxes = case['gt'], case['anchors']
  iou, valid = box_ops.iou(gt, boxes), np.ones(len(gt), bool)
  if case.name == 'rpn_targets':
    found = np.asarray(matching.match(iou, valid, high=0.7, low=0.3, keep_best=True))
    labels = np.select([found >= 0, found == matching.BETWEEN], [1, -1], 0)
    np.testing.assert_array_equal(labels, case['labels'])
    own = gt[np.maximum(found, 0)]
    np.testing.assert_array_equal(own, case['matched_gt'])
    near(box_ops.encode(own, boxes, (1, 1, 1, 1)), case['deltas'])
    return
  near(iou, case['iou'])
  options = dict(case.options)
  options['keep_best'] = options.pop('allow_low_quality')
  np.testing.assert_array_equal(matching.match(iou, valid, **options), case['match'])


def check_masks(case) -> None:
  if case.name == 'project':
    size = case.options['M']
    near(masks.targets(case['gt_masks'], case['boxes'], case['matched'], size=size), case['y'])
    return
  rows = np.arange(len(case['labels']))
  probs = jax.nn.sigmoid(jnp.asarray(case['logits']))[rows, case['labels']]
  near(probs, case['prob'][:, 0])
  size = tuple(case.options['image_hw'])
  for small, box, want in zip(np.asarray(probs), case['boxes'], case['pasted'][:, 0], strict=True):
    near(detections.stretched(small, box, size), want)


def check_keypoints(case) -> None:
  if case.name == 'encode':
    index, valid = keypoints.encode(case['keypoints'], case['boxes'], case.options['size'])
    np.testing.assert_array_equal(index, case['index'])
    np.testing.assert_array_equal(valid, case['valid'] > 0)
    return
  place, score = keypoints.decode(case.map('heatmaps'), case['boxes'])
  near(place, case['xyv'][..., :2])
  near(score, case['scores'])


def check_multiscale_roi_align(case) -> None:
  options, start = case.options, 0
  for image in range(len(options['image_sizes'])):
    boxes = case[f'boxes{image}']
    features = tuple(case.map(f'f{i}')[image] for i in range(len(options['scales'])))
    here = slice(start, start + len(boxes))
    own = roi_align.levels(boxes, options['scales'])
    np.testing.assert_array_equal(own, case['levels'][here])
    got = roi_align.multilevel(
      features,
      boxes,
      output=options['output'],
      scales=options['scales'],
      sampling=options['sampling_ratio'],
      aligned=options['aligned'],
    )
    near(got, case.map('y')[here])
    start += len(boxes)
  assert start == len(case['y'])


def _same_set(got, want, count: int) -> None:
  """So many valid rows, equal to those recorded."""
  assert int(np.sum(got['valid'])) == len(want['scores']) <= count
  rows = np.asarray(got['valid'])
  for name, value in want.items():
    near(np.asarray(got[name])[rows], value)


def check_rpn_proposals(case) -> None:
  options = case.options
  sections = np.cumsum(options['anchors_per_level'])[:-1]
  boxes, levels = np.split(case['anchors'], sections), range(len(options['anchors_per_level']))
  logits = [case.map(f'objectness{i}') for i in levels]
  logits = [a.reshape(len(a), -1) for a in logits]
  deltas = [case.map(f'deltas{i}').reshape(*logits[i].shape, 4) for i in levels]
  images = len(options['image_sizes'])
  near(np.concatenate(logits, axis=1).reshape(-1, 1), case['flat_objectness'])
  near(np.concatenate(deltas, axis=1).reshape(-1, 4), case['flat_deltas'])
  for image in range(images):
    decoded = box_ops.decode(np.concatenate(deltas, axis=1)[image], case['anchors'], (1, 1, 1, 1))
    near(decoded, case['decoded'][image])
    assert options['score_thresh'] == 0, 'a sigmoid is over 0: ours has no threshold'
    found = proposals.proposals(
      [a[image] for a in logits],
      [a[image] for a in deltas],
      boxes,
      tuple(options['image_sizes'][image]),
      before=options['pre_nms_top_n'],
      after=options['post_nms_top_n'],
      threshold=options['nms_thresh'],
      min_size=options['min_size'],
    )
    want = {'boxes': case[f'boxes{image}'], 'scores': case[f'scores{image}']}
    _same_set(dict(zip(('boxes', 'scores', 'valid'), found, strict=True)), want, options['post_nms_top_n'])


def check_detections(case) -> None:
  options, start = case.options, 0
  for image, size in enumerate(options['image_sizes']):
    boxes = case[f'proposals{image}']
    here = slice(start, start + len(boxes))
    found = proposals.detections(
      jax.nn.softmax(jnp.asarray(case['class_logits'])[here]),
      jnp.asarray(case['box_regression'])[here].reshape(len(boxes), -1, 4),
      boxes,
      np.ones(len(boxes), bool),
      tuple(size),
      score_threshold=options['score_thresh'],
      nms_threshold=options['nms'],
      count=options['detections'],
    )
    names = {'boxes': 'boxes', 'scores': 'scores', 'classes': 'labels'}
    want = {ours: case[f'{theirs}{image}'] for ours, theirs in names.items()}
    _same_set(found, want, options['detections'])
    start += len(boxes)


# Stem of a maskrcnn/*.npz file -> what checks one of its cases.
STAGES: dict[str, Callable[[Any], None]] = {
  'anchors': check_anchors,
  'detections': check_detections,
  'keypoints': check_keypoints,
  'masks': check_masks,
  'matcher': check_matcher,
  'multiscale_roi_align': check_multiscale_roi_align,
  'rpn_proposals': check_rpn_proposals,
}
