"""Prepared copies: made once from what the owners give, complete or not there at all, and read at random.

A copy is a TFDS folder of ArrayRecord files, `<directory>/<name>/<version>`. It counts as prepared when
`prepared.json` stands in `<directory>/<name>`: written last, before the whole folder is renamed into place.

A preparation that was killed starts anew. To go on, each part would need its own stamp against a source that
may have changed meanwhile, and minutes are all that is saved: see README for how long a copy takes.
"""

import contextlib
import contextvars
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jseg.data import archives, layout, progress, records, spec, verify

STAMP = 'prepared.json'
_SESSION: contextvars.ContextVar['_Session | None'] = contextvars.ContextVar('session', default=None)


class _Session(NamedTuple):
  """A policy, and the sources (name, source, directory) whose copies are known to be theirs."""

  policy: verify.Policy
  known: set[tuple[str, str, str]]


@contextlib.contextmanager
def session(policy: verify.Policy) -> Iterator[None]:
  """Inside, copies are made by this policy, and a source is listed once, however many splits are opened.

  So that not every builder's open_split has to hand on what only concerns making a copy. A session inside one
  of the same policy is part of it.
  """
  outer = _SESSION.get()
  known = outer.known if outer is not None and outer.policy == policy else set()
  token = _SESSION.set(_Session(policy, known))
  try:
    yield
  finally:
    _SESSION.reset(token)


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
    source: the owners' folder, or their archives; empty: use the copy that is prepared.
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
  for line in left_out(folder):
    print(line, file=sys.stderr)
  return records.PreparedSource(folder, parts[split], dataset.num_classes, table, objects)


def left_out(folder: pathlib.Path) -> list[str]:
  """A line if faulty pairs were left out of the copy in a TFDS folder when it was made; else nothing."""
  stamp = _stamp(folder.parent)
  count, names = len(stamp['left_out']), folder.parent / STAMP
  line = f'{folder.parent.name}: warning: {count} of {stamp["of"]} pairs were left out as faulty; see {names}'
  return [line] if count else []


def ensure(
  dataset: spec.DatasetSpec,
  *,
  source: str,
  directory: str,
  scan: Callable[[str], verify.Scan],
) -> tuple[pathlib.Path, dict[str, str]]:
  """A dataset's prepared copy, made first if `source` asks for it and it is not there yet.

  Args:
    dataset: its spec.
    source: the owners' folder, or their archives; empty: whatever copy there is.
    directory: where copies live, as in `spec.data_dir`.
    scan: lists a source folder.

  What happens to faulty pairs says the `session`; outside one, whatever copy of this source there is serves,
  and a new one stops at the first fault.

  Returns:
    Its TFDS folder, and the TFDS split (or several joined by '+') of each split.

  Raises:
    ValueError: no source and no copy, something is wrong with the source, or there is no room.
  """
  root = spec.data_dir(directory)
  home = root / dataset.name
  folder = home / dataset.version
  if not source:
    stamp = _stamp(home)
    if stamp['version'] != dataset.version or not stamp['splits']:
      raise ValueError(f'{dataset.name} is not prepared in {root}: {dataset.instructions}')
    return folder, stamp['splits']
  open_session = _SESSION.get()
  policy = open_session.policy if open_session else None
  key = (dataset.name, source, directory)
  if open_session and key in open_session.known:
    return folder, _stamp(home)['splits']
  found, packed = layout.look(scan, source)
  wanted: dict[str, Any] = {'version': dataset.version}
  if found is None:
    wanted |= {'digest': archives.digest(packed)}
  else:
    wanted |= {'digest': digest(found, source), 'splits': dict(found.splits)}
  if not _matches(home, wanted, policy):
    if found is not None:
      _refuse(found, policy)  # before anything is written
    with _locked(root, dataset.name):
      if not _matches(home, wanted, policy):  # else another process made it while this one waited
        with _readable(dataset, scan, found, packed, root) as (inside, show):
          _refuse(inside, policy)
          origin = {'source': str(pathlib.Path(source).expanduser().absolute()), 'note': inside.note}
          faults = verify.Faults(dataset, inside, policy or verify.Policy(), show)
          _make(dataset, inside, wanted | {'splits': dict(inside.splits)} | origin, home, faults)
  if open_session:
    open_session.known.add(key)
  return folder, _stamp(home)['splits']


@contextlib.contextmanager
def scanned(
  dataset: spec.DatasetSpec, *, source: str, directory: str, scan: Callable[[str], verify.Scan]
) -> Iterator[tuple[verify.Scan, Callable[[str], str]]]:
  """The scan of a source; its files can be read inside only, since archives are unpacked for as long.

  Beside it a function that puts the archive's name into a line that names an unpacked file.

  Args:
    dataset: its spec.
    source: the owners' folder, or their archives.
    directory: where copies live, beside which archives are unpacked.
    scan: lists a source folder.

  Raises:
    ValueError: this is not the dataset, or an archive is broken or does not fit on the disk.
  """
  found, packed = layout.look(scan, source)
  root = spec.data_dir(directory)
  # What is only looked at needs no lock, which would make a folder.
  lock_needed = _locked(root, dataset.name) if found is None else contextlib.nullcontext()
  with lock_needed, _readable(dataset, scan, found, packed, root) as both:
    yield both


