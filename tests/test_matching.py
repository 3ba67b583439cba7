"""Matching by hand, and what a sample must be; torchvision's numbers are in test_goldens.py."""

import jax
import numpy as np
import pytest

from jseg.ops import matching

#                objects x anchors; the third object is padding
IOU = np.float32([[0.8, 0.5, 0.3, 0.1, 0.0], [0.2, 0.5, 0.4, 0.2, 0.4], [0.9] * 5])
VALID = np.array([True, True, False])


def match(iou=IOU, valid=VALID, **options):
  options = {'high': 0.7, 'low': 0.3, 'keep_best': False, **options}
  return jax.jit(lambda i, v: matching.match(i, v, **options))(iou, valid).tolist()


def test_thresholds():
  assert match() == [0, -2, -2, -1, -2]
  assert match(high=0.5, low=0.5) == [0, 0, -1, -1, -1]  # from 0.5 on; the first of equal objects
  assert matching.match(IOU, VALID, high=0.7, low=0.3, keep_best=False).tolist() == match()


def test_the_best_of_every_object_are_kept():
  # The second object's best is the second anchor, which overlaps the first object as much.
  assert match(keep_best=True) == [0, 0, -2, -1, -2]
  tie = np.float32([[0.1, 0.6, 0.6, 0.2]])
  assert match(tie, np.array([True]), keep_best=True) == [-1, 0, 0, -1]


def test_no_objects():
  assert match(valid=np.zeros(3, bool), keep_best=True) == [-1] * 5
  assert match(IOU[:0], VALID[:0], keep_best=True) == [-1] * 5


@pytest.mark.parametrize(
  ('positives', 'negatives', 'want'),
  [
    (30, 60, (5, 15)),  # 20 * 0.29 rounded down
    (3, 60, (3, 17)),  # negatives fill up
    (30, 4, (5, 4)),  # positives do not
    (0, 60, (0, 20)),
    (0, 0, (0, 0)),
    (2, 0, (2, 0)),
  ],
)
def test_counts(positives, negatives, want):
  rng = np.random.default_rng(0)
  kinds = rng.permutation([1] * positives + [-1] * negatives + [0] * 10)
  run = jax.jit(lambda key, p, n: matching.sample(key, p, n, count=20, fraction=0.29))
  picked, valid, is_positive = (np.asarray(a) for a in run(jax.random.key(1), kinds == 1, kinds == -1))
  assert picked.shape == valid.shape == is_positive.shape == (20,)
  assert (is_positive.sum(), (valid & ~is_positive).sum()) == want
  assert not (is_positive & ~valid).any()
  assert (kinds[picked[is_positive]] == 1).all() and (kinds[picked[valid & ~is_positive]] == -1).all()
  assert len(set(picked[valid])) == valid.sum(), 'drawn twice'


def test_seeded_and_even():
  positive, negative = np.arange(30) < 12, np.arange(30) >= 12
  keys = jax.random.split(jax.random.key(0), 2000)
  draw = jax.jit(jax.vmap(lambda key: matching.sample(key, positive, negative, count=8, fraction=0.5)[0]))
  picked = np.asarray(draw(keys))
  np.testing.assert_array_equal(picked, draw(keys))
  assert len(np.unique(np.sort(picked, axis=1), axis=0)) > 1900
  often = np.bincount(picked.ravel(), minlength=30) / 2000
  # Standard deviations of these shares are 0.0105 and 0.0093.
  np.testing.assert_allclose(often[:12], 4 / 12, atol=0.05)
  np.testing.assert_allclose(often[12:], 4 / 18, atol=0.05)


def test_only_negatives_wanted():
  picked, valid, positive = matching.sample(
    jax.random.key(0), np.ones(4, bool), np.zeros(4, bool), count=3, fraction=0.2
  )
  assert picked.shape == (3,) and not valid.any() and not positive.any()
