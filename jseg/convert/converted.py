"""Converted weights on disk: a folder with weights.npz, arrays by our names, and weights.json, their record.

weights.npz   'params/encoder/conv1/kernel', 'model_state/batch_stats/encoder/norm1/bn/mean', ...
weights.json  source, fills, preprocess ('' where none is known), file, sha256 (of that file), date, jseg,
              arrays {name: shape}
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import files

ARRAYS, RECORD = 'weights.npz', 'weights.json'


def flatten(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """{'params': ..., 'batch_stats': ...} by the names that checkpoints use."""
  params = _flat('params', variables['params'])
  return params | {
    name: array
    for kind, tree in variables.items()
    if kind != 'params'
    for name, array in _flat(f'model_state/{kind}', tree).items()
  }


def _flat(name: str, node: Any) -> dict[str, np.ndarray]:
  if not isinstance(node, Mapping):
    return {name: node}
  return {path: leaf for key, child in node.items() for path, leaf in _flat(f'{name}/{key}', child).items()}


def write(folder: pathlib.Path, arrays: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> None:
  """Writes arrays by our names and their record.

  Raises:
    OSError: the folder cannot be written to.
  """
  with (folder / ARRAYS).open('wb') as file:
    np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]  # it takes them for its own options
  listing = {name: list(array.shape) for name, array in arrays.items()}
  (folder / RECORD).write_text(json.dumps({**record, 'arrays': listing}, indent=1) + '\n')


def find(path: pathlib.Path) -> pathlib.Path | None:
  """The folder that `write` wrote to, if `path` is one or the arrays in one; None otherwise."""
  if (path / ARRAYS).is_file():
    return path
  return path.parent if path.name == ARRAYS and (path.parent / RECORD).is_file() else None


def read(folder: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """The arrays by our names, and the record.

  Raises:
    ValueError: a file is missing or damaged, or the two do not belong together.
  """
  arrays = files.read(folder / ARRAYS)
  try:
    record = json.loads((folder / RECORD).read_text())
    listing = {name: tuple(shape) for name, shape in record['arrays'].items()}
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(f'{folder / RECORD} cannot be read ({error}); convert the weights again') from error
  if listing != {name: array.shape for name, array in arrays.items()}:
    raise ValueError(
      f'{folder / RECORD} is not the record of the {ARRAYS} beside it; convert the weights again'
    )
  return arrays, record
