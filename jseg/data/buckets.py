"""Which images share a batch: those that fill up to one of two or three fixed sizes, the buckets.

The rows of one batch share a bucket, so that a run compiles one program for each. Each bucket is an endless
stream of its images, shuffled anew for every epoch; which bucket batch t takes is drawn for every epoch, too,
in proportion to their images. So batch t is a function of (seed, t) alone, as in jseg.data.pipeline.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

from jseg.data import extents, spec


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
        f'instances: test_short {self.test_short}, longest {self.longest}, most {self.most}; each is at '
        'least 1, and longest no less than the short sides'
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
        f'instances: an image of {size[0]}x{size[1]} becomes {height}x{width}, which fits none of the '
        f'buckets {self.buckets} (height, width); add one that holds it'
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
      f'data: none of the {len(table)} images has an object to learn; set instances.empty=True to train on '
      'them'
    )
  short = layout.test_short if testing else layout.short[1]  # smaller ones fit where the greatest does
  sizes, which = np.unique(table[:, :2], axis=0, return_inverse=True)
  chosen = np.array([layout.bucket((int(h), int(w)), short) for h, w in sizes])[which.ravel()]
  return [np.flatnonzero(kept & (chosen == number)) for number in range(len(layout.buckets))]
