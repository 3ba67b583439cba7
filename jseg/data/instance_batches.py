"""Batches of images with their instances, in two or three fixed sizes.

An image is scaled to its short side and laid into the top left corner of a bucket, the smallest size of
`Layout.buckets` that holds it; the rows of one batch share a bucket, so that a run compiles one program for
each bucket. A training run's global batch t is a function of (seed, t) alone, as in jseg.data.pipeline: each
bucket is an endless stream of its images, shuffled anew for every epoch; which bucket batch t takes is drawn
for every epoch, in proportion to their images.

Boxes are x0 y0 x1 y1 in pixels of the scaled image, borders and not centres (x1 - x0 is the width). Keypoints
are the owners' numbers times the scale, as Detectron and torchvision have them.
"""

import dataclasses
import functools
import math
import sys
from collections.abc import Generator, Sequence

import cv2
import grain
import numpy as np

from jseg.data import augment, extents, geometry, instances, pipeline, spec
from jseg.typing import Batch

_COLOURS = ('flip', 'crop', 'brightness', 'contrast', 'saturation', 'hue', 'gamma', 'blur', 'padding')


@dataclasses.dataclass(frozen=True)
class Layout:
  """How images are scaled and which of their objects are kept; the `instances` section of a config.

  Attributes:
    short: (least, greatest) short side of training images in pixels, drawn uniformly.
    test_short: short side when a checkpoint is measured or used.
    longest: of the long side; an image that would be longer is scaled to this instead.
    buckets: (height, width) of the sizes images are filled up to; multiples of 32.
    most: objects kept of a training image, crowds included: the largest boxes. COCO's fullest has 93.
    empty: train on images without an object to learn as well; Detectron leaves them out.

  Raises:
    ValueError: a value out of range.
  """

  short: tuple[int, int] = (800, 800)
  test_short: int = 800
  longest: int = 1333
  buckets: tuple[tuple[int, int], ...] = ((800, 1088), (800, 1344), (1344, 800))
  most: int = 100
  empty: bool = False

  def __post_init__(self):
    if len(self.short) != 2 or not 1 <= self.short[0] <= self.short[1]:
      raise ValueError(f'instances: short {self.short} is not (least, greatest) in pixels')
    if min(self.test_short, self.most) < 1 or self.longest < max(self.test_short, self.short[1]):
      raise ValueError(
        f'instances: test_short {self.test_short}, longest {self.longest}, most {self.most}; each is at least '
        f'1, and longest no less than the short sides'
      )
    if not self.buckets or any(len(b) != 2 or min(b) < 32 or b[0] % 32 or b[1] % 32 for b in self.buckets):
      raise ValueError(f'instances: buckets {self.buckets} are not (height, width) in multiples of 32')

  def fitted(self, size: tuple[int, int], short: int) -> tuple[int, int]:
    """(height, width) of an image once it is scaled to a short side; Detectron's rule."""
    factor = min(short / min(size), self.longest / max(size))
    height, width = (max(1, round(side * factor)) for side in size)
    return height, width

  def bucket(self, size: tuple[int, int], short: int) -> int:
    """The number of the smallest bucket that holds such an image once it is scaled.

    Raises:
      ValueError: none does.
    """
    height, width = self.fitted(size, short)
    holding = [i for i, (h, w) in enumerate(self.buckets) if h >= height and w >= width]
    if not holding:
      raise ValueError(
        f'instances: an image of {size[0]}x{size[1]} becomes {height}x{width}, which fits none of the buckets '
        f'{self.buckets} (height, width); add one that holds it'
      )
    return min(holding, key=lambda i: math.prod(self.buckets[i]))


