"""Batches of instances: their order, sizes and buckets, what is moved where, what is left out, bad input."""

import collections
import json

import cv2
import numpy as np
import pytest

from jseg.data import augment, buckets, coco_instances, extents, instance_batches, subsets
from jseg.data.builders import shapes

PLAIN = augment.Augment()
SMALL = {'short': (24, 32), 'test_short': 32, 'longest': 96, 'most': 4}
SIZES = ((32, 64), (32, 96), (64, 32))


class Boxes:
  """Images of several sizes, each with boxes filled by their masks; counts what is read."""

  def __init__(self, sizes, objects, **more):
    self.sizes, self.objects, self.more, self.read = sizes, objects, more, 0

  def __len__(self):
    return len(self.sizes)

  def __getitem__(self, index):
    self.read += 1
    height, width = self.sizes[index]
    boxes = np.array(self.objects[index % len(self.objects)], np.float32).reshape(-1, 4)
    masks = np.zeros((len(boxes), height, width), np.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.round().astype(int), strict=True):
      mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = 1
    rng = np.random.default_rng(index)
    image = cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (width, height))
    return {
      'image': image, 'labels': np.zeros((height, width), np.uint8), 'id': f'photo{index}', 'index': index,
      'boxes': boxes, 'classes': np.arange(1, len(boxes) + 1, dtype=np.int32), 'masks': masks,
      **{name: value(len(boxes)) for name, value in self.more.items()},
    }  # fmt: skip


def layout(**options):
  return buckets.Layout(**{**SMALL, 'buckets': SIZES, **options})


def train(source, chosen, count, **options):
  given = {'seed': 0, 'batch_size': 2, 'change': PLAIN, 'threads': 0, 'prefetch': 1, **options}
  batches = instance_batches.train_batches(source, chosen, **given)
  return [next(batches) for _ in range(count)]


LANDSCAPE = Boxes([(32, 40), (40, 32), (16, 40), (30, 42), (64, 32)] * 3, [[(4, 6, 20, 18), (10, 2, 30, 30)]])


def test_batches_are_a_function_of_seed_and_number():
  chosen = layout(short=(32, 32))
  whole = train(LANDSCAPE, chosen, 8, change=augment.Augment(flip=True, brightness=0.3), threads=2)
  later = train(LANDSCAPE, chosen, 3, change=augment.Augment(flip=True, brightness=0.3), start=5)
  for first, second in zip(whole[5:], later, strict=True):
    for name, values in first.items():
      np.testing.assert_array_equal(values, second[name], err_msg=name)
  other = train(LANDSCAPE, chosen, 8, seed=1)
  assert any((a['index'] != b['index']).any() for a, b in zip(whole, other, strict=True))


def test_two_processes_share_a_batch():
  chosen = layout(short=(32, 32))
  whole = train(LANDSCAPE, chosen, 5, batch_size=4)
  halves = [train(LANDSCAPE, chosen, 5, batch_size=4, process_index=p, process_count=2) for p in (0, 1)]
  for t, batch in enumerate(whole):
    for name, values in batch.items():
      np.testing.assert_array_equal(values, np.concatenate([half[t][name] for half in halves]), err_msg=name)


def test_every_image_comes_equally_often_in_few_sizes():
  found = buckets.members(LANDSCAPE, layout())
  order = buckets.Order(found, 3, 4)
  times, taken = collections.Counter(), collections.Counter()
  for t in range(45):  # 180 rows of 15 images: 12 epochs
    bucket, rows = order(t)
    assert set(rows) <= set(found[bucket])
    times.update(rows.tolist())
    taken[bucket] += 1
  assert min(times.values()) >= 9 and max(times.values()) <= 15
  assert len(times) == 15 and [len(f) for f in found] == [6, 3, 6]
  assert abs(taken[1] - 9) <= 1 and sum(taken.values()) == 45
  sizes = {batch['image'].shape[1:3] for batch in train(LANDSCAPE, layout(), 20)}
  assert sizes == set(SIZES)


