"""Checks of a dataset as its owners give it: every file opened, every problem one line naming it."""

import pathlib
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from jseg.data import labels, spec

T = TypeVar('T')


class Pair(NamedTuple):
  """An image file and the mask file that belongs to it."""

  id: str
  image: pathlib.Path
  mask: pathlib.Path


class Scan(NamedTuple):
  """What a source folder holds, by its lists and names alone: pairs by split, and what is wrong with them."""

  pairs: Mapping[str, Sequence[Pair]]
  problems: Sequence[str]


def read_pair(pair: Pair, table: np.ndarray) -> np.ndarray:
  """Train ids of a pair's mask, uint8 [h w], once image and mask are found sound.

  Raises:
    ValueError: the first fault: a broken file, sizes that differ, an id the table does not know.
  """
  try:
    with Image.open(pair.image) as image:
      width, height = image.size
      image.load()  # opening reads the header only; a truncated file shows here
  except (OSError, SyntaxError, ValueError, EOFError) as error:
    raise ValueError(f'{pair.image}: not a readable image ({labels.first_line(error)})') from error
  raw = labels.read_index(pair.mask)
  if raw.shape != (height, width):
    raise ValueError(
      f'{pair.mask}: the mask is {raw.shape[0]}x{raw.shape[1]}, its image {height}x{width} (height x width)'
    )
  return labels.remap(raw, table, str(pair.mask))


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
  """A line for every split whose size is not the published one: legal for a subset, but not comparable."""
  return [
    f'{dataset.name}: warning: {split} has {len(pairs)} images, published are {dataset.split_sizes[split]}'
    for split, pairs in scan.pairs.items()
    if pairs and len(pairs) != dataset.split_sizes[split]
  ]


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
