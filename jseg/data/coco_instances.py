"""Instances as COCO annotates them: outlines to masks, masks to labels, and what an example holds of them.

Outlines are drawn by pycocotools, with which their owners measure; a copy is read without it. Nothing is
corrected: boxes, areas and keypoints are the owners' numbers, wherever they lie, and an instance may have a
box without area or a mask without pixels. Average precision counts those too; whoever learns from instances
has to leave them out.
"""

import importlib.util
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from jseg.data import instances, spec
from jseg.typing import IGNORE_LABEL

KEYPOINTS = 17
FARTHEST = 100_000  # pixels that a polygon may reach; pycocotools walks along its sides step by step


def need_pycocotools(name: str) -> None:
  """Raises ValueError if pycocotools, which draws the masks of dataset `name`, is absent."""
  if importlib.util.find_spec('pycocotools') is None:
    raise ValueError(f"the masks of {name} are drawn by pycocotools; type: pip install -e '.[coco]'")


def keypoints(annotation: Mapping[str, Any]) -> list[float]:
  """x, y, visibility of the 17 keypoints of an annotation, one after the other; nothing if none is annotated.

  Raises:
    ValueError: it has none, or they are not what they should be; names the annotation.
  """
  points: Any = annotation['keypoints'] if 'keypoints' in annotation else None
  if not (_numbers(points, 3 * KEYPOINTS) and set(points[2::3]) <= {0, 1, 2}):
    raise ValueError(
      f'annotation {annotation["id"]}: keypoints are not {KEYPOINTS} times x, y and a visibility of 0, 1 or 2'
    )
  return points if any(points) else []


def record(
  annotation: Mapping[str, Any],
  points: Sequence[float],
  train_ids: Mapping[int, int],
  height: int,
  width: int,
) -> dict[str, Any]:
  """What a prepared copy keeps of an annotation, as JSON can hold it.

  Args:
    annotation: as the owners' file of instances has it.
    points: its keypoints, as `keypoints` gives them.
    train_ids: of each category id.
    height: of the image in pixels.
    width: of the image in pixels.

  Returns:
    id, class (a train id), crowd, area in pixels, box (x, y, width, height in pixels), counts (the mask, as
    COCO's compressed run lengths), keypoints.

  Raises:
    ValueError: something of it is missing or is not what it should be; names the annotation.
  """
  where = f'annotation {annotation["id"]}'
  for name in ('iscrowd', 'area', 'bbox', 'segmentation'):
    if name not in annotation:
      raise ValueError(f'{where} has no "{name}"')
  crowd, area, box = annotation['iscrowd'], annotation['area'], annotation['bbox']
  if crowd not in (0, 1):
    raise ValueError(f'{where}: iscrowd is {crowd}, not 0 or 1')
  if not _numbers([area]) or area < 0:
    raise ValueError(f'{where}: area {area} is not a number of pixels')
  if not _numbers(box, 4) or min(box[2:]) < 0:
    raise ValueError(f'{where}: bbox {box} is not x, y, width, height in pixels')
  try:
    counts = run_lengths(annotation['segmentation'], height, width)
  except ValueError as error:
    raise ValueError(f'{where}: {error}') from error
  return {
    'id': annotation['id'],
    'class': train_ids[annotation['category_id']],
    'crowd': int(crowd),
    'area': area,
    'box': box,
    'counts': counts,
    'keypoints': list(points),
  }


def run_lengths(segmentation: Any, height: int, width: int) -> str:
  """A mask as COCO's compressed run lengths, from what an annotation has under `segmentation`.

  That is a list of polygons, whose union the mask is (one of fewer than three points encloses nothing, and so
  does no polygon at all), or {'size': [h, w], 'counts': run lengths as a list or compressed}.

  Raises:
    ValueError: it is neither, or its size is not that of the image.
  """
  from pycocotools import mask

  if isinstance(segmentation, list):
    for polygon in segmentation:
      if not _numbers(polygon) or len(polygon) % 2 or any(abs(v) > FARTHEST for v in polygon):
        raise ValueError('a polygon is not a list of x, y, x, y, ... in pixels')
    closed = [polygon for polygon in segmentation if len(polygon) >= 6]
    if not closed:
      return _uncompressed([height * width], height, width)
    united: Any = mask.merge(mask.frPyObjects(closed, height, width))
    return united['counts'].decode()
  if not isinstance(segmentation, dict) or not {'size', 'counts'} <= segmentation.keys():
    raise ValueError('segmentation is neither a list of polygons nor run lengths with size and counts')
  size, counts = segmentation['size'], segmentation['counts']
  if size != [height, width]:
    raise ValueError(f'the run lengths are of size {size}, the image of {[height, width]} (height, width)')
  return _uncompressed(lengths(counts) if isinstance(counts, str) else counts, height, width)


