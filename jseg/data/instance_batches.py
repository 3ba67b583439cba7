"""Batches of images with their instances, in the few fixed sizes of jseg.data.buckets.

An image is scaled to its short side and laid into the top left corner of its bucket.

Boxes are x0 y0 x1 y1 in pixels of the scaled image, borders and not centres (x1 - x0 is the width). Keypoints
are the owners' numbers times the scale, as Detectron and torchvision have them.
"""

import dataclasses
import sys
from collections.abc import Generator, Sequence

import cv2
import grain
import numpy as np

from jseg.data import augment, buckets, extents, geometry, instances, pipeline, spec
from jseg.typing import Batch

_COLOURS = ('flip', 'crop', 'brightness', 'contrast', 'saturation', 'hue', 'gamma', 'blur', 'padding')


class _TrainingRows:
  """Element i is row i % batch_size of batch i // batch_size, as arrays; reads, augments and fills up."""

  def __init__(
    self,
    source: spec.Source,
    layout: buckets.Layout,
    change: augment.Augment,
    order: buckets.Order,
    seed: int,
    rows: int,
  ):
    self._source, self._layout, self._change = pipeline.Named(source), layout, change
    self._order, self._seed, self._rows, self._told = order, seed, rows, False

  def __len__(self) -> int:
    return sys.maxsize

  def __getitem__(self, index: int) -> Batch:
    batch, row = divmod(index, self._rows)
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

  def __init__(self, source: spec.Source, layout: buckets.Layout, rows: Sequence[tuple[int, int]]):
    self._source, self._layout, self._rows = pipeline.Named(source), layout, rows

  def __len__(self) -> int:
    return len(self._rows)

  def __getitem__(self, index: int) -> Batch:
    bucket, place = self._rows[index]
    shape = self._layout.buckets[bucket]
    if place < 0:
      nothing = np.zeros((*shape, 3), np.uint8)
      return {'image': nothing, 'size': np.array(shape, np.int32), 'index': np.int32(-1)}
    image, size = fitted(self._source[place]['image'], self._layout)
    return {'image': _filled(image, shape), 'size': np.array(size, np.int32), 'index': np.int32(place)}


def fitted(image: np.ndarray, layout: buckets.Layout) -> tuple[np.ndarray, tuple[int, int]]:
  """An image scaled as a checkpoint is measured, and its (height, width); not filled up."""
  size = layout.fitted(image.shape[:2], layout.test_short)
  return _resized(image, _scaled(image.shape[:2], size, False), cv2.INTER_LINEAR), size


def prepared(image: np.ndarray, layout: buckets.Layout) -> Batch:
  """A batch of one image, to predict from: image [1 h w 3] in its bucket, and size int32 [1 2].

  Raises:
    ValueError: no bucket holds it.
  """
  bucket = layout.buckets[layout.bucket(image.shape[:2], layout.test_short)]
  scaled, size = fitted(image, layout)
  return {'image': _filled(scaled, bucket)[None], 'size': np.array([size], np.int32)}


def train_batches(
  source: spec.Source,
  layout: buckets.Layout,
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
    [b g H W/8] (bits, as np.packbits has them), and keypoints float32 [b g p 3] if examples have them.

  Raises:
    ValueError: as pipeline.train_batches; also an option of `change` that instances do not follow, an image
      that fits no bucket, nothing to learn.
  """
  rows = pipeline.rows_of(source, batch_size, process_index, process_count)
  pipeline.check_readers(threads, prefetch)
  _check(change)
  order = buckets.Order(buckets.members(source, layout, points=points), seed, batch_size)
  examples = _TrainingRows(source, layout, change, order, seed, batch_size)

  def position(i: int) -> int:
    return (start + i // rows) * batch_size + process_index * rows + i % rows

  picked = pipeline.Picked(grain.MapDataset.source(examples), position, sys.maxsize)
  return pipeline.stream(picked, rows, threads, prefetch, _batch)


def eval_batches(
  source: spec.Source,
  layout: buckets.Layout,
  *,
  batch_size: int,
  process_index: int = 0,
  process_count: int = 1,
  threads: int = 4,
  prefetch: int = 8,
) -> Generator[Batch, None, None]:
  """This process's rows of the split, bucket after bucket: every example once over all processes.

  Batches have image, size, valid and index, as those of `train_batches`. Rows that fill up the last batch of
  a bucket are padding: valid False, index -1.

  Raises:
    ValueError: as `train_batches`.
  """
  share = pipeline.rows_of(source, batch_size, process_index, process_count)
  pipeline.check_readers(threads, prefetch)
  rows: list[tuple[int, int]] = []
  for bucket, found in enumerate(buckets.members(source, layout, testing=True)):
    padding = -len(found) % batch_size
    rows += [(bucket, int(index)) for index in [*found, *[-1] * padding]]

  def position(i: int) -> int:
    return i // share * batch_size + process_index * share + i % share

  examples = grain.MapDataset.source(_EvaluationRows(source, layout, rows))
  picked = pipeline.Picked(examples, position, len(rows) // process_count)
  return pipeline.stream(picked, share, threads, prefetch, _batch)


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
  """Boxes, classes, crowd, masks and keypoints at their place, of objects that can be learned, and crowds."""
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
  }
  if points:
    result['keypoints'] = np.zeros((most, points, 3), np.float32)
  for name in {'boxes', 'classes', 'crowd', 'keypoints'} & result.keys():
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
