"""Prepared copies: made once from what the owners give, complete or not there at all, and read at random.

A copy is a TFDS folder of ArrayRecord files, `<directory>/<name>/<version>`. It counts as prepared when
`prepared.json` stands in `<directory>/<name>`: written last, before the whole folder is renamed into place.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from jseg.data import records, spec, verify

STAMP = 'prepared.json'


def open_split(
  dataset: spec.DatasetSpec,
  split: str,
  *,
  splits: Sequence[str],
  scan: Callable[[str], verify.Scan],
  source: str,
  directory: str,
  table: np.ndarray | None = None,
  objects: Callable[[str], spec.Example] | None = None,
) -> records.PreparedSource:
  """A split of a dataset's prepared copy, which is made first if need be; what builders' open_split does.

  Args:
    dataset: its spec.
    split: which one.
    splits: all that exist.
    scan: lists a source folder.
    source: the owners' folder; empty: use the copy that is prepared.
    directory: where the copy lives; empty: $JSEG_DATA, else ~/.cache/jseg.
    table: other train ids than the stored ones, see records.PreparedSource.
    objects: what an example holds of its instances, see there too.

  Raises:
    ValueError: unknown split, nothing prepared, or a fault in the source, naming the file.
  """
  if split not in splits:
    raise ValueError(f"split '{split}' is unknown for {dataset.name}; there are: {', '.join(splits)}")
  folder, parts = ensure(dataset, source=source, directory=directory, scan=scan)
  if split not in parts:
    raise ValueError(
      f"{dataset.name}: split '{split}' was not among what {folder} was made from; {dataset.instructions}"
    )
  return records.PreparedSource(folder, parts[split], dataset.num_classes, table, objects)


def ensure(
  dataset: spec.DatasetSpec, *, source: str, directory: str, scan: Callable[[str], verify.Scan]
) -> tuple[pathlib.Path, dict[str, str]]:
  """A dataset's prepared copy, made first if `source` asks for it and it is not there yet.

  Args:
    dataset: its spec.
    source: the owners' folder; empty: whatever copy there is.
    directory: where copies live, as in `spec.data_dir`.
    scan: lists a source folder.

  Returns:
    Its TFDS folder, and the TFDS split (or several joined by '+') of each split.

  Raises:
    ValueError: no source and no copy, or something is wrong with the source.
  """
  root = spec.data_dir(directory)
  home = root / dataset.name
  folder = home / dataset.version
  if not source:
    stamp = _stamp(home)
    if stamp['version'] != dataset.version or not stamp['splits']:
      raise ValueError(f'{dataset.name} is not prepared in {root}: {dataset.instructions}')
    return folder, stamp['splits']
  found = scan(source)
  splits = dict(found.splits)
  wanted = {'version': dataset.version, 'digest': digest(found, source), 'splits': splits}
  if _matches(home, wanted):
    return folder, splits
  root.mkdir(parents=True, exist_ok=True)
  with lock(root / f'.{dataset.name}.lock', dataset.name):
    if not _matches(home, wanted):  # else another process made it while this one waited
      origin = {'source': str(pathlib.Path(source).expanduser().absolute()), 'note': found.note}
      _make(dataset, found, wanted | origin, home)
  return folder, splits


def note(name: str, directory: str) -> str:
  """What the copy of this name keeps as its Scan's note; '' if there is none."""
  return _stamp(spec.data_dir(directory) / name)['note']


def _make(dataset: spec.DatasetSpec, found: verify.Scan, stamp: dict[str, Any], home: pathlib.Path) -> None:
  """Builds beside `home` and renames; under the lock, so leftovers are those of killed processes."""
  if found.problems:
    more = f' (and {len(found.problems) - 1} more problems)' if len(found.problems) > 1 else ''
    raise ValueError(f'{found.problems[0]}{more}')
  for line in verify.size_warnings(dataset, found):
    print(line, file=sys.stderr)
  partial, old = (home.with_name(f'.{dataset.name}.{kind}') for kind in ('partial', 'old'))
  for leftover in (partial, old):
    shutil.rmtree(leftover, ignore_errors=True)
  try:
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere):
      records.write(dataset, found, partial)
    (partial / dataset.name / STAMP).write_text(json.dumps(stamp, indent=1))
    if home.exists():
      home.rename(old)
    (partial / dataset.name).rename(home)
  finally:
    for leftover in (partial, old):
      shutil.rmtree(leftover, ignore_errors=True)


def digest(found: verify.Scan, source: str) -> str:
  """A hash over names, sizes and modification times of the files a scan found, relative to the source."""
  root = pathlib.Path(source).expanduser().absolute()
  lines = [f'{split} {pair.id}' for split, pairs in found.pairs.items() for pair in pairs]
  lines += sorted(found.problems)
  for path in dict.fromkeys(_files(found)):
    state = path.stat()
    lines.append(f'{path.relative_to(root)} {state.st_size} {state.st_mtime_ns}')
  return hashlib.sha256('\n'.join(lines).encode()).hexdigest()


def _files(found: verify.Scan) -> Iterable[pathlib.Path]:
  yield from found.others
  for pairs in found.pairs.values():
    for pair in pairs:
      yield pair.image
      yield pair.mask


def _stamp(home: pathlib.Path) -> dict[str, Any]:
  nothing = {'version': '', 'digest': '', 'splits': {}, 'note': ''}
  try:
    return nothing | json.loads((home / STAMP).read_text())
  except (OSError, ValueError):  # not there, or not ours
    return nothing


def _matches(home: pathlib.Path, wanted: dict[str, Any]) -> bool:
  stamp = _stamp(home)
  return all(stamp[key] == value for key, value in wanted.items())


@contextlib.contextmanager
def lock(path: pathlib.Path, name: str) -> Iterator[None]:
  """Holds a file lock; the system drops it when the process ends, however it ends."""
  with open(path, 'w') as handle:
    try:
      fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      print(f'{name}: waiting for another process that prepares it', file=sys.stderr, flush=True)
      fcntl.flock(handle, fcntl.LOCK_EX)
    yield