def _uncompressed(counts: Any, height: int, width: int) -> str:
  """Compressed run lengths, once checked: pycocotools leaves pixels that they do not reach undefined."""
  from pycocotools import mask

  whole = isinstance(counts, list) and all(type(n) is int and n >= 0 for n in counts)
  if not whole or sum(counts) != height * width:
    raise ValueError(f'the run lengths do not add up to the {height * width} pixels of {height}x{width}')
  listed: Any = {'size': [height, width], 'counts': counts}
  packed: Any = mask.frPyObjects(listed, height, width)
  return packed['counts'].decode()


def lengths(text: str) -> list[int]:
  """The run lengths in COCO's compressed form: 5 bits a character, from the fourth on less the last but one.

  Source: github.com/cocodataset/cocoapi, common/maskApi.c, rleFrString.
  """
  counts, value, shift = [], 0, 0
  for character in text:
    bits = ord(character) - 48
    value |= (bits & 31) << shift
    shift += 5
    if bits & 32:
      continue
    value -= (1 << shift) if bits & 16 else 0
    counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    value, shift = 0, 0
  return counts  # what a cut end leaves makes the sum wrong, and so do characters that no writer uses


def encoded(mask: UInt8[np.ndarray, 'h w']) -> str:
  """A mask of 0 and 1 as COCO's compressed run lengths, as pycocotools writes them; needs no pycocotools.

  Source: github.com/cocodataset/cocoapi, common/maskApi.c, rleToString.
  """
  columns = np.ascontiguousarray(mask.T).ravel()
  turns = np.flatnonzero(columns[1:] != columns[:-1]) + 1
  starts = [0, *turns.tolist(), columns.size]
  counts = [end - start for start, end in zip(starts[:-1], starts[1:], strict=True)]
  if columns.size and columns[0]:
    counts = [0, *counts]  # they begin with the zeros
  text = []
  for place, count in enumerate(counts):
    value = count - (counts[place - 2] if place > 2 else 0)
    while True:
      bits, value = value & 31, value >> 5
      more = value != (-1 if bits & 16 else 0)
      text.append(chr(48 + (bits | 32 if more else bits)))
      if not more:
        break
  return ''.join(text)


def _numbers(values: Any, count: int | None = None) -> bool:
  """Whether these are `count` numbers that an image can have (None: any number of them)."""
  if not isinstance(values, (list, tuple)) or count not in (None, len(values)):
    return False
  return all(type(v) in (int, float) and abs(v) < 1e9 for v in values)  # nan is not, either


def masks(records: Sequence[Mapping[str, Any]], height: int, width: int) -> UInt8[np.ndarray, 'n h w']:
  """The mask of each record, 0 or 1; needs no pycocotools, and is not slower."""
  drawn = np.empty((len(records), height, width), np.uint8)
  for one, mask in zip(records, drawn, strict=True):
    columns = np.zeros(width * height, np.uint8)  # run lengths go down the columns, 0 first
    ends = list(itertools.accumulate(lengths(one['counts'])))
    for start, end in zip(ends[::2], ends[1::2], strict=False):
      columns[start:end] = 1
    cv2.transpose(columns.reshape(width, height), mask)
  return drawn


def labels(records: Sequence[Mapping[str, Any]], height: int, width: int) -> UInt8[np.ndarray, 'h w']:
  """Train ids of all pixels; 0 is where no instance is.

  Where instances overlap, the one of fewer pixels is on top (the later id, if they are level): outlines of
  large things such as tables and beds run around what lies on them, so the other way round would hide it. A
  crowd is an area that holds instances not told apart, and more: void where no single instance is.
  """
  truth = np.zeros((height, width), np.uint8)
  drawn = masks(records, height, width)
  pixels = drawn.sum((1, 2), dtype=np.int64)
  order = sorted(range(len(records)), key=lambda i: (not records[i]['crowd'], -pixels[i], records[i]['id']))
  for i in order:
    truth[drawn[i] > 0] = IGNORE_LABEL if records[i]['crowd'] else records[i]['class']
  return truth


