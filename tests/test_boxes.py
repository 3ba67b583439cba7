"""Boxes by hand and by counting pixels; torchvision's numbers are in test_goldens.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jseg.ops import boxes as box_ops

DEGENERATE = np.array([[3, 3, 3, 3], [5, 5, 5, 9], [9, 9, 2, 3], [0, 0, 0, 0]], np.float32)
WEIGHTS = (10, 10, 5, 5)


def random_boxes(n, seed=0, side=12):
  ends = np.random.default_rng(seed).integers(0, side + 1, (n, 2, 2))
  return np.sort(ends, axis=1).reshape(n, 4).astype(np.float32)


def pixels(boxes, side=12):
  """Which unit pixels each box covers, [n side*side]."""
  at = np.arange(side) + 0.5
  x0, y0, x1, y1 = (boxes[:, i, None] for i in range(4))
  rows, columns = (at > y0) & (at < y1), (at > x0) & (at < x1)
  return (rows[:, :, None] & columns[:, None, :]).reshape(len(boxes), -1).astype(float)


def test_areas_and_overlaps_count_pixels():
  a, b = random_boxes(30), random_boxes(17, seed=1)
  p, q = pixels(a), pixels(b)
  np.testing.assert_array_equal(box_ops.areas(a), p.sum(1))
  both, union = p @ q.T, np.maximum(p[:, None], q[None]).sum(-1)
  np.testing.assert_allclose(box_ops.iou(a, b), both / np.maximum(union, 1), rtol=1e-6)
  np.testing.assert_allclose(box_ops.overlap(a, b), both / np.maximum(p.sum(1), 1)[:, None], rtol=1e-6)
  assert (p.sum(1) == 0).any(), 'no degenerate box among them'


@pytest.mark.parametrize('f', [box_ops.iou, box_ops.overlap])
def test_degenerate_boxes_overlap_nothing_and_have_finite_gradients(f):
  both = np.concatenate([DEGENERATE, [[0, 0, 10, 10]]]).astype(np.float32)
  value = np.asarray(f(both, both))
  assert value[-1, -1] == 1 and value.sum() == 1
  assert all(np.isfinite(g).all() for g in jax.grad(lambda a, b: f(a, b).sum(), (0, 1))(both, both))


def test_decode_undoes_encode():
  boxes, anchors = (random_boxes(40, seed) + np.array([0, 0, 1, 1], np.float32) for seed in (2, 3))
  deltas = box_ops.encode(boxes, anchors, WEIGHTS)
  np.testing.assert_allclose(box_ops.decode(deltas, anchors, WEIGHTS), boxes, atol=1e-4)
  np.testing.assert_array_equal(box_ops.encode(boxes, boxes, WEIGHTS), np.zeros_like(boxes))
  np.testing.assert_array_equal(box_ops.decode(np.zeros_like(boxes), boxes, WEIGHTS), boxes)
  # A unit of dx is a tenth of the width, of dw a fifth of a factor e.
  moved = box_ops.decode(np.float32([[1, -2, 5, 0]]), np.float32([[10, 10, 30, 20]]), WEIGHTS)
  np.testing.assert_allclose(moved, [[22 - 10 * np.e, 8, 22 + 10 * np.e, 18]], rtol=1e-6)


def test_growth_is_bounded():
  grown = box_ops.decode(np.full((1, 4), 1e4, np.float32), np.float32([[0, 0, 16, 16]]), (1, 1, 1, 1))
  np.testing.assert_allclose(grown[0, 2:] - grown[0, :2], 1000, rtol=1e-4)


def test_degenerate_boxes_have_finite_deltas_and_gradients():
  whole = np.float32([[0, 0, 10, 10]] * 4)
  for boxes, anchors in ((DEGENERATE, whole), (whole, DEGENERATE), (DEGENERATE, DEGENERATE)):
    for f in (box_ops.encode, box_ops.decode):
      value, gradient = jax.value_and_grad(lambda a, b, f=f: jnp.abs(f(a, b, WEIGHTS)).sum(), argnums=(0, 1))(
        boxes, anchors
      )
      assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradient)


def test_clip_and_large():
  boxes = np.float32([[-5, -6, 30, 40], [2, 3, 4, 5], [25, 3, 40, 9]])
  for size in ((10, 20), jnp.array([10, 20])):
    clipped = box_ops.clip(boxes, size)
    np.testing.assert_array_equal(clipped, [[0, 0, 20, 10], [2, 3, 4, 5], [20, 3, 20, 9]])
  assert box_ops.large(clipped, 2).tolist() == [True, True, False]
  assert box_ops.large(clipped, 2.1).tolist() == [True, False, False]
