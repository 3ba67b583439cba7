"""Batches for training and evaluation, read ahead by threads with Grain.

A training run's global batch t is a function of (seed, t) alone: of no thread count, no process count, and
not of where reading began. That is what makes a resumed run equal to an uninterrupted one with nothing saved.
"""

import sys
from collections.abc import Callable, Generator, Sequence
from typing import Any

import cv2
import grain
import numpy as np

from jseg.data import labels, spec
from jseg.typing import IGNORE_LABEL, Batch

Augmentation = Callable[[spec.Example, np.random.Generator], spec.Example]
Gather = Callable[[np.ndarray], np.ndarray]

# Filled-up sizes are multiples of this, so that few are compiled for; every network here halves five times.
STRIDE = 32


def train_batches(
  source: spec.Source,
  *,
  seed: int,
  batch_size: int,
  augment: Augmentation | None = None,
  start: int = 0,
  process_index: int = 0,
  process_count: int = 1,
  threads: int = 4,
  prefetch: int = 8,
) -> Generator[Batch, None, None]:
  """This process's rows of the global batches start, start + 1, ... without end.

  The whole split is shuffled anew for every epoch; a batch may span two epochs. Process p of n yields rows
  [p * b / n, (p + 1) * b / n) of every global batch of b rows.

  Args:
    source: the split; its images need one size after `augment`.
    seed: of order and augmentation, in [0, 2**32).
    batch_size: rows of the global batch; a multiple of `process_count`.
    augment: called with an example and a generator of its own; None leaves examples as they are.
    start: the first global batch to yield.
    process_index: in [0, process_count).
    process_count: processes that share each batch.
    threads: reading threads of this process; 0 reads in the caller.
    prefetch: examples read ahead.

  Returns:
    A generator; `close()` ends its threads. Each batch has image uint8 [b h w 3], labels uint8 [b h w], valid
    bool [b] (all True) and index int32 [b]; and weight float32 [b h w] and tags bool [b k] if the examples
    have them.

  Raises:
    ValueError: at once, if the numbers do not fit or the source is empty; later, from `next`, if an example
      cannot be read (naming it) or images differ in size.
  """
  rows = rows_of(source, batch_size, process_index, process_count)
  check_readers(threads, prefetch)
  if not 0 <= seed < 2**32:
    raise ValueError(f'data: seed {seed} is out of range; it lies in 0..{2**32 - 1}')
  if start < 0:
    raise ValueError(f'data: batch {start} cannot be the first; batches count from 0')
  examples = grain.MapDataset.source(Named(source)).seed(seed).shuffle().repeat(None)
  if augment is not None:
    examples = examples.random_map(_NamedAugment(augment))

  def position(i: int) -> int:
    return (start + i // rows) * batch_size + process_index * rows + i % rows

  return stream(Picked(examples, position, sys.maxsize), rows, threads, prefetch, _stack)


def eval_batches(
  source: spec.Source,
  *,
  batch_size: int,
  process_index: int = 0,
  process_count: int = 1,
  threads: int = 4,
  prefetch: int = 8,
  gather: Gather | None = None,
) -> Generator[Batch, None, None]:
  """This process's rows of the split in order: every example once over all processes.

  Each process yields the same number of batches. Rows past the end are padding: image 0, labels void, valid
  False, index -1, weight 0. If the images of a global batch differ in size, each is filled up at bottom and
  right, with its mean colour and void, to the largest height and width among them, rounded up to multiples of
  STRIDE.

  Args:
    source: the split.
    batch_size: rows of the global batch; a multiple of `process_count`.
    process_index: in [0, process_count).
    process_count: processes that share each batch.
    threads: reading threads of this process; 0 reads in the caller.
    prefetch: examples read ahead.
    gather: joins each process's sizes [rows 2] to those of the global batch; needed by several processes.

  Returns:
    A generator of batches as `train_batches` gives them; `close()` ends its threads.

  Raises:
    ValueError: as for `train_batches`, but sizes may differ.
  """
  rows = rows_of(source, batch_size, process_index, process_count)
  check_readers(threads, prefetch)
  batches = -(-len(source) // batch_size)

  def position(i: int) -> int:
    return i // rows * batch_size + process_index * rows + i % rows

  padded = _Padded(Named(source))
  examples = Picked(grain.MapDataset.source(padded), position, batches * rows)

  def stack(chosen: list[spec.Example]) -> Batch:
    return _stack(_filled(chosen, gather))

  return stream(examples, rows, threads, prefetch, stack)


def ids(source: spec.Source, index: Sequence[int] | np.ndarray) -> list[str]:
  """The ids of a batch's `index` for messages; padding rows are left out. Decodes each example again."""
  return [source[int(i)]['id'] for i in index if i >= 0]


class Named:
  """A source whose failures say, on one line, which example they are about."""

  def __init__(self, source: spec.Source):
    self._source = source

  def __len__(self) -> int:
    """The number of examples."""
    return len(self._source)

  def __getitem__(self, index: int) -> spec.Example:
    """Reads one example."""
    try:
      return self._source[index]
    except Exception as error:
      raise ValueError(f'data: example {index} cannot be read: {labels.first_line(error)}') from error


class _NamedAugment(grain.transforms.RandomMap):
  """An augmentation whose failures say which example they are about."""

  def __init__(self, augment: Augmentation):
    self._augment = augment

  def random_map(self, element: Any, rng: np.random.Generator) -> Any:
    try:
      return self._augment(element, rng)
    except Exception as error:
      raise ValueError(f'data: {element["id"]} cannot be augmented: {labels.first_line(error)}') from error


class _Padded:
  """A source extended without end by padding rows that look like its last example."""

  def __init__(self, source: spec.Source):
    self._source = source

  def __len__(self) -> int:
    return sys.maxsize

  def __getitem__(self, index: int) -> spec.Example:
    last = len(self._source) - 1
    if index <= last:
      return self._source[index]
    example = self._source[last]
    padding = {
      'image': np.zeros_like(example['image']),
      'labels': np.full_like(example['labels'], IGNORE_LABEL),
      'id': example['id'],
      'index': -1,
    }
    return padding | {name: np.zeros_like(example[name]) for name in ('weight', 'tags') if name in example}


class Picked(grain.MapDataset):
  """Element i is the parent's element position(i). After random_map, so that it keeps its global rng."""

  def __init__(self, parent: grain.MapDataset, position: Callable[[int], int], length: int):
    super().__init__(parent)
    self._position, self._length = position, length

  def __len__(self) -> int:
    """The number of elements."""
    return self._length

  def __getitem__(self, index):
    """The parent's element at the position."""
    return self._parent[self._position(index)]


def rows_of(source: spec.Source, batch_size: int, process_index: int, process_count: int) -> int:
  """Rows of a global batch that one process yields."""
  if len(source) == 0:
    raise ValueError('data: the split has no examples')
  if batch_size < 1 or batch_size % process_count:
    raise ValueError(
      f'data: a batch of {batch_size} cannot be shared by {process_count} processes; use a multiple of that'
    )
  if not 0 <= process_index < process_count:
    raise ValueError(f'data: process {process_index} of {process_count} does not exist')
  return batch_size // process_count


def check_readers(threads: int, prefetch: int) -> None:
  """Raises ValueError for numbers of threads or of examples read ahead that cannot be."""
  if threads < 0 or prefetch < 1:
    raise ValueError(f'data: {threads} threads and {prefetch} examples ahead; at least 0 and 1 are needed')


def stream(
  examples: grain.MapDataset,
  rows: int,
  threads: int,
  prefetch: int,
  stack: Callable[[list[spec.Example]], Batch],
) -> Generator[Batch, None, None]:
  """Reads `examples` ahead and stacks each `rows` of them. Its length is a multiple of `rows`."""
  cv2.setNumThreads(0)  # the threads here are the parallelism; OpenCV's own would fight them for cores
  iterator = iter(
    examples.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch))
  )
  try:
    for first in iterator:
      yield stack([first, *(next(iterator) for _ in range(rows - 1))])
  except ValueError as error:  # Grain appends lines of its own to the message
    raise ValueError(labels.first_line(error)) from error
  finally:
    iterator.close()


