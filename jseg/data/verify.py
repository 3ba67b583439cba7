"""Checks of a dataset as its owners give it: every file opened, every problem one line naming it."""

import collections
import concurrent.futures
import hashlib
import itertools
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jseg.data import images, labels, matlab, progress, spec
from jseg.typing import IGNORE_LABEL

ENDINGS = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff')


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
  repeated: parts whose images are by their nature those of other parts too.
  """

  pairs: Mapping[str, Sequence[Pair]]
  problems: Sequence[str]
  splits: Mapping[str, str]
  others: Sequence[pathlib.Path] = ()
  note: str = ''
  repeated: Sequence[str] = ()

  def count(self, split: str) -> int:
    """Examples in a split."""
    return sum(len(self.pairs[part]) for part in self.splits[split].split('+'))


class Policy(NamedTuple):
  """What happens to faulty pairs when a copy is made.

  bad_sample: 'raise': the first ends it. 'skip': they are left out, each is said, and the copy remembers.
  max_bad_fraction: more of them than this share of all pairs, in 0..1, end it all the same.
  """

  bad_sample: str = 'raise'
  max_bad_fraction: float = 0.01

  def check(self) -> 'Policy':
    """Itself, if it is legal; else raises ValueError."""
    if self.bad_sample not in ('raise', 'skip'):
      raise ValueError(f"bad_sample '{self.bad_sample}' is unknown; there are: raise, skip")
    if not 0 <= self.max_bad_fraction <= 1:
      raise ValueError(f'max_bad_fraction is {self.max_bad_fraction}; it is a share, in 0..1')
    return self


class Faults:
  """The faulty pairs of a copy that is being made, and when there are too many of them."""

  def __init__(self, dataset: spec.DatasetSpec, scan: Scan, policy: Policy, show: Callable[[str], str] = str):
    """Takes the scan's problems for the first faults; `show` is applied to every line.

    Raises:
      ValueError: as `add`.
    """
    self._dataset, self._policy, self._show = dataset, policy, show
    self.total = sum(map(len, scan.pairs.values())) + len(scan.problems)
    self.lines: list[str] = []
    for line in scan.problems:
      self.add(line)

  def add(self, line: str) -> None:
    """Notes a fault.

    Raises:
      ValueError: faults are not skipped, or there are more than allowed.
    """
    line = self._show(line)
    if self._policy.bad_sample == 'raise':
      raise ValueError(line)
    self.lines.append(line)
    print(f'{self._dataset.name}: left out: {line}', file=sys.stderr, flush=True)
    if exceeds(len(self.lines), self.total, self._policy):
      raise ValueError(
        f'{self._dataset.name}: {len(self.lines)} of {self.total} pairs are bad so far, more than '
        f'max_bad_fraction={self._policy.max_bad_fraction:g} allows; the last: {line}'
      )


def exceeds(bad: int, total: int, policy: Policy) -> bool:
  """Whether so many faults of so many pairs are more than the policy allows."""
  return bad > (0 if policy.bad_sample == 'raise' else policy.max_bad_fraction * total)


class Sound(NamedTuple):
  """A pair in which nothing is wrong.

  pixels: of the image, uint8 [h w] or [h w 3]; None: its file's own bytes serve.
  ids: the train ids, uint8 [h w].
  objects: the instances as text, if the mask is drawn from them.
  digest: a hash of the image.
  """

  pixels: np.ndarray | None
  ids: np.ndarray
  objects: str
  digest: bytes


def read_pair(pair: Pair, table: np.ndarray) -> Sound:
  """A pair, once image and mask are found sound.

  Raises:
    ValueError: the first fault: a broken file, sizes that differ, an id the table does not know.
  """
  try:
    pair.id.encode()
  except UnicodeEncodeError:
    raise ValueError(f'{pair.image}: the name is not UTF-8; rename image and mask') from None
  pixels, raw, hint, objects = None, None, '', ''
  if pair.read:
    pixels, raw = pair.read()
  if pixels is None:
    image = images.check(pair.image)
    height, width, pixels, digest = image.height, image.width, image.pixels, image.digest
    if image.turned:
      hint = "; the image's orientation tag is not heeded: turn its pixels, or the mask"
  else:
    height, width = pixels.shape[:2]
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).tobytes(), digest_size=16).digest()
  if pair.draw:
    raw, objects = pair.draw(height, width)
  if raw is None:
    raw = matlab.read_index(pair.mask, pair.entry) if pair.entry else labels.read_index(pair.mask)
  if raw.shape != (height, width):
    raise ValueError(
      f'{pair.mask}: the mask is {raw.shape[0]}x{raw.shape[1]}, its image {height}x{width} (height x width)'
      f'{hint}'
    )
  return Sound(pixels, labels.remap(raw, table, str(pair.mask)), objects, digest)


def opened(pairs: Sequence[Pair], table: np.ndarray, label: str) -> Iterator[tuple[Pair, Sound | ValueError]]:
  """Every pair in order, with what read_pair gives, or with its fault.

  Decoding is most of the work and leaves Python's lock, so a thread for each core does it, a few pairs ahead.

  Args:
    pairs: to be opened.
    table: as read_pair takes it.
    label: begins the lines that tell how far it is.
  """

  def read(pair: Pair) -> Sound | ValueError:
    try:
      return read_pair(pair, table)
    except ValueError as error:
      return error

  workers = min(os.cpu_count() or 1, 8)  # each holds a whole image or two
  pool, waiting = concurrent.futures.ThreadPoolExecutor(workers, 'read'), collections.deque()
  rest = iter(pairs)
  try:
    for pair in itertools.islice(rest, 2 * workers):
      waiting.append(pool.submit(read, pair))
    for pair in progress.over(pairs, label):
      found = waiting.popleft().result()
      for following in itertools.islice(rest, 1):
        waiting.append(pool.submit(read, following))
      yield pair, found
  finally:
    pool.shutdown(cancel_futures=True)


def all_problems(dataset: spec.DatasetSpec, scan: Scan, notes: list[str] | None = None) -> Iterator[str]:
  """Every problem: those of the scan, then those found by opening every file, then what is there twice.

  Args:
    dataset: its spec.
    scan: of the source.
    notes: gets a line for everything that is legal but odd.
  """
  yield from scan.problems
  table = labels.spec_table(dataset)
  parts = [part for part, found in scan.pairs.items() for _ in found]
  pairs = [pair for found in scan.pairs.values() for pair in found]
  seen: dict[bytes, tuple[str, Pair]] = {}
  for part, (pair, found) in zip(parts, opened(pairs, table, f'{dataset.name}: checked'), strict=True):
    if isinstance(found, ValueError):
      yield str(found)
      continue
    if notes is not None and (found.ids == IGNORE_LABEL).all():
      notes.append(f'{pair.mask}: {pair.id} is void in every pixel: it teaches nothing and measures nothing')
    if part not in scan.repeated:
      other_part, other = seen.setdefault(found.digest, (part, pair))
      if other is not pair:
        where = f'both in {part}' if part == other_part else f'that in {other_part}, this in {part}: a leak'
        yield f'{_name(pair)}: the same image as {_name(other)}, {where}'
  yield from _twice(scan)


def _name(pair: Pair) -> str:
  return f'{pair.image} ({pair.id})' if pair.read else str(pair.image)


def _twice(scan: Scan) -> Iterator[str]:
  """A line for every id that a part has twice, and every image with a namesake of another ending."""
  files = {path for found in scan.pairs.values() for pair in found for path in (pair.image, pair.mask)}
  for part, found in scan.pairs.items():
    first: dict[str, Pair] = {}
    for pair in found:
      if first.setdefault(pair.id, pair) is not pair:
        yield f'{pair.image}: {part} has {pair.id} already, {first[pair.id].image}'
  images_by_stem = {(p.image.parent, p.image.stem): p.image for found in scan.pairs.values() for p in found}
  for folder in dict.fromkeys(folder for folder, _ in images_by_stem):
    for path in sorted(folder.iterdir()):
      if path not in files and path.suffix.lower() in ENDINGS and (folder, path.stem) in images_by_stem:
        yield f'{path}: {images_by_stem[folder, path.stem].name} has the same name; which of them is meant?'


def size_warnings(dataset: spec.DatasetSpec, scan: Scan) -> list[str]:
  """A line for every split that is absent or not of the published size: legal, but not comparable."""
  lines = []
  for split, published in dataset.split_sizes.items():
    count = scan.count(split) if split in scan.splits else 0
    if count != published:
      known = f'; {count:,} is {dataset.other_sizes[count]}' if count in dataset.other_sizes else ''
      lines.append(f'{dataset.name}: warning: {split} has {count} images, published are {published}{known}')
  return lines