class Apart:
  """A source with labels of some classes alone, drawn anew from the instances of each image.

  It knows no counts of pixels without reading: those of a copy are of other labels.

  Args:
    source: its examples have `objects`, the instances as the copy keeps them.
    train_ids: as labels_apart takes them.
  """

  def __init__(self, source: spec.Source, train_ids: Mapping[int, int]):
    self._source, self._train_ids = source, train_ids

  def __len__(self) -> int:
    """The number of examples."""
    return len(self._source)

  def __getitem__(self, index: int) -> spec.Example:
    """Reads one example and draws its labels."""
    whole = self._source[index]
    kept = {name: value for name, value in whole.items() if name != 'objects'}
    return kept | {'labels': labels_apart(whole['objects'], self._train_ids)}


class Persons:
  """A source with one class of things, the first of its own: labels and instances of others are gone.

  Args:
    source: a prepared copy, whose examples may hold instances as `example` gives them.
  """

  def __init__(self, source: Any):
    self._source = source

  def __len__(self) -> int:
    """The number of examples."""
    return len(self._source)

  @property
  def extents(self) -> np.ndarray:
    """The source's, see jseg.data.extents; the objects that count are those with keypoints: persons."""
    return self._source.extents[:, [0, 1, 3, 3]]

  def __getitem__(self, index: int) -> spec.Example:
    """Reads one example and leaves its first class."""
    whole = self._source[index]
    truth = np.where((whole['labels'] > 1) & (whole['labels'] != IGNORE_LABEL), 0, whole['labels'])
    result = {**whole, 'labels': truth.astype(np.uint8)}
    if 'classes' in whole:
      kept = whole['classes'] == 1
      result |= {name: whole[name][kept] for name in instances.KEYS if name in whole}
    return result


def labels_apart(text: str, train_ids: Mapping[int, int]) -> UInt8[np.ndarray, 'h w']:
  """Labels of some classes alone, from what the copy keeps of an image: torchvision's rule.

  Instances of other classes are not seen, crowds are as good as instances, and pixels of more than one
  instance are void. Source: github.com/pytorch/vision, references/segmentation/coco_utils.py.

  Args:
    text: what the copy keeps.
    train_ids: of the classes that are seen, by those of the copy.
  """
  kept = json.loads(text)
  seen = [r for r in kept['instances'] if r['class'] in train_ids]
  truth = np.zeros((kept['height'], kept['width']), np.uint8)
  drawn = masks(seen, *truth.shape)
  for one, mask in zip(seen, drawn, strict=True):
    truth[mask > 0] = train_ids[one['class']]
  truth[drawn.sum(0) > 1] = IGNORE_LABEL
  return truth


def as_text(stored: str) -> dict[str, Any]:
  """The instances of an image as the copy keeps them, under `objects`: what Apart reads."""
  return {'objects': stored}


def example(text: str) -> dict[str, Any]:
  """The instances of an image, from what the copy keeps.

  Returns:
    boxes float32 [n 4] (x0 y0 x1 y1 in pixels), classes int32 [n] (train ids 1..80), crowd bool [n], areas
    float32 [n] in pixels, masks uint8 [n h w] of 0 and 1, keypoints float32 [n 17 3] (x, y in pixels and
    visibility: 0 not annotated, 1 hidden, 2 seen; all 0 where there are none), annotation_ids int64 [n],
    image_id int.
  """
  kept = json.loads(text)
  records, size = kept['instances'], (kept['height'], kept['width'])
  boxes = np.array([r['box'] for r in records], np.float64).reshape(-1, 4)
  points = [r['keypoints'] or [0] * (3 * KEYPOINTS) for r in records]
  return {
    'boxes': np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).astype(np.float32),
    'classes': np.array([r['class'] for r in records], np.int32),
    'crowd': np.array([r['crowd'] for r in records], bool),
    'areas': np.array([r['area'] for r in records], np.float32),
    'masks': masks(records, *size),
    'keypoints': np.array(points, np.float32).reshape(-1, KEYPOINTS, 3),
    'annotation_ids': np.array([r['id'] for r in records], np.int64),
    'image_id': kept['image_id'],
  }