def _filled(examples: list[spec.Example], gather: Gather | None) -> list[spec.Example]:
  """The examples, filled up to one size if those of the global batch differ."""
  sizes = np.array([e['labels'].shape for e in examples], np.int32)
  everywhere = sizes if gather is None else gather(sizes)
  if (everywhere == everywhere[0]).all():
    return examples
  height, width = (int(n) for n in -(-everywhere.max(axis=0) // STRIDE) * STRIDE)
  filled = []
  for example in examples:
    h, w = example['labels'].shape
    image = np.empty((height, width, 3), np.uint8)
    image[:] = np.rint(cv2.mean(example['image'])[:3]).astype(np.uint8)
    truth = np.full((height, width), IGNORE_LABEL, np.uint8)
    image[:h, :w], truth[:h, :w] = example['image'], example['labels']
    more = {}
    if 'weight' in example:
      more['weight'] = np.zeros((height, width), np.float32)
      more['weight'][:h, :w] = example['weight']
    filled.append({**example, 'image': image, 'labels': truth, **more})
  return filled


def _stack(examples: list[spec.Example]) -> Batch:
  first = examples[0]
  for example in examples[1:]:
    if example['image'].shape != first['image'].shape:
      (h, w), (h2, w2) = first['image'].shape[:2], example['image'].shape[:2]
      raise ValueError(
        f'data: images of one batch differ in size: {first["id"]} is {h}x{w}, {example["id"]} is {h2}x{w2}'
        ' (height x width); set data.crop'
      )
  index = np.array([e['index'] for e in examples], np.int32)
  return {
    **{
      name: np.stack([e[name] for e in examples])
      for name in ('image', 'labels', 'weight', 'tags')
      if name in first
    },
    'valid': index >= 0,
    'index': index,
  }
