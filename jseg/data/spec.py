"""What a dataset is: its classes, colours, sizes and frequencies, and what a reader of it gives."""

import dataclasses
import math
import os
import pathlib
import statistics
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

# Rules of `DatasetSpec.class_weights` that compute, from the pixels of each class.
RULES = ('median_frequency', 'enet', 'enet_encoder', 'linknet')

Example = dict[str, Any]  # image uint8 [h w 3] RGB, labels uint8 [h w] (void 255), id str, index int


@runtime_checkable
class Source(Protocol):
  """One split, by random access: `source[i]` is an example, for i in [0, len(source))."""

  def __len__(self) -> int:
    """The number of examples."""
    ...

  def __getitem__(self, index: int) -> Example:
    """Reads and decodes one example; a file that cannot be read is a ValueError naming it."""
    ...


@runtime_checkable
class Counted(Source, Protocol):
  """A source that knows what its labels hold without reading them."""

  @property
  def counts(self) -> np.ndarray:
    """Pixels of each train id in every image, int64 [n k+1], void last."""
    ...


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
  """The facts of a dataset under one protocol. Figures are of the training split.

  Attributes:
    name: the file in jseg/data/builders.
    protocol: what results are filed under, e.g. 'camvid11': classes, void and resolution.
    classes: names by train id.
    palette: RGB 0..255 by train id, for pictures.
    raw_void: ids in the owners' files that mean void.
    split_sizes: examples by split.
    other_sizes: other figures that go round, and what each of them counts.
    class_pixels: training pixels of each class; empty if not counted.
    class_image_pixels: pixels (void included) of the training images where the class occurs.
    void_pixels: training pixels that are void.
    weights: published lists of class weights by name.
    source: where the figures above come from.
    owners: what to get from where, and under which conditions; empty if nothing has to be fetched.
    folder: what the folder is called that is the source then.
    version: of the way it is prepared; another one makes a new copy.
    train_ids: raw id -> train id; empty: the owners' files count the classes 0, 1, 2, ... themselves.
    owner_ids: by train id, the id that a prediction is written with for the owners; empty: train_ids read
      backwards.
    owner_palette: RGB by the owners' id, if their masks are palette or colour files; empty: they are grey.
    result_name: (ending of an image's name, what stands in its place in the name of a prediction for them).
    builder: the file in jseg/data/builders, where `name` is only what the copy is called; empty: `name`.
  """

  name: str
  protocol: str
  classes: tuple[str, ...]
  palette: tuple[tuple[int, int, int], ...]
  raw_void: tuple[int, ...]
  split_sizes: Mapping[str, int]
  class_pixels: tuple[int, ...] = ()
  class_image_pixels: tuple[int, ...] = ()
  void_pixels: int = 0
  weights: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
  source: str = ''
  owners: str = ''
  folder: str = ''
  version: str = '1.0.0'
  train_ids: Mapping[int, int] = dataclasses.field(default_factory=dict)
  owner_ids: tuple[int, ...] = ()
  owner_palette: tuple[tuple[int, int, int], ...] = ()
  result_name: tuple[str, str] = ('', '')
  builder: str = ''
  other_sizes: Mapping[int, str] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    counts = {'class_pixels': self.class_pixels, 'class_image_pixels': self.class_image_pixels}
    optional = counts | {'owner_ids': self.owner_ids}
    lists = {'palette': self.palette, **{k: v for k, v in optional.items() if v}, **self.weights}
    for name, values in lists.items():
      if len(values) != self.num_classes:
        raise ValueError(f'{self.name}: {name} has {len(values)} entries for {self.num_classes} classes')

  @property
  def num_classes(self) -> int:
    """Classes that are learned and measured; void is none of them."""
    return len(self.classes)

  @property
  def instructions(self) -> str:
    """Where to get it, what to type then, and what runs without it; empty if nothing has to be fetched."""
    if not self.owners:
      return ''
    return (
      f'get {self.owners}, then type: python -m jseg.dataset --verb=prepare '
      f'--name={self.builder_name} --source=PATH/TO/{self.folder} '
      '(that folder, or the archives as they come); '
      '--config=CONFIG.py:quick runs now, on drawn shapes'
    )

  def written_ids(self) -> tuple[int, ...]:
    """By train id, the id in the owners' files.

    Raises:
      ValueError: several of their ids are one class, and `owner_ids` does not say which stands for it.
    """
    if self.owner_ids or not self.train_ids:
      return self.owner_ids or tuple(range(self.num_classes))
    found = {train: raw for raw, train in self.train_ids.items()}
    if len(found) != len(self.train_ids):
      raise ValueError(f"{self.name}: several of its owners' ids are one class, none of which stands for it")
    return tuple(found[train] for train in range(self.num_classes))

  @property
  def builder_name(self) -> str:
    """What --name= and data.name call it; `name` is that of the copy."""
    return self.builder or self.name

  def class_weights(self, rule: str) -> tuple[float, ...]:
    """Loss weights by train id, from the training pixels.

    Args:
      rule: 'none': all 1. 'median_frequency': median(f) / f with f = pixels of the class / pixels of the
        images where it occurs (Eigen and Fergus 2015, arXiv:1411.4734, as SegNet uses it). 'enet':
        1 / ln(1.02 + p), p = share of all pixels, void included (ENet, arXiv:1606.02147, section 5.2).
        'enet_encoder': the same with 1.2, as ENet's published code weights its encoder stage. 'linknet':
        1 / ln(1.02 + pixels / pixels of the commonest class), as LinkNet's published code has it.
        Or the name of a published list in `weights`.

    Raises:
      ValueError: no such rule, or the pixels it needs were not counted.
    """
    if rule == 'none':
      return (1.0,) * self.num_classes
    if rule in self.weights:
      return tuple(self.weights[rule])
    if rule not in RULES:
      known = ', '.join(['none', *RULES, *self.weights])
      raise ValueError(f"class weights '{rule}' are unknown for {self.name}; there are: {known}")
    if not self.class_pixels or 0 in self.class_pixels:
      missing = self.classes[self.class_pixels.index(0)] if self.class_pixels else 'every class'
      raise ValueError(f"class weights '{rule}' need pixel counts; {self.name} has none for {missing}")
    if rule == 'median_frequency':
      return self._median_frequency()
    if rule == 'linknet':
      return self._log_weights(1.02, max(*self.class_pixels, self.void_pixels))
    total = sum(self.class_pixels) + self.void_pixels
    return self._log_weights(1.02 if rule == 'enet' else 1.2, total)

  def _median_frequency(self) -> tuple[float, ...]:
    frequencies = [n / d for n, d in zip(self.class_pixels, self.class_image_pixels, strict=True)]
    median = statistics.median(frequencies)
    return tuple(median / f for f in frequencies)

  def _log_weights(self, offset: float, total: int) -> tuple[float, ...]:
    return tuple(1.0 / math.log(offset + n / total) for n in self.class_pixels)