@pytest.mark.parametrize('mirrored', [False, True])
def test_boxes_masks_and_points_go_where_the_image_goes(mirrored):
  """A white box on black, so that the image itself tells where it came to lie."""
  points = np.array([[[8, 10, 2], [0, 0, 0], [8, 10, 1], [23, 10, 1], [8, 17, 2]]], np.float32)
  source = Boxes([(32, 40)], [[(8, 10, 24, 18)]], keypoints=lambda n: points.copy())
  white = source[0]
  white['image'] = np.repeat(white['masks'][0][..., None] * np.uint8(255), 3, axis=2)
  source.__class__ = type('One', (Boxes,), {'__getitem__': lambda self, i: {**white}})
  chosen, seed = layout(short=(64, 64), longest=90, buckets=((64, 96),)), 0
  while True:  # a seed by which the first row is mirrored, or is not
    batch = train(source, chosen, 1, seed=seed, change=augment.Augment(flip=True))[0]
    seen = batch['image'][0, :, :, 0] > 127
    ys, xs = np.nonzero(seen)
    if (xs.min() > 20) == mirrored:
      break
    seed += 1
  assert batch['size'][0].tolist() == [64, 80]
  assert batch['boxes'][0, 0].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
  masks = np.unpackbits(batch['masks'][0], axis=-1)
  np.testing.assert_array_equal(masks[0], seen)
  assert not masks[1:].any() and not batch['image'][0, :, 80:].any()
  # Twice the owners' numbers; mirrored, that of the last pixel less them (Detectron).
  expected = points[0].copy()
  if mirrored:
    expected = expected[[0, 1, 4, 3, 2]]  # what is left and right
    expected[:, 0] = (39 - expected[:, 0]) * (expected[:, 2] > 0)
  expected[:, :2] *= 2
  np.testing.assert_allclose(batch['keypoints'][0, 0], expected, atol=1e-4)


def test_what_cannot_be_learned_is_left_out_and_crowds_are_marked():
  objects = [[(4, 4, 12, 12), (8, 8, 8, 20), (-9, -9, -3, -2), (20, 4, 28, 12), (2, 20, 30, 30)]]
  crowd = np.array([False, False, False, True, False])
  source = Boxes([(32, 40)], objects, crowd=lambda n: crowd.copy())
  batch = train(source, layout(short=(32, 32)), 1, batch_size=1)[0]
  assert batch['object_valid'][0].tolist() == [True, True, True, False]
  assert batch['classes'][0].tolist() == [1, 4, 5, 0]
  assert batch['crowd'][0].tolist() == [False, True, False, False]
  assert batch['boxes'][0, 3].tolist() == [0, 0, 0, 0]


def test_of_many_objects_the_largest_are_kept_and_it_is_said_once(capsys):
  rng = np.random.default_rng(0)
  corners = rng.integers(0, 20, (300, 2))
  many = np.concatenate([corners, corners + rng.integers(1, 12, (300, 2))], axis=1)
  source = Boxes([(32, 40)] * 4, [many])
  batch = train(source, layout(short=(32, 32), most=10), 3)[0]
  assert batch['object_valid'].all() and batch['boxes'].shape == (2, 10, 4)
  areas = np.sort(np.prod(many[:, 2:] - many[:, :2], axis=1))[::-1]
  kept = np.prod(batch['boxes'][0, :, 2:] - batch['boxes'][0, :, :2], axis=1)
  np.testing.assert_array_equal(np.sort(kept)[::-1], areas[:10])
  assert capsys.readouterr().err.count('has 300 objects; of such images the 10 largest are kept') == 1


def test_images_without_objects_are_left_out_unless_asked_for():
  source = Boxes([(32, 40)] * 6, [[(4, 4, 12, 12)], []])
  found = np.concatenate(buckets.members(source, layout()))
  assert found.tolist() == [0, 2, 4]
  assert np.concatenate(buckets.members(source, layout(empty=True))).tolist() == list(range(6))
  assert np.concatenate(buckets.members(source, layout(), testing=True)).tolist() == list(range(6))
  batch = train(source, layout(short=(32, 32), empty=True), 3)
  assert not all(b['object_valid'].any(axis=1).all() for b in batch)
  with pytest.raises(
    ValueError, match='none of the 2 images has an object to learn; set instances.empty=True'
  ):
    buckets.members(Boxes([(32, 40)] * 2, [[]]), layout())


def test_evaluation_has_every_image_once():
  found = list(instance_batches.eval_batches(LANDSCAPE, layout(), batch_size=4, threads=0, prefetch=1))
  index = np.concatenate([batch['index'] for batch in found])
  assert sorted(index[index >= 0]) == list(range(15)) and len(index) == 8 + 4 + 8
  for batch in found:
    np.testing.assert_array_equal(batch['valid'], batch['index'] >= 0)
    for i, (height, width) in zip(batch['index'], batch['size'], strict=True):
      if i >= 0:
        assert (height, width) == layout().fitted(LANDSCAPE.sizes[i], 32)


