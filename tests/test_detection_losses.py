"""Samples and losses of detection: how many are drawn, what pads and what is crowded, and values by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jseg.tasks import detection_losses as dl

SIZE = np.array([80, 100], np.int32)


def objects(count=4, rows=6, seed=0):
  rng = np.random.default_rng(seed)
  corner, side = rng.uniform(0, 50, (rows, 2)), rng.uniform(8, 30, (rows, 2))
  return {
    'boxes': np.concatenate([corner, corner + side], axis=1).astype(np.float32),
    'classes': rng.integers(1, 5, rows).astype(np.int32),
    'valid': np.arange(rows) < count,
    'crowd': np.zeros(rows, bool),
  }


def around(boxes, count, seed=1):
  """Boxes near those given and elsewhere, some beyond the image."""
  rng = np.random.default_rng(seed)
  near = boxes[rng.integers(0, len(boxes), count // 2)] + rng.uniform(-3, 3, (count // 2, 4))
  corner = rng.uniform(-10, 90, (count - count // 2, 2))
  far = np.concatenate([corner, corner + rng.uniform(4, 20, corner.shape)], axis=1)
  return np.concatenate([near, far]).astype(np.float32)


def iou(a, b):
  low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
  both = np.clip(high - low, 0, None).prod(-1)
  return both / ((a[:, 2:] - a[:, :2]).prod(-1)[:, None] + (b[:, 2:] - b[:, :2]).prod(-1) - both)


def draw(o, regions, rules, seed=0, valid=None):
  valid = np.ones(len(regions), bool) if valid is None else valid
  run = jax.jit(functools.partial(dl.sample_proposals, rules=rules))
  return run(regions, valid, o['boxes'], o['classes'], o['valid'], o['crowd'], jax.random.key(seed))


@pytest.mark.parametrize('count,fraction', [(16, 0.25), (40, 0.5), (200, 0.25)])
def test_samples_are_what_they_say(count, fraction):
  o, rules = objects(), dl.Rules(box_count=count, box_fraction=fraction)
  regions = around(o['boxes'][:4], 60)
  found = jax.tree.map(np.asarray, draw(o, regions, rules))
  every = np.concatenate([regions, o['boxes'][:4]])
  best = iou(o['boxes'][:4], every).max(0)
  positives = min((best >= 0.5).sum(), int(count * fraction))
  negatives = min((best < 0.5).sum(), count - positives)
  assert found.positive.sum() == positives and found.valid.sum() == positives + negatives
  assert found.positive[:positives].all(), 'positives come first'
  assert not found.positive[~found.valid].any()
  for i in np.flatnonzero(found.valid):
    overlaps = iou(o['boxes'][:4], found.boxes[i : i + 1])[:, 0]
    assert (overlaps.max() >= 0.5) == found.positive[i]
    if found.positive[i]:
      assert found.objects[i] == overlaps.argmax() and found.classes[i] == o['classes'][overlaps.argmax()]
    else:
      assert found.classes[i] == 0 and (found.targets[i] == 0).all()
  rows = found.boxes[found.valid]
  assert len(np.unique(rows, axis=0)) == len(rows), 'none is drawn twice'
  assert int(count * fraction) == len(dl.Samples(*found).positives(rules).boxes)


def test_own_boxes_are_among_the_samples_and_need_no_change():
  o = objects()
  found = draw(o, np.zeros((5, 4), np.float32), dl.Rules(box_count=16), valid=np.zeros(5, bool))
  assert found.valid.sum() == found.positive.sum() == 4
  np.testing.assert_allclose(found.targets, 0, atol=1e-5)
  assert set(np.asarray(found.objects[:4]).tolist()) == {0, 1, 2, 3}


def test_draws_follow_the_key():
  o, rules = objects(), dl.Rules(box_count=16)
  regions = around(o['boxes'][:4], 60)
  first, again, other = (draw(o, regions, rules, seed).boxes for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()


def test_regions_in_a_crowd_are_neither():
  o = objects()
  o['boxes'][3], o['crowd'][3] = [0, 0, 45, 45], True
  inside = np.float32([[1, 1, 12, 12], [20, 20, 40, 44], [30, 30, 47, 44]])  # the last for a share of 0.79
  outside = np.float32([[60, 60, 90, 75], [40, 40, 60, 60]])  # the last for a share of 0.06
  found = draw(o, np.concatenate([inside, outside]), dl.Rules(box_count=64))
  rows = {tuple(row) for row in np.asarray(found.boxes[found.valid]).tolist()}
  assert rows == {tuple(row) for row in [*outside.tolist(), *o['boxes'][:3].tolist()]}


def rpn(o, anchors, rules, seed=0, size=SIZE, objectness=None, deltas=None):
  rng = np.random.default_rng(5)
  objectness = rng.standard_normal(len(anchors)).astype(np.float32) if objectness is None else objectness
  deltas = rng.standard_normal((len(anchors), 4)).astype(np.float32) if deltas is None else deltas
  run = jax.jit(functools.partial(dl.rpn_losses, rules=rules))
  return run(objectness, deltas, anchors, o['boxes'], o['valid'], o['crowd'], size, jax.random.key(seed))


def test_rpn_losses_by_hand():
  """All anchors are drawn, so that chance has no say."""
  o, rules = objects(), dl.Rules(rpn_count=1000, rpn_fraction=1.0, rpn_inside=False, rpn_nominal=False)
  anchors = around(o['boxes'][:4], 80)
  rng = np.random.default_rng(5)
  x, d = rng.standard_normal(80).astype(np.float32), rng.standard_normal((80, 4)).astype(np.float32)
  found = rpn(o, anchors, rules)
  table = iou(o['boxes'][:4], anchors)
  positive = (table.max(0) >= 0.7) | (table == table.max(1, keepdims=True)).any(0)
  negative = ~positive & (table.max(0) < 0.3)
  assert positive.sum() > 4 and negative.sum() > 20
  entropy = np.where(positive, np.log1p(np.exp(-x)), np.log1p(np.exp(x)))
  np.testing.assert_allclose(found['rpn_class'][0], entropy[positive | negative].sum(), rtol=1e-5)
  gt, a = o['boxes'][table.argmax(0)], anchors
  sides, own = gt[:, 2:] - gt[:, :2], a[:, 2:] - a[:, :2]
  wanted = np.concatenate([(gt[:, :2] + sides / 2 - a[:, :2] - own / 2) / own, np.log(sides / own)], axis=1)
  off = np.abs(d - wanted)
  distance = np.where(off < 1 / 9, off**2 * 4.5, off - 1 / 18).sum(1)
  np.testing.assert_allclose(found['rpn_box'][0], distance[positive].sum(), rtol=1e-4)
  assert found['rpn_class'][1] == found['rpn_box'][1] == (positive | negative).sum()
  nominal = rpn(o, anchors, rules._replace(rpn_nominal=True))
  assert nominal['rpn_class'][1] == 1000 and nominal['rpn_class'][0] == found['rpn_class'][0]


def test_anchors_beyond_the_image_count_only_for_torchvision():
  o = objects(count=1)
  o['boxes'][0] = [70, 10, 100, 40]
  anchors = np.float32([[72, 12, 104, 42], [60, 8, 99, 44], [2, 2, 20, 20], [-4, 0, 10, 10]])
  base = dl.Rules(rpn_count=8, rpn_fraction=1.0, rpn_nominal=False)
  assert rpn(o, anchors, base)['rpn_class'][1] == 2
  assert rpn(o, anchors, base._replace(rpn_inside=False))['rpn_class'][1] >= 3
  # With none inside there is nothing to learn, though the object has a best anchor outside.
  none = rpn(o, anchors[[0, 3]], base)
  assert none['rpn_class'] == (0, 0) and none['rpn_box'] == (0, 0)


def test_an_object_that_no_anchor_meets_makes_none_positive():
  o = objects(count=1)
  o['boxes'][0] = [90, 70, 96, 78]
  anchors = np.float32([[2, 2, 20, 20], [30, 30, 50, 50]])
  found = rpn(o, anchors, dl.Rules(rpn_count=8, rpn_nominal=False))
  assert found['rpn_class'][1] == 2 and found['rpn_box'][0] == 0


@pytest.mark.parametrize('rules', dl.RULES.values(), ids=dl.RULES)
def test_three_hundred_objects(rules):
  o = objects(count=300, rows=300)
  anchors = around(o['boxes'], 2000)
  found = rpn(o, anchors, rules)
  assert all(np.isfinite(total) and count == 256 for total, count in found.values())
  samples = draw(o, around(o['boxes'], 1000), rules)
  assert samples.positive.sum() == 128 and samples.valid.sum() == 512


def samples_of(n, k, positives, seed=0):
  rng = np.random.default_rng(seed)
  positive = np.arange(n) < positives
  corner = rng.uniform(0, 40, (n, 2))
  return dl.Samples(
    boxes=np.concatenate([corner, corner + rng.uniform(5, 30, (n, 2))], 1).astype(np.float32),
    classes=np.where(positive, rng.integers(1, k, n), 0),
    targets=rng.standard_normal((n, 4)).astype(np.float32) * positive[:, None],
    objects=np.where(positive, rng.integers(0, 3, n), 0),
    valid=np.arange(n) < n - 2,
    positive=positive,
  )


def test_box_losses_by_hand():
  rng, s = np.random.default_rng(2), samples_of(9, 5, 4)
  logits = rng.standard_normal((9, 5)).astype(np.float32)
  deltas = rng.standard_normal((9, 5, 4)).astype(np.float32)
  found = dl.box_losses(logits, deltas, s, dl.RULES['detectron'])
  share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  np.testing.assert_allclose(found['class'][0], -np.log(share[range(7), s.classes[:7]]).sum(), rtol=1e-5)
  off = np.abs(deltas[range(4), s.classes[:4]] - s.targets[:4])
  np.testing.assert_allclose(found['box'][0], np.where(off < 1, off**2 / 2, off - 0.5).sum(), rtol=1e-5)
  assert found['class'][1] == found['box'][1] == 7


@pytest.mark.parametrize('name', ['box', 'mask', 'keypoint'])
def test_what_pads_has_no_part(name):
  """Rows that are not positive, or not valid, have gradient zero and no say, whatever is in them."""
  s = samples_of(6, 4, 3)
  rng = np.random.default_rng(2)
  masks = (rng.random((3, 40, 50)) < 0.5).astype(np.uint8)
  points = np.concatenate([rng.uniform(0, 60, (3, 5, 2)), np.full((3, 5, 1), 2)], 2).astype(np.float32)
  whole = np.tile(np.float32([0, 0, 60, 60]), (6, 1))
  shape, loss = {
    'box': ((6, 4, 4), lambda x: dl.box_losses(jnp.zeros((6, 4)), x, s, dl.Rules())),
    'mask': ((6, 28, 28, 4), lambda x: dl.mask_loss(x, s, masks, dl.Rules())),
    'keypoint': ((6, 56, 56, 5), lambda x: dl.keypoint_loss(x, s._replace(boxes=whole), points)),
  }[name]
  x = rng.standard_normal(shape).astype(np.float32)
  run = jax.jit(jax.value_and_grad(lambda x: loss(x)[name][0]))
  value, gradient = run(x)
  assert (np.asarray(gradient)[3:] == 0).all() and np.asarray(gradient)[:3].any()
  x[3:] = 1e4
  assert run(x)[0] == value


def test_masks_of_one_class_are_the_only_mask():
  s, rng = samples_of(6, 4, 3), np.random.default_rng(2)
  masks = (rng.random((3, 40, 50)) < 0.5).astype(np.uint8)
  x = rng.standard_normal((6, 28, 28, 4)).astype(np.float32)
  own = np.take_along_axis(x, s.classes[:, None, None, None], axis=-1)
  several, one = (dl.mask_loss(y, s, masks, dl.Rules())['mask'] for y in (x, own))
  np.testing.assert_allclose(several, one, rtol=1e-6)
  assert one[1] == 3 * 28 * 28
  # Of targets that are shares the loss is another one.
  soft = dl.mask_loss(x, s, masks, dl.RULES['torchvision'])['mask']
  assert abs(soft[0] - one[0]) > 1
