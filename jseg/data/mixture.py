"""Batches of images with masks and, beside them, of images without: for learning from both in one step."""

import functools
import json
import pathlib
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np

from jseg.data import counts, pipeline, spec, subsets
from jseg.typing import IGNORE_LABEL, Batch

REST = 'rest_'  # what the names of the second part's arrays begin with in a batch
_OTHER = 0x9E3779B9  # added to the seed of the second part, so that its draws are not those of the first


class Mixture:
  """Two parts of a split that a batch takes its rows from; as a Source it is the first.

  Args:
    labelled: images with masks.
    rest: images whose labels are void, maybe with tags bool [k].
    rest_batch_size: rows of the rest beside each batch of all processes.

  Raises:
    ValueError: a part is empty, or the size is below 1.
  """

  def __init__(self, labelled: spec.Source, rest: spec.Source, rest_batch_size: int):
    if not len(labelled):
      raise ValueError('mixture: no labelled image; at least one needs its mask')
    if not len(rest):
      raise ValueError(
        'mixture: every image keeps its mask, so that nothing is left for the rest; give data.subset less, '
        'or set data.rest_batch_size to 0'
      )
    if rest_batch_size < 1:
      raise ValueError(f'mixture: {rest_batch_size} images of the rest in a batch; at least 1 is needed')
    self.labelled, self.rest, self.rest_batch_size = labelled, rest, rest_batch_size

  def __len__(self) -> int:
    """The number of images with masks."""
    return len(self.labelled)

  def __getitem__(self, index: int) -> spec.Example:
    """One of the images with masks.

    Raises:
      ValueError: it cannot be read, or all of its labels are void.
    """
    example = self.labelled[index]
    if (example['labels'] == IGNORE_LABEL).all():
      raise ValueError(f'mixture: {example["id"]} counts as labelled, but all of its mask is void')
    return example

  @functools.cached_property
  def counts(self) -> np.ndarray:
    """As spec.Counted, of the images with masks."""
    assert isinstance(self.labelled, spec.Counted)
    return self.labelled.counts


class Tagged:
  """A source whose images get tags from a table in place of, or beside, masks; a Source.

  Args:
    source: of images.
    table: id -> names of the classes that the image has; the background need not be named. An image that is
      not in it has the tags of its mask.
    classes: names by train id.

  Raises:
    ValueError: an id names something that is no class, or nothing at all.
  """

  def __init__(self, source: spec.Source, table: Mapping[str, Sequence[str]], classes: Sequence[str]):
    self._source, self._classes = source, tuple(classes)
    self._table = {name: _tags(name, words, self._classes) for name, words in table.items()}

  def __len__(self) -> int:
    """The number of examples."""
    return len(self._source)

  def __getitem__(self, index: int) -> spec.Example:
    """An example with its tags, bool [k].

    Raises:
      ValueError: it cannot be read, has no tags, or has a mask that they contradict.
    """
    example = self._source[index]
    name = str(example['id'])
    row = counts.of_labels(example['labels'], len(self._classes), name)
    if name in self._table:
      tags = self._table[name]
      if row[:-1].any():
        _agree(name, tags, row, self._classes)
    elif row[:-1].any():
      tags = subsets.tags(row)
    else:
      raise ValueError(f'tags: {name} has neither mask nor tags; name its classes, or leave the image out')
    return {**example, 'tags': tags}

  @functools.cached_property
  def counts(self) -> np.ndarray:
    """As spec.Counted: what the masks hold, tags aside."""
    return counts.of(self._source, len(self._classes))


def read_tags(path: str) -> dict[str, list[str]]:
  """The table of a JSON file {id: [class, ...]}.

  Raises:
    ValueError: there is no such file, or it holds something else.
  """
  try:
    table: Any = json.loads(pathlib.Path(path).expanduser().read_text())
  except (OSError, ValueError) as error:
    raise ValueError(f"data.tags '{path}' cannot be read: {error}") from None
  right = isinstance(table, dict) and all(
    isinstance(words, list) and all(isinstance(word, str) for word in words) for words in table.values()
  )
  if not right:
    raise ValueError(f"data.tags '{path}' is not {{id: [class, ...], ...}}, the classes named by strings")
  return table


def train_batches(
  source: spec.Source, *, seed: int, batch_size: int, **options
) -> Generator[Batch, None, None]:
  """As pipeline.train_batches; of a Mixture each batch has the rest's rows, too, all names with REST before.

  Batch t of the whole is a function of (seed, t) alone, since batch t of either part is. The rest has no
  labels: void says no more.

  Raises:
    ValueError: as pipeline.train_batches; or images of the two parts differ in size.
  """
  if not isinstance(source, Mixture):
    return pipeline.train_batches(source, seed=seed, batch_size=batch_size, **options)
  first = pipeline.train_batches(source, seed=seed, batch_size=batch_size, **options)
  other = pipeline.train_batches(
    source.rest, seed=(seed + _OTHER) % 2**32, batch_size=source.rest_batch_size, **options
  )
  return _joined(first, other)


def beside(rest: Batch) -> Batch:
  """A batch of images without masks, as it stands in one with masks: named after REST, without labels."""
  return {f'{REST}{name}': value for name, value in rest.items() if name != 'labels'}


def _joined(
  first: Generator[Batch, None, None], other: Generator[Batch, None, None]
) -> Generator[Batch, None, None]:
  try:
    for batch, rest in zip(first, other, strict=True):
      sizes = batch['image'].shape[1:3], rest['image'].shape[1:3]
      if sizes[0] != sizes[1]:
        (h, w), (h2, w2) = sizes
        raise ValueError(f'mixture: images with masks are {h}x{w}, those without {h2}x{w2}; set data.crop')
      yield batch | beside(rest)
  finally:
    first.close()
    other.close()


def _tags(name: str, words: Sequence[str], classes: tuple[str, ...]) -> np.ndarray:
  """bool [k]; a class called 'background' is always there."""
  unknown = [word for word in words if word not in classes]
  if unknown or not words:
    what = f"'{unknown[0]}', which is no class" if unknown else 'nothing'
    raise ValueError(f'tags: {name} is tagged with {what}; there are: {", ".join(classes)}')
  return np.array([c in words or c == 'background' for c in classes])


def _agree(name: str, tags: np.ndarray, row: np.ndarray, classes: tuple[str, ...]) -> None:
  """Raises ValueError unless mask and tags name the same classes; a class may hide where the mask is void."""
  shown = row[:-1] > 0
  untold = [c for c, here, told in zip(classes, shown, tags, strict=True) if here and not told]
  absent = [
    c for c, here, told in zip(classes, shown, tags, strict=True)
    if told and not here and c != 'background' and not row[-1]
  ]  # fmt: skip
  if untold or absent:
    what = (
      f"has '{untold[0]}', which they do not name" if untold else f"has no '{absent[0]}', which they name"
    )
    raise ValueError(f'tags: those of {name} contradict its mask: it {what}; one of the two is wrong')