@pytest.mark.parametrize(
  ('size', 'short', 'expected'),
  [((480, 640), 800, (800, 1067)), ((427, 640), 800, (800, 1199)), ((640, 425), 800, (1205, 800)),
   ((300, 900), 800, (444, 1333)), ((500, 500), 800, (800, 800))],
)  # fmt: skip
def test_sizes_are_detectrons(size, short, expected):
  assert buckets.Layout().fitted(size, short) == expected


def test_extents_are_the_same_from_text_and_from_examples():
  points = [1, 1, 2] * 17
  records = [
    {'id': 1, 'class': 1, 'crowd': 0, 'area': 4, 'box': [1, 1, 2, 2], 'counts': None, 'keypoints': points},
    {'id': 2, 'class': 1, 'crowd': 1, 'area': 4, 'box': [1, 1, 2, 2], 'counts': None, 'keypoints': points},
    {'id': 3, 'class': 2, 'crowd': 0, 'area': 4, 'box': [1, 1, 0, 2], 'counts': None, 'keypoints': []},
    {'id': 4, 'class': 2, 'crowd': 0, 'area': 4, 'box': [1, 1, 2, 2], 'counts': 'nothing', 'keypoints': []},
    {'id': 5, 'class': 2, 'crowd': 0, 'area': 4, 'box': [1, 1, 2, 2], 'counts': None, 'keypoints': []},
  ]  # fmt: skip
  mask = np.zeros((5, 7), np.uint8)
  nothing = coco_instances.encoded(mask)
  mask[1:3, 1:3] = 1
  for one in records:
    one['counts'] = nothing if one['counts'] else coco_instances.encoded(mask)
  text = json.dumps({'image_id': 1, 'height': 5, 'width': 7, 'instances': records})
  example = {**coco_instances.example(text), 'labels': np.zeros((5, 7), np.uint8), 'id': 'x'}
  assert extents.of_text(text) == extents.of_example(example) == (5, 7, 2, 1)


def test_drawn_shapes_know_their_extents():
  source = shapes.open_split('train', size=40, train=6)
  assert extents.of(source).tolist() == [[40, 40, 1, 1]] * 6
  part, _ = subsets.divide(source, shapes.SPEC, 'labelled:0.5', 0)
  assert extents.of(part)[:, :2].tolist() == [[40, 40]] * len(part)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'short': (32, 24)}, r'instances: short \(32, 24\) is not \(least, greatest\)'),
    ({'most': 0}, 'most 0; each is at least 1'),
    ({'longest': 16}, 'longest 16.*longest no less than the short sides'),
    ({'buckets': ()}, r'buckets \(\) are not \(height, width\) in multiples of 32'),
    ({'buckets': ((33, 64),)}, 'in multiples of 32'),
  ],
)
def test_bad_layouts_are_one_line(options, message):
  with pytest.raises(ValueError, match=message) as error:
    layout(**options)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('source', 'change', 'message'),
  [
    (LANDSCAPE, {'rotate': 10.0}, 'augment.rotate is 10.0, which instances do not follow'),
    (LANDSCAPE, {'crop': (32, 32)}, r'data.crop is \(32, 32\), which instances do not follow'),
    (
      Boxes([(10, 90)], [[(1, 1, 9, 9)]]),
      {},
      'an image of 10x90 becomes 11x96, which fits none of the buckets',
    ),
  ],
)
def test_bad_input_is_one_line(source, change, message):
  chosen = layout() if 'becomes' not in message else layout(buckets=((64, 32),))
  with pytest.raises(ValueError, match=message) as error:
    train(source, chosen, 1, change=augment.Augment(**change))
  assert '\n' not in str(error.value)


def test_examples_without_instances_are_told():
  class Labelled(Boxes):
    def __getitem__(self, index):
      return {name: v for name, v in super().__getitem__(index).items() if name != 'masks'}

  with pytest.raises(ValueError, match='photo0 comes without instances; set data.options.instances=True'):
    train(Labelled([(32, 40)], [[(1, 1, 9, 9)]]), layout(), 1)
