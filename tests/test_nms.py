"""Non-maximum suppression against the greedy loop; torchvision's numbers are in test_goldens.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jseg.ops import boxes as box_ops
from jseg.ops import nms


def greedy(boxes, scores, valid, threshold, groups=None):
  groups = np.zeros(len(boxes), int) if groups is None else groups
  overlaps, keep = np.asarray(box_ops.iou(boxes, boxes), np.float64), np.zeros(len(boxes), bool)
  alive = valid.copy()
  for i in np.argsort(-scores, kind='stable'):
    if alive[i]:
      keep[i] = True
      alive &= ~((overlaps[i] > threshold) & (groups == groups[i]))
      alive[i] = False
  return keep


def candidates(n, seed=0, spread=60):
  rng = np.random.default_rng(seed)
  low = rng.uniform(0, spread, (n, 2))
  boxes = np.concatenate([low, low + rng.uniform(-2, 30, (n, 2))], axis=1).astype(np.float32)
  scores = rng.integers(0, max(2, n // 3), n).astype(np.float32)  # with ties
  return boxes, scores, rng.uniform(size=n) < 0.9, rng.integers(0, 3, n)


@pytest.mark.parametrize('n', [1, 7, 255, 256, 257, 600])
@pytest.mark.parametrize('threshold', [0.3, 0.7])
def test_greedy(n, threshold):
  boxes, scores, valid, groups = candidates(n)
  run = jax.jit(lambda *a, groups=None: nms.nms(*a, threshold, groups=groups))
  np.testing.assert_array_equal(run(boxes, scores, valid), greedy(boxes, scores, valid, threshold))
  np.testing.assert_array_equal(
    run(boxes, scores, valid, groups=groups), greedy(boxes, scores, valid, threshold, groups)
  )


def test_without_jit_and_vmapped():
  rows = [candidates(40, seed) for seed in range(3)]
  boxes, scores, valid, groups = (np.stack(a) for a in zip(*rows, strict=True))
  both = jax.jit(jax.vmap(lambda b, s, v, g: nms.nms(b, s, v, 0.5, groups=g)))(boxes, scores, valid, groups)
  for i, row in enumerate(rows):
    np.testing.assert_array_equal(both[i], greedy(*row[:3], 0.5, row[3]))
    np.testing.assert_array_equal(nms.nms(*row[:3], 0.5, groups=row[3]), both[i])


def test_a_chain_is_decided_one_by_one():
  """Each box suppresses the next alone: the slowest case keeps every second one."""
  x = np.arange(300, dtype=np.float32) * 10
  boxes = np.stack([x, 0 * x, x + 30, 0 * x + 30], axis=1)
  keep = nms.nms(boxes, -x, np.ones(300, bool), 0.4)  # IoU 0.5 with the next, 0.2 with the one after
  assert keep.tolist() == [True, False] * 150


def test_the_first_of_equal_boxes_stays_and_padding_does_nothing():
  boxes = np.float32([[0, 0, 9, 9]] * 4)
  assert nms.nms(boxes, np.ones(4, np.float32), np.array([False, True, True, True]), 0.5).tolist() == [
    False, True, False, False,
  ]  # fmt: skip
  assert not nms.nms(boxes, np.ones(4, np.float32), np.zeros(4, bool), 0.5).any()
  flat = np.float32([[3, 3, 3, 3]] * 2)
  assert nms.nms(flat, np.ones(2, np.float32), np.ones(2, bool), 0.0).all()  # they overlap nothing
  assert nms.nms(boxes[:0], np.ones(0, np.float32), np.ones(0, bool), 0.5).shape == (0,)


@pytest.mark.parametrize('threshold', [0.0, 0.3, 0.5, 0.7, 0.05])
def test_a_threshold_in_float32_parts_the_same_numbers(threshold):
  limit = nms.threshold_in_float32(threshold)
  near = np.float32(threshold)
  for value in (np.nextafter(near, np.float32(-1)), near, np.nextafter(near, np.float32(1))):
    assert (value > limit) == (float(value) > threshold)


def test_top():
  scores, valid = np.float32([1, 5, 5, 9, 2]), np.array([True, True, True, False, True])
  index, found = nms.top(scores, valid, 3)
  assert index.tolist() == [1, 2, 4] and found.all()
  index, found = jax.jit(nms.top, static_argnums=2)(scores, valid, 7)
  assert index[:4].tolist() == [1, 2, 4, 0] and found.tolist() == [True] * 4 + [False] * 3
  both, _ = jax.vmap(lambda s: nms.top(s, valid, 2))(jnp.stack([scores, -scores]))
  assert both.tolist() == [[1, 2], [0, 4]]
