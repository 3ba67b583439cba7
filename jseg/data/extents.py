"""How large the images of a split are and how many objects they have, known without decoding them.

A table int64 [n 4], one row an image: height, width, objects that can be learned, and those of them that have
keypoints. A prepared copy keeps it beside its records, as it does the counts of pixels.
"""

import json
from typing import Protocol, runtime_checkable

import numpy as np

from jseg.data import coco_instances, progress, spec

COLUMNS = 4


@runtime_checkable
class Measured(spec.Source, Protocol):
  """A source that knows this without reading its images."""

  @property
  def extents(self) -> np.ndarray:
    """The table, int64 [n 4]."""
    ...


def of(source: spec.Source) -> np.ndarray:
  """The table of any source, int64 [n 4]: its own if it has one, else by reading every example.

  Raises:
    ValueError: an example cannot be read, or holds no instances.
  """
  if isinstance(source, Measured):
    return np.asarray(source.extents)
  rows = progress.over(range(len(source)), 'sizes of images: read')
  return np.array([of_example(source[i]) for i in rows], np.int64).reshape(-1, COLUMNS)


def of_example(example: spec.Example) -> tuple[int, int, int, int]:
  """The row of an example that holds its instances."""
  sound = learnable(example)
  points = example['keypoints'][..., 2] > 0 if 'keypoints' in example else np.zeros((len(sound), 0), bool)
  height, width = example['labels'].shape
  return height, width, int(sound.sum()), int((sound & points.any(axis=1)).sum())


def of_text(stored: str) -> tuple[int, int, int, int]:
  """The row of an image whose instances a prepared copy keeps as this text."""
  kept = json.loads(stored)
  sound = [
    r for r in kept['instances'] if not r['crowd'] and min(r['box'][2:]) > 0 and _has_pixels(r['counts'])
  ]
  return kept['height'], kept['width'], len(sound), sum(any(r['keypoints'][2::3]) for r in sound)


def _has_pixels(counts: str) -> bool:
  return any(coco_instances.lengths(counts)[1::2])  # zeros and ones in turn


def learnable(example: spec.Example) -> np.ndarray:
  """Which objects can be learned, bool [n]: none of a crowd, no box without area, no mask without pixels.

  Raises:
    ValueError: the example holds no instances.
  """
  if not {'boxes', 'masks', 'classes'} <= example.keys():
    raise ValueError(f'{example["id"]} comes without instances; set data.options.instances=True')
  boxes, sound = example['boxes'], example['masks'].any(axis=(1, 2))
  sound = sound & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
  return sound & ~example['crowd'] if 'crowd' in example else sound
