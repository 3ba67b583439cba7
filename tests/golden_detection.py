"""Recorded operators and stages of torchvision's detectors against ours, case by case (test_goldens)."""

import jax
import jax.numpy as jnp
import numpy as np

from jseg.ops import boxes as box_ops
from jseg.ops import nms, roi_align


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
