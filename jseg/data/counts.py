"""How many pixels of each class every image of a split has: a table [n k+1], void in the last column.

A prepared copy keeps the tables of its parts beside its records. A copy made before there were any gets them
when they are first asked for, from its own masks: nothing has to be prepared again.
"""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jseg.data import labels, progress, spec
from jseg.typing import IGNORE_LABEL

_REMEDY = 'delete it, and the masks are counted again'


def of_labels(truth: np.ndarray, num_classes: int, name: str) -> np.ndarray:
  """Pixels of each train id in labels uint8 [h w], int64 [k+1], void last.

  Raises:
    ValueError: an id that is neither a class nor void, naming `name`.
  """
  bins = np.bincount(truth.ravel(), minlength=256)
  if bins[num_classes:IGNORE_LABEL].any():
    label = num_classes + int(np.flatnonzero(bins[num_classes:IGNORE_LABEL])[0])
    raise ValueError(
      f'{name}: label {label} in {bins[label]} pixels is neither a class 0..{num_classes - 1} nor void 255'
    )
  return np.append(bins[:num_classes], bins[IGNORE_LABEL]).astype(np.int64)


def of(source: spec.Source, num_classes: int) -> np.ndarray:
  """The table of any source, int64 [n k+1]: its own `counts` if it has them, else read from its labels.

  Raises:
    ValueError: an example cannot be read, or holds an id that is no class.
  """
  return source.counts if isinstance(source, spec.Counted) else read(source, num_classes)


def read(source: spec.Source, num_classes: int) -> np.ndarray:
  """The table by reading every example, int64 [n k+1]; says on stderr how far it is."""
  rows = []
  for i in progress.over(range(len(source)), 'pixels of each class: read'):
    example = source[i]
    rows.append(of_labels(example['labels'], num_classes, str(example['id'])))
  return np.stack(rows)


def figures(table: np.ndarray) -> dict[str, Any]:
  """A table's sums, as the fields of a DatasetSpec that bear these names."""
  pixels = table[:, :-1]
  image_pixels = (pixels > 0) * table.sum(axis=1, keepdims=True)
  return {
    'class_pixels': tuple(int(n) for n in pixels.sum(axis=0)),
    'class_image_pixels': tuple(int(n) for n in image_pixels.sum(axis=0)),
    'void_pixels': int(table[:, -1].sum()),
  }


def remapped(table: np.ndarray, train_ids: np.ndarray) -> np.ndarray:
  """The table of other classes, int64 [n j+1].

  Args:
    table: of the stored ones, [n k+1].
    train_ids: those of the stored ones, as labels.remap takes them, [256].

  Raises:
    ValueError: pixels of a stored id for which there is none.
  """
  stored = [*range(table.shape[1] - 1), IGNORE_LABEL]
  classes = int(train_ids[train_ids != IGNORE_LABEL].max()) + 1
  result = np.zeros((len(table), classes + 1), np.int64)
  for column, old in zip(table.T, stored, strict=True):
    new = int(train_ids[old])
    if new == labels.UNKNOWN and column.any():
      raise ValueError(f'stored label {old} in {column.sum()} pixels has no train id')
    if new != labels.UNKNOWN:
      result[:, classes if new == IGNORE_LABEL else new] += column
  return result


def kept(
  folder: pathlib.Path,
  part: str,
  *,
  size: int,
  num_classes: int,
  count: Callable[[], np.ndarray],
  name: str = 'counts',
) -> np.ndarray:
  """The table of a part that a prepared copy keeps, int64 [n k+1]; made by `count` if it keeps none yet.

  `name` is that of the table: there may be others than this one of pixels, see jseg.data.extents.

  Raises:
    ValueError: the file is damaged.
  """
  path = _path(folder, part, name)
  try:
    table = np.load(path)
  except FileNotFoundError:
    table = count()
    keep(folder, part, table, name)
  except (OSError, ValueError, EOFError) as error:
    raise ValueError(f'{path}: not a readable table ({labels.first_line(error)}); {_REMEDY}') from error
  if table.shape != (size, num_classes + 1):
    raise ValueError(f'{path}: the table is {list(table.shape)}, not [{size}, {num_classes + 1}]; {_REMEDY}')
  return table.astype(np.int64)


def keep(folder: pathlib.Path, part: str, table: np.ndarray, name: str = 'counts') -> None:
  """Writes a part's table, whole or not at all; a folder that cannot be written to stays without."""
  draft = folder / f'.{name}-{part}.{os.getpid()}'
  try:
    with open(draft, 'wb') as file:
      np.save(file, table.astype(np.int32))  # no image has 2**31 pixels
    draft.replace(_path(folder, part, name))
  except OSError:
    draft.unlink(missing_ok=True)


def _path(folder: pathlib.Path, part: str, name: str) -> pathlib.Path:
  return folder / f'{name}-{part}.npy'