class Order:
  """Which images the global batches hold.

  Args:
    members: of each bucket, the indices of its images.
    seed: of the order.
    batch_size: rows of a global batch.
  """

  def __init__(self, members: Sequence[np.ndarray], seed: int, batch_size: int):
    self._members, self._seed, self._rows = members, seed, batch_size
    self._sizes = tuple(len(found) for found in members)
    self._epoch = max(1, sum(self._sizes) // batch_size)  # in batches

  def __call__(self, batch: int) -> tuple[int, np.ndarray]:
    """(bucket, indices int [rows]) of a global batch."""
    epoch, place = divmod(batch, self._epoch)
    before = _shares(epoch * self._epoch, self._sizes)
    after = _shares((epoch + 1) * self._epoch, self._sizes)
    turns = _turns(before, after, self._seed, epoch)
    bucket = int(turns[place])
    number = before[bucket] + int((turns[:place] == bucket).sum())
    positions = range(number * self._rows, (number + 1) * self._rows)
    size = self._sizes[bucket]
    rows = [_shuffled(size, self._seed, bucket, p // size)[p % size] for p in positions]
    return bucket, self._members[bucket][rows]


def _shares(batches: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
  """How many of the first so many batches are of each bucket: in proportion, and never fewer with more."""
  left, rest, found = batches, sum(sizes), []
  for size in sizes:
    found.append(left * size // rest if rest else 0)
    left, rest = left - found[-1], rest - size
  return tuple(found)


@functools.lru_cache(4)
def _turns(before: tuple[int, ...], after: tuple[int, ...], seed: int, epoch: int) -> np.ndarray:
  counts = [end - start for start, end in zip(before, after, strict=True)]
  return np.random.default_rng((seed, 1, epoch)).permutation(np.repeat(np.arange(len(counts)), counts))


@functools.lru_cache(16)
def _shuffled(size: int, seed: int, bucket: int, epoch: int) -> np.ndarray:
  return np.random.default_rng((seed, 2, epoch, bucket)).permutation(size)


class _TrainingRows:
  """Element i is row i % batch_size of batch i // batch_size, as arrays; reads, augments and fills up."""

  def __init__(
    self, source: spec.Source, layout: Layout, change: augment.Augment, order: Order, seed: int, rows: int
  ):
    self._source, self._layout, self._change = pipeline.Named(source), layout, change
    self._order, self._seed, self._rows, self._told = order, seed, rows, False

  def __len__(self) -> int:
    return sys.maxsize

  def __getitem__(self, i: int) -> Batch:
    batch, row = divmod(i, self._rows)
    bucket, indices = self._order(batch)
    example = self._source[int(indices[row])]
    rng = np.random.default_rng((self._seed, 3, batch, row))
    layout, size = self._layout, example['labels'].shape
    short = int(rng.integers(*layout.short, endpoint=True))
    mirrored = self._change.flip and rng.random() < 0.5
    where = _scaled(size, layout.fitted(size, short), mirrored)
    image = self._change.recoloured(_resized(example['image'], where, cv2.INTER_LINEAR), rng)
    height, width = layout.buckets[bucket]
    objects = _objects(example, where)
    if len(objects['classes']) > layout.most and not self._told:
      self._told = True
      count = len(objects['classes'])
      print(
        f'{example["id"]} has {count} objects; of such images the {layout.most} largest are kept',
        file=sys.stderr,
      )
    return {
      'image': _filled(image, (height, width)),
      'size': np.array(where.size, np.int32),
      'index': np.int32(example['index']),
      **_stacked(objects, layout.most, (height, width)),
    }


class _EvaluationRows:
  """Element i is row i of all batches, one after the other: (bucket, index or -1 for padding) in a list."""

  def __init__(self, source: spec.Source, layout: Layout, rows: Sequence[tuple[int, int]]):
    self._source, self._layout, self._rows = pipeline.Named(source), layout, rows

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, i: int) -> Batch:
    bucket, index = self._rows[i]
    shape = self._layout.buckets[bucket]
    if index < 0:
      nothing = np.zeros((*shape, 3), np.uint8)
      return {'image': nothing, 'size': np.array(shape, np.int32), 'index': np.int32(-1)}
    image, size = fitted(self._source[index]['image'], self._layout)
    return {'image': _filled(image, shape), 'size': np.array(size, np.int32), 'index': np.int32(index)}


def fitted(image: np.ndarray, layout: Layout) -> tuple[np.ndarray, tuple[int, int]]:
  """An image scaled as a checkpoint is measured, and its (height, width); not filled up."""
  size = layout.fitted(image.shape[:2], layout.test_short)
  return _resized(image, _scaled(image.shape[:2], size, False), cv2.INTER_LINEAR), size


def prepared(image: np.ndarray, layout: Layout) -> Batch:
  """A batch of one image, to predict from: image [1 h w 3] in its bucket, and size int32 [1 2].

  Raises:
    ValueError: no bucket holds it.
  """
  bucket = layout.buckets[layout.bucket(image.shape[:2], layout.test_short)]
  scaled, size = fitted(image, layout)
  return {'image': _filled(scaled, bucket)[None], 'size': np.array([size], np.int32)}


def train_batches(
  source: spec.Source,
  layout: Layout,
  *,
  seed: int,
  batch_size: int,
  change: augment.Augment,
  points: bool = False,
  start: int = 0,
  process_index: int = 0,
  process_count: int = 1,
  threads: int = 4,
  prefetch: int = 8,
) -> Generator[Batch, None, None]:
  """This process's rows of the global batches start, start + 1, ... without end; as pipeline.train_batches.

  Args:
    source: the split; its examples hold instances.
    layout: scales, buckets and what is kept.
    seed: of order and augmentation.
    batch_size: rows of the global batch; a multiple of `process_count`.
    change: of its options flip and the colours.
    points: whether an object to learn is one with keypoints, when images without any are left out.
    start: the first global batch to yield.
    process_index, process_count, threads, prefetch: as pipeline.train_batches.

  Returns:
    A generator of batches, g being layout.most: image uint8 [b H W 3] filled up with 0 at bottom and right,
    size int32 [b 2] (height and width of what is image), valid bool [b], index int32 [b], boxes float32
    [b g 4], classes int32 [b g] (train ids), object_valid bool [b g], crowd bool [b g], masks uint8
    [b g H W/8] (bits, as np.packbits has them), keypoints float32 [b g p 3].

  Raises:
    ValueError: as pipeline.train_batches; also an option of `change` that instances do not follow, an image
      that fits no bucket, nothing to learn.
  """
  rows = pipeline.rows_of(source, batch_size, process_index, process_count)
  pipeline.check_readers(threads, prefetch)
  _check(change)
  order = Order(members(source, layout, points=points), seed, batch_size)
  examples = _TrainingRows(source, layout, change, order, seed, batch_size)

  def position(i: int) -> int:
    return (start + i // rows) * batch_size + process_index * rows + i % rows

  picked = pipeline.Picked(grain.MapDataset.source(examples), position, sys.maxsize)
  return pipeline.stream(picked, rows, threads, prefetch, _batch)


def eval_batches(
  source: spec.Source,
  layout: Layout,
  *,
  batch_size: int,
  process_index: int = 0,
  process_count: int = 1,
  threads: int = 4,
  prefetch: int = 8,
) -> Generator[Batch, None, None]:
  """This process's rows of the split, bucket after bucket: every example once over all processes.

  Batches have image, size, valid and index, as those of `train_batches`. Rows that fill up the last batch of a
  bucket are padding: valid False, index -1.

  Raises:
    ValueError: as `train_batches`.
  """
  share = pipeline.rows_of(source, batch_size, process_index, process_count)
  pipeline.check_readers(threads, prefetch)
  rows: list[tuple[int, int]] = []
  for bucket, found in enumerate(members(source, layout, testing=True)):
    padding = -len(found) % batch_size
    rows += [(bucket, int(index)) for index in [*found, *[-1] * padding]]

  def position(i: int) -> int:
    return i // share * batch_size + process_index * share + i % share

  examples = grain.MapDataset.source(_EvaluationRows(source, layout, rows))
  picked = pipeline.Picked(examples, position, len(rows) // process_count)
  return pipeline.stream(picked, share, threads, prefetch, _batch)


def members(
  source: spec.Source, layout: Layout, *, testing: bool = False, points: bool = False
) -> list[np.ndarray]:
  """The indices of the images of each bucket, in their order.

  Args:
    source: the split.
    layout: says which images training leaves out.
    testing: every image, at the size at which checkpoints are measured.
    points: as `train_batches` takes it.

  Raises:
    ValueError: an image fits no bucket, or none is left.
  """
  table = extents.of(source)
  kept = np.ones(len(table), bool) if testing or layout.empty else table[:, 3 if points else 2] > 0
  if not kept.any():
    raise ValueError(
      f'data: none of the {len(table)} images has an object to learn; set instances.empty=True to train on them'
    )
  short = layout.test_short if testing else layout.short[1]  # smaller ones fit where the greatest does
  sizes, which = np.unique(table[:, :2], axis=0, return_inverse=True)
  chosen = np.array([layout.bucket((int(h), int(w)), short) for h, w in sizes])[which.ravel()]
  return [np.flatnonzero(kept & (chosen == number)) for number in range(len(layout.buckets))]


def _check(change: augment.Augment) -> None:
  """Raises ValueError for an option of augmentation that instances do not follow."""
  plain = augment.Augment(crop=change.crop)
  for field in dataclasses.fields(augment.Augment):
    value = getattr(change, field.name)
    if change.crop or (field.name not in _COLOURS and value != getattr(plain, field.name)):
      name = 'data.crop' if change.crop else f'augment.{field.name}'
      value = change.crop or value
      raise ValueError(
        f'{name} is {value}, which instances do not follow: they are scaled by the section `instances`, '
        'flipped and recoloured'
      )


def _scaled(size: tuple[int, int], fitted: tuple[int, int], mirrored: bool) -> geometry.Place:
  return geometry.place(size, fitted, scaled=fitted, mirrored=(False, mirrored))


def _resized(values: np.ndarray, where: geometry.Place, kind: int) -> np.ndarray:
  """values [h w ...] at a place that scales and mirrors left and right; OpenCV is exact and fast in this."""
  height, width = where.size
  scaled = cv2.resize(values, (width, height), interpolation=kind)
  return cv2.flip(scaled, 1) if where.mirrors else scaled


def _objects(example: spec.Example, where: geometry.Place) -> dict[str, np.ndarray]:
  """Boxes, classes, crowd, masks and keypoints at their place; objects that cannot be learned are left out."""
  sound = extents.learnable(example)
  crowd = example['crowd'] if 'crowd' in example else np.zeros(len(sound), bool)
  number = len(sound)
  points = example['keypoints'] if 'keypoints' in example else np.zeros((number, 0, 3), np.float32)
  given = {'boxes': example['boxes'], 'annotation_ids': np.arange(number)}
  if points.shape[1]:
    given['keypoints'] = points
  moved = instances.moved(given, where)
  index = moved['annotation_ids']
  if points.shape[1]:
    factors = np.array(where.size[::-1]) / where.source[::-1]  # from pixels' centres to the owners' numbers
    moved['keypoints'][..., :2] += (0.5 - 0.5 * factors) * (moved['keypoints'][..., 2:] > 0)
  else:
    moved['keypoints'] = points[index]
  masks = np.zeros((len(index), *where.size), np.uint8)
  for mask, i in zip(masks, index, strict=True):
    mask[:] = _resized(example['masks'][i] * np.uint8(255), where, cv2.INTER_LINEAR) > 127
  left = (sound[index] & masks.any(axis=(1, 2))) | crowd[index]
  return {
    'boxes': moved['boxes'][left],
    'classes': example['classes'][index][left],
    'crowd': crowd[index][left],
    'masks': masks[left],
    'keypoints': moved['keypoints'][left],
  }


def _stacked(objects: dict[str, np.ndarray], most: int, size: tuple[int, int]) -> Batch:
  """The objects as arrays of `most` rows, the largest boxes if there are more, and masks as bits."""
  boxes = objects['boxes']
  if len(boxes) > most:
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept = np.sort(np.argsort(-areas, kind='stable')[:most])
    objects = {name: values[kept] for name, values in objects.items()}
  number, points = len(objects['boxes']), objects['keypoints'].shape[1]
  result = {
    'boxes': np.zeros((most, 4), np.float32),
    'classes': np.zeros(most, np.int32),
    'object_valid': np.arange(most) < number,
    'crowd': np.zeros(most, bool),
    'masks': np.zeros((most, size[0], size[1] // 8), np.uint8),
    'keypoints': np.zeros((most, points, 3), np.float32),
  }
  for name in ('boxes', 'classes', 'crowd', 'keypoints'):
    result[name][:number] = objects[name]
  height, width = objects['masks'].shape[1:]
  result['masks'][:number, :height, : -(-width // 8)] = np.packbits(objects['masks'], axis=2)
  return result


def _filled(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """The image in the top left corner of zeros."""
  height, width = image.shape[:2]
  if (height, width) == size:
    return image
  canvas = np.zeros((*size, 3), np.uint8)
  canvas[:height, :width] = image
  return canvas


def _batch(rows: list[Batch]) -> Batch:
  stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
  return {**stacked, 'valid': stacked['index'] >= 0}