def _readable(
  dataset: spec.DatasetSpec,
  scan: Callable[[str], verify.Scan],
  found: verify.Scan | None,
  packed: Sequence[pathlib.Path],
  root: pathlib.Path,
) -> contextlib.AbstractContextManager[tuple[verify.Scan, Callable[[str], str]]]:
  """Inside, the files of what `layout.look` found can be read; under the lock if they are packed."""
  if found is None:
    return layout.unpacked(dataset, scan, packed, root)
  return contextlib.nullcontext((found, str))


def note(name: str, directory: str) -> str:
  """What the copy of this name keeps as its Scan's note; '' if there is none."""
  return _stamp(spec.data_dir(directory) / name)['note']


def _make(
  dataset: spec.DatasetSpec,
  found: verify.Scan,
  stamp: dict[str, Any],
  home: pathlib.Path,
  faults: verify.Faults,
) -> None:
  """Builds beside `home` and renames; under the lock, so leftovers are those of killed processes."""
  for line in verify.size_warnings(dataset, found):
    print(line, file=sys.stderr)
  partial, old = (home.with_name(f'.{dataset.name}.{kind}') for kind in ('partial', 'old'))
  for leftover in (partial, old):
    shutil.rmtree(leftover, ignore_errors=True)
  _require_room(dataset, found, home.parent)
  try:
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere):
      records.write(dataset, found, partial, faults.add)
    whole = stamp | {'left_out': faults.lines, 'of': faults.total}
    (partial / dataset.name / STAMP).write_text(json.dumps(whole, indent=1))
    if home.exists():
      home.rename(old)
    (partial / dataset.name).rename(home)
  finally:
    for leftover in (partial, old):
      shutil.rmtree(leftover, ignore_errors=True)


def _refuse(found: verify.Scan, policy: verify.Policy | None) -> None:
  """Raises the scan's first problem, unless faults are skipped."""
  if found.problems and (policy is None or policy.bad_sample == 'raise'):
    more = f' (and {len(found.problems) - 1} more problems)' if len(found.problems) > 1 else ''
    raise ValueError(f'{found.problems[0]}{more}')


def _require_room(dataset: spec.DatasetSpec, found: verify.Scan, root: pathlib.Path) -> None:
  """A copy takes about what its files do: the images' bytes as they are, ids as PNG again."""
  needed = sum(path.stat().st_size for path in dict.fromkeys(_files(found)))
  free = shutil.disk_usage(root).free
  if needed > free:
    raise ValueError(
      f'{dataset.name}: the copy needs about {progress.readable_size(needed)} in {root}, '
      f'{progress.readable_size(free)} are free; make room, or name another place with --dir '
      '(config.data.dir)'
    )


def digest(found: verify.Scan, source: str) -> str:
  """A hash over names, sizes and modification times of the files a scan found, relative to the source."""
  root = f'{pathlib.Path(source).expanduser().absolute()}/'
  lines = [f'{split} {pair.id}' for split, pairs in found.pairs.items() for pair in pairs]
  lines += sorted(found.problems)
  for path in dict.fromkeys(map(str, _files(found))):
    state = os.stat(path)  # by strings: pathlib takes three times as long, and this is done at every start
    lines.append(f'{path.removeprefix(root)} {state.st_size} {state.st_mtime_ns}')
  return hashlib.sha256('\n'.join(lines).encode('utf-8', 'surrogateescape')).hexdigest()


def _files(found: verify.Scan) -> Iterable[pathlib.Path]:
  yield from found.others
  for pairs in found.pairs.values():
    for pair in pairs:
      yield pair.image
      yield pair.mask


def _stamp(home: pathlib.Path) -> dict[str, Any]:
  nothing = {'version': '', 'digest': '', 'splits': {}, 'note': '', 'left_out': [], 'of': 0}
  try:
    stamp = nothing | json.loads((home / STAMP).read_text('utf-8'))
  except (OSError, ValueError, TypeError, RecursionError):  # not there, or not ours
    return nothing
  parts = stamp['splits'].items() if isinstance(stamp['splits'], dict) else [(None, None)]
  sound = all(isinstance(word, str) for pair in parts for word in pair) and all(
    type(stamp[key]) is type(value) for key, value in nothing.items()
  )
  return stamp if sound else nothing


def _matches(home: pathlib.Path, wanted: dict[str, Any], policy: verify.Policy | None) -> bool:
  """Whether the copy is of this source, with no more left out than the policy allows."""
  stamp = _stamp(home)
  too_many = policy is not None and verify.exceeds(len(stamp['left_out']), stamp['of'], policy)
  return all(stamp[key] == value for key, value in wanted.items()) and not too_many


@contextlib.contextmanager
def _locked(root: pathlib.Path, name: str) -> Iterator[None]:
  root.mkdir(parents=True, exist_ok=True)
  with lock(root / f'.{name}.lock', name):
    yield


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