def by_classes(*protocols: DatasetSpec, classes: int, named: int = 0) -> DatasetSpec:
  """That one of a dataset's protocols which has so many classes; the first one may be `named` otherwise.

  Raises:
    ValueError: there is none.
  """
  numbers = [found.num_classes for found in protocols]
  numbers[0] = named or numbers[0]
  if classes not in numbers:
    known = ', '.join(map(str, numbers))
    raise ValueError(f'{protocols[0].name} has no {classes} classes; there are: {known}')
  return protocols[numbers.index(classes)]


_BY_NUMBER = ('train_ids', 'other_sizes')  # JSON's keys are texts


def to_json(dataset: DatasetSpec) -> dict[str, Any]:
  """A specification as values that JSON can hold; `from_json` reads them."""
  return dataclasses.asdict(dataset) | {key: list(getattr(dataset, key).items()) for key in _BY_NUMBER}


def from_json(values: Mapping[str, Any]) -> DatasetSpec:
  """What `to_json` gave.

  Raises:
    ValueError: it is something else.
  """

  def tuples(value: Any) -> Any:
    if isinstance(value, dict):
      return {key: tuples(item) for key, item in value.items()}
    return tuple(tuples(item) for item in value) if isinstance(value, list) else value

  try:
    fields = tuples(dict(values))
    return DatasetSpec(**fields | {key: dict(fields[key]) for key in _BY_NUMBER})
  except (TypeError, KeyError, ValueError) as error:
    raise ValueError(f'not the specification of a dataset ({error})') from error


def data_dir(directory: str = '') -> pathlib.Path:
  """Where prepared copies live: the argument, else $JSEG_DATA, else ~/.cache/jseg."""
  chosen = directory or os.environ.get('JSEG_DATA', '') or '~/.cache/jseg'
  return pathlib.Path(chosen).expanduser().absolute()
