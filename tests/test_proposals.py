"""Proposals and detections against plain loops; torchvision's numbers are in test_goldens.py."""

import jax
import numpy as np

from jseg.ops import anchors, proposals
from jseg.ops import boxes as box_ops

SIZE = (50, 70)
LEVELS = anchors.pyramid([(7, 9), (4, 5)], [(8, 8), (16, 16)], [(16,), (32,)], (0.5, 1, 2))


def raw(seed=0):
  rng = np.random.default_rng(seed)
  logits = [rng.standard_normal(len(a)).astype(np.float32) for a in LEVELS]
  deltas = [(0.3 * rng.standard_normal(a.shape)).astype(np.float32) for a in LEVELS]
  return logits, deltas


def suppressed(boxes, scores, threshold, count):
  """The greedy loop."""
  kept = []
  overlaps = np.asarray(IOU(np.pad(boxes, ((0, 64 - len(boxes)), (0, 0)))))
  for i in np.argsort(-scores, kind='stable'):
    if all(overlaps[i, j] <= threshold for j in kept):
      kept.append(i)
  return kept[:count]


IOU = jax.jit(lambda boxes: box_ops.iou(boxes, boxes))
OPTIONS = {'before': 40, 'after': 30, 'min_size': 4}


def test_proposals():
  logits, deltas = raw()
  run = jax.jit(lambda l, d: proposals.proposals(l, d, LEVELS, SIZE, **OPTIONS))
  boxes, scores, valid = run(logits, deltas)
  found = []
  for l, d, a in zip(logits, deltas, LEVELS, strict=True):
    order = np.argsort(-l)[:40]
    b = np.asarray(box_ops.clip(box_ops.decode(d, a, (1, 1, 1, 1)), SIZE))[order]
    large = np.asarray(box_ops.large(b, 4))
    b, s = b[large], l[order][large]
    kept = suppressed(b, s, 0.7, None)
    found += [(s[i], b[i]) for i in kept]
  found = sorted(found, key=lambda f: -f[0])[:30]
  assert int(valid.sum()) == len(found) == 30
  np.testing.assert_allclose(boxes, [b for _, b in found], atol=1e-4)
  np.testing.assert_allclose(scores, [1 / (1 + np.exp(-s)) for s, _ in found], rtol=1e-5)


def test_too_few_proposals_are_padded_and_images_are_apart():
  rows = [raw(seed) for seed in range(2)]
  logits, deltas = jax.tree.map(lambda *a: np.stack(a), *rows)
  sizes = np.array([SIZE, (20, 30)])

  def run(l, d, size):
    return proposals.proposals(l, d, LEVELS, size, before=10, after=40, min_size=12)

  boxes, scores, valid = jax.jit(jax.vmap(run))(logits, deltas, sizes)
  assert 0 < valid[1].sum() < 20, 'ten of each level at most'
  assert not boxes[~valid].any() and not scores[~valid].any()
  assert (boxes[1, :, 2] <= 30).all() and (boxes[1, :, 3] <= 20).all()
  for i in range(2):
    for one, all in zip(jax.jit(run)(*rows[i], sizes[i]), (boxes, scores, valid), strict=True):
      np.testing.assert_allclose(one, all[i], atol=1e-5)


def heads(n, k, seed=0, shared=False):
  rng = np.random.default_rng(seed)
  logits = 2 * rng.standard_normal((n, k))
  scores = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
  deltas = (2 * rng.standard_normal((n, 1 if shared else k, 4))).astype(np.float32)
  low = rng.uniform(0, 50, (n, 2))
  boxes = np.concatenate([low, low + rng.uniform(0, 30, (n, 2))], axis=1).astype(np.float32)
  return scores, deltas, boxes, rng.uniform(size=n) < 0.8


def expected(scores, deltas, boxes, valid, count):
  found = []
  decoded = np.asarray(box_ops.clip(box_ops.decode(deltas, boxes[:, None], (10, 10, 5, 5)), SIZE))
  decoded = np.broadcast_to(decoded, (*scores.shape, 4))
  for k in range(1, scores.shape[1]):
    large = np.asarray(box_ops.large(decoded[:, k], 1e-2))
    rows = np.flatnonzero(valid & large & (scores[:, k] > 0.05))
    kept = suppressed(decoded[rows, k], scores[rows, k], 0.5, None)
    found += [(-scores[rows[i], k], rows[i], k) for i in kept]
  found = sorted(found)[:count]
  return decoded, found


def test_detections():
  for seed, shared, count in ((0, False, 25), (1, True, 25), (2, False, 150)):
    data = heads(40, 5, seed, shared)
    got = jax.jit(lambda *a, count=count: proposals.detections(*a, SIZE, count=count))(*data)
    decoded, want = expected(*data, count)
    assert int(got['valid'].sum()) == len(want) and (count == 25) == (len(want) == count)
    rows = np.asarray(got['valid'])
    assert rows[: len(want)].all(), 'padding comes last'
    assert np.asarray(got['proposal'])[rows].tolist() == [i for _, i, _ in want]
    assert np.asarray(got['classes'])[rows].tolist() == [k for _, _, k in want]
    np.testing.assert_array_equal(np.asarray(got['scores'])[rows], [-s for s, _, _ in want])
    np.testing.assert_allclose(np.asarray(got['boxes'])[rows], [decoded[i, k] for _, i, k in want], atol=1e-4)
    assert not any(np.asarray(value)[~rows].any() for value in got.values())


def test_ties_go_by_row_then_class():
  scores = np.float32([[0.2, 0.3, 0.3], [0.1, 0.3, 0.6], [0.2, 0.1, 0.3]])
  boxes = np.float32([[0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]])
  got = proposals.detections(scores, np.zeros((3, 3, 4), np.float32), boxes, np.ones(3, bool), SIZE, count=9)
  pairs = list(zip(got['proposal'].tolist(), got['classes'].tolist(), strict=True))[:6]
  assert pairs == [(1, 2), (0, 1), (0, 2), (1, 1), (2, 2), (2, 1)]
  assert got['valid'].tolist() == [True] * 6 + [False] * 3


def test_vmapped_and_nothing_found():
  rows = [heads(12, 3, seed) for seed in range(2)]
  stacked = [np.stack(a) for a in zip(*rows, strict=True)]
  stacked[3][1] = False
  got = jax.jit(jax.vmap(lambda *a: proposals.detections(*a, SIZE, count=7)))(*stacked)
  alone = jax.jit(lambda *a: proposals.detections(*a, SIZE, count=7))(*rows[0])
  for name, value in alone.items():
    np.testing.assert_allclose(got[name][0], value, atol=1e-5)
    assert not got[name][1].any()
