"""Converted weights on disk: a folder with weights.npz, arrays by our names, and weights.json, their record.

weights.npz   'params/encoder/conv1/kernel', 'model_state/batch_stats/encoder/norm1/bn/mean', ...
weights.json  source, fills, preprocess ('' where none is known), file, sha256 (of that file), date, jseg,
              arrays {name: shape, as '7x7x3x64'}
"""

import datetime
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert import files, hub, sources

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


def _shapes(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
  return {name: 'x'.join(map(str, array.shape)) for name, array in arrays.items()}


def load(weights: str, source: str = '') -> tuple[pathlib.Path, sources.Source, dict[str, np.ndarray]]:
  """Weights that others trained: the file, whose they are, and the arrays by our names.

  Args:
    weights: a file, see files.read, or hf:<owner>/<repo>[/<file>].
    source: whose they are; '': the names decide.

  Raises:
    ValueError: they cannot be read, or are of another source or of none.
  """
  path = hub.fetch(weights) if weights.startswith(hub.PREFIX) else pathlib.Path(weights).expanduser()
  arrays = files.read(path)
  try:
    found, variables = sources.convert(arrays, source)
  except ValueError as error:
    raise ValueError(f'{weights}: {error}') from error
  return path, found, flatten(variables)


def make(weights: str, folder: pathlib.Path, *, source: str, version: str) -> list[str]:
  """Loads and writes to a folder that exists; returns a line for each array and a summary.

  Raises:
    ValueError: as `load`.
    OSError: the folder cannot be written to.
  """
  path, found, arrays = load(weights, source)
  with path.open('rb') as file:
    digest = hashlib.file_digest(file, 'sha256').hexdigest()
  record = {
    'source': found.names[0],
    'fills': found.fills,
    'preprocess': found.preprocess,
    'file': weights,
    'sha256': digest,
    'date': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
    'jseg': version,
    'arrays': _shapes(arrays),
  }
  with (folder / ARRAYS).open('wb') as file:
    np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]  # it takes them for its own options
  (folder / RECORD).write_text(json.dumps(record, indent=1) + '\n')
  scalars = sum(array.size for name, array in arrays.items() if name.startswith('params/'))
  expected = f"task.preprocess='{found.preprocess}'" if found.preprocess else 'not known'
  return [
    *(f'  {name} {array.shape}' for name, array in arrays.items()),
    f'{weights}: {found.names[0]}, {len(arrays)} arrays, {scalars:,} parameters',
    f'fills {found.fills}; input they expect: {expected}',
  ]


def find(path: pathlib.Path) -> pathlib.Path | None:
  """The folder that `make` wrote to, if `path` is one or the arrays in one; None otherwise."""
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
    listing, _, _ = dict(record['arrays']), record['source'], record['preprocess']
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ValueError(f'{folder / RECORD} cannot be read ({error}); convert the weights again') from error
  if listing != _shapes(arrays):
    raise ValueError(
      f'{folder / RECORD} is not the record of the {ARRAYS} beside it; convert the weights again'
    )
  return arrays, record
