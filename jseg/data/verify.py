"""Checks of a dataset as its owners give it: every file opened, every problem one line naming it."""

import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from jseg.data import labels, matlab, spec

T = TypeVar('T')


class Pair(NamedTuple):
  """An image file and the mask file that belongs to it.

  entry: if the mask is a variable of a .mat file, its name, as matlab.read_index takes it; else empty.
  read: if files are not to be taken as they are, gives image uint8 [h w] or [h w 3], or None where its file
    serves, and raw mask uint8 [h w]; or raises ValueError.
  draw: if the mask is drawn from instances that `mask` describes, gives for the image's height and width the
    raw mask uint8 [h w], and the instances as text, which the copy keeps; or raises ValueError.
  """

  id: str
  image: pathlib.Path
  mask: pathlib.Path
  entry: str = ''
  read: Callable[[], tuple[np.ndarray | None, np.ndarray]] | None = None
  draw: Callable[[int, int], tuple[np.ndarray, str]] | None = None


class Scan(NamedTuple):
  """What a source folder holds, by its lists and names alone.

  pairs: of each part, which the copy keeps as a TFDS split; parts have no pair in common, none is empty.
  problems: what is wrong with lists and names, a line each.
  splits: the part, or several joined by '+', of each split that this source has.
  others: files beside those of the pairs that the copy is made from.
  note: what the copy keeps beside its records, see prepare.note.
  """

  pairs: Mapping[str, Sequence[Pair]]
  problems: Sequence[str]
  splits: Mapping[str, str]
  others: Sequence[pathlib.Path] = ()
  note: str = ''

  def count(self, split: str) -> int:
    """Examples in a split."""
    return sum(len(self.pairs[part]) for part in self.splits[split].split('+'))


def read_pair(pair: Pair, table: np.ndarray) -> tuple[np.ndarray | None, np.ndarray, str]:
  """A pair once image and mask are found sound: the frame, the train ids, and the instances.

  Returns:
    The frame uint8 [h w] or [h w 3] if it is `read`, or else None; the train ids uint8 [h w]; the instances
    as text if they are drawn, or else nothing.

  Raises:
    ValueError: the first fault: a broken file, sizes that differ, an id the table does not know.
  """
  image, objects = None, ''
  if pair.read:
    image, raw = pair.read()
    height, width = _image_size(pair.image) if image is None else image.shape[:2]
  else:
    height, width = _image_size(pair.image)
    if pair.draw:
      raw, objects = pair.draw(height, width)
    else:
      raw = matlab.read_index(pair.mask, pair.entry) if pair.entry else labels.read_index(pair.mask)
  if raw.shape != (height, width):
    raise ValueError(
      f'{pair.mask}: the mask is {raw.shape[0]}x{raw.shape[1]}, its image {height}x{width} (height x width)'
    )
  return image, labels.remap(raw, table, str(pair.mask)), objects


def _image_size(path: pathlib.Path) -> tuple[int, int]:
  try:
    with Image.open(path) as image:
      image.load()  # opening reads the header only; a truncated file shows here
      return image.height, image.width
  except (OSError, SyntaxError, ValueError, EOFError) as error:
    raise ValueError(f'{path}: not a readable image ({labels.first_line(error)})') from error


def all_problems(dataset: spec.DatasetSpec, scan: Scan) -> Iterator[str]:
  """Every problem: those of the scan, then those found by opening every file."""
  yield from scan.problems
  table = labels.spec_table(dataset)
  pairs = [p for split in scan.pairs.values() for p in split]
  for pair in progress(pairs, f'{dataset.name}: checked'):
    try:
      read_pair(pair, table)
    except ValueError as error:
      yield str(error)


def size_warnings(dataset: spec.DatasetSpec, scan: Scan) -> list[str]:
  """A line for every split that is absent or not of the published size: legal, but not comparable."""
  lines = []
  for split, published in dataset.split_sizes.items():
    count = scan.count(split) if split in scan.splits else 0
    if count != published:
      lines.append(f'{dataset.name}: warning: {split} has {count} images, published are {published}')
  return lines


def progress(items: Sequence[T], label: str, every: float = 2.0) -> Iterable[T]:
  """Yields the items; says on stderr every few seconds how many are done and how long the rest will take."""
  began = said = time.monotonic()
  for done, item in enumerate(items):
    now = time.monotonic()
    if now - said >= every:
      left = (now - began) / done * (len(items) - done) if done else 0.0
      print(f'{label} {done} of {len(items)}, about {left:.0f} s left', file=sys.stderr, flush=True)
      said = now
    yield item
