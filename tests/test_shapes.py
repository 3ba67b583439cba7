"""The embedded `shapes` set: reproducible, labelled exactly, with the figures its spec states."""

import numpy as np
import pytest

from jseg.data import counts, shapes
from jseg.data.builders import shapes as builder


def same(one, other):
  assert one.keys() == other.keys()
  for name in one:
    np.testing.assert_array_equal(one[name], other[name])


def test_an_image_depends_on_seed_split_and_index_only():
  source = builder.open_split('train', size=48)
  later = source[5]
  same(later, builder.open_split('train', size=48, train=6)[5])
  for other in (
    source[6],
    builder.open_split('val', size=48)[5],
    builder.open_split('train', size=48, seed=1)[5],
  ):
    assert (other['image'] != later['image']).any()


@pytest.mark.parametrize('size', [32, 64, 97])
def test_truth_agrees_with_itself(size):
  source = builder.open_split('val', size=size, val=40)
  assert len(source) == 40
  for index in range(len(source)):
    e = source[index]
    n = len(e['classes'])
    assert (e['image'].shape, e['image'].dtype) == ((size, size, 3), np.uint8)
    assert (e['labels'].shape, e['labels'].dtype) == ((size, size), np.uint8)
    assert (e['masks'].shape, e['boxes'].shape, e['keypoints'].shape) == ((n, size, size), (n, 4), (n, 5, 3))
    assert (e['index'], e['id']) == (index, f'val_{index:05d}')
    assert e['masks'].sum(0).max() <= 1  # visible parts do not overlap
    real = e['labels'] != 255
    painted = (e['masks'] * e['classes'][:, None, None]).sum(0)
    np.testing.assert_array_equal(e['labels'][real], painted[real])
    for mask, (x0, y0, x1, y1) in zip(e['masks'], e['boxes'], strict=True):
      ys, xs = np.nonzero(mask)
      assert (ys.min(), xs.min(), ys.max() + 1, xs.max() + 1) == (y0, x0, y1, x1)


def test_void_is_both_sides_of_every_outline():
  e = builder.open_split('train', size=64)[0]
  owner = (e['masks'] * np.arange(1, len(e['masks']) + 1)[:, None, None]).sum(0)
  padded = np.pad(owner, 1, mode='edge')
  differs = [
    padded[1 + dy : 65 + dy, 1 + dx : 65 + dx] != owner for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0))
  ]
  np.testing.assert_array_equal(e['labels'] == 255, np.any(differs, 0))


def test_keypoints_lie_where_they_say():
  source = builder.open_split('train', size=96)
  states = np.zeros(3, int)
  for index in range(60):
    e = source[index]
    for mask, kind, points in zip(e['masks'], e['classes'], e['keypoints'], strict=True):
      states += np.bincount(points[:, 2].astype(int), minlength=3)
      for name, (x, y, seen) in zip(shapes.KEYPOINTS, points, strict=True):
        if seen == 0:
          assert (x, y) == (0.0, 0.0)
        elif seen == 1 or name != 'centre':
          assert mask[round(y), round(x)] == (seen == 2)
        elif shapes.SHAPES[kind - 1] != 'ring':
          assert mask[round(y), round(x)]
  assert (states > 5).all()  # all three states occur


def test_outlines_tell_the_classes_apart():
  grid = (np.arange(201)[:, None] - 100) / 100, (np.arange(201)[None] - 100) / 100
  areas = {name: shapes.inside(name, *grid).sum() / 1e4 for name in shapes.SHAPES}
  # By geometry, radius 1: pi .85^2; side^2 of the inscribed square; 3 sqrt(3) / 4; pi (.95^2 - .5^2);
  # two bars of 1.9 x .56 less their crossing; the pentagram's area 1.1226.
  expected = {'disc': 2.270, 'square': 2.0, 'triangle': 1.299, 'ring': 2.050, 'cross': 1.814, 'star': 1.123}
  assert areas == pytest.approx(expected, rel=0.03)


def test_colour_does_not_tell_the_class():
  source = builder.open_split('train', size=64)
  means = {k: [] for k in range(6)}
  for index in range(120):
    e = source[index]
    for mask, kind in zip(e['masks'], e['classes'], strict=True):
      means[int(kind) - 1].append(e['image'][mask > 0].mean(0))
  centres = np.array([np.mean(m, 0) for m in means.values()])
  spread = np.array([np.std(m, 0) for m in means.values()])
  assert np.abs(centres - centres.mean(0)).max() < 20
  assert spread.min() > 40


def test_stated_figures_are_those_of_a_sample():
  dataset = builder.SPEC
  assert sum(dataset.class_pixels) + dataset.void_pixels == 2000 * 96 * 96
  found = counts.figures(counts.read(builder.open_split('train', train=150), dataset.num_classes))
  share = np.array(found['class_pixels']) / (150 * 96 * 96)
  np.testing.assert_allclose(share, np.array(dataset.class_pixels) / (2000 * 96 * 96), rtol=0.25)
  np.testing.assert_allclose(
    np.array(found['class_image_pixels']) / 150, np.array(dataset.class_image_pixels) / 2000, rtol=0.2
  )
  assert found['void_pixels'] / 150 == pytest.approx(dataset.void_pixels / 2000, rel=0.1)


@pytest.mark.parametrize(
  ('split', 'options', 'message'),
  [
    ('trainval', {}, "'trainval' is unknown .* train, val, test"),
    ('train', {'size': 8}, 'size 8 is too small'),
    ('train', {'train': 0}, '0 images'),
    ('train', {'seed': -1}, 'seed -1'),
    ('train', {'source': '/data'}, "source is '/data'; leave it empty"),
  ],
)
def test_wrong_options_are_named(split, options, message):
  with pytest.raises(ValueError, match=message):
    builder.open_split(split, **options)


def test_past_the_end():
  with pytest.raises(IndexError):
    builder.open_split('val', val=3)[3]
