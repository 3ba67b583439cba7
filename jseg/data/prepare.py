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
from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
import tensorflow_datasets as tfds

from jseg.data import labels, spec, verify

STAMP = 'prepared.json'


class PreparedSource:
  """A split of a prepared copy; a Source. Its order is that of the owners' lists.

  Args:
    folder: the TFDS folder of one version, with features image, mask and id.
    split: a split of it, or several joined by '+'.
  """

  def __init__(self, folder: pathlib.Path, split: str):
    skip = {'image': tfds.decode.SkipDecoding(), 'mask': tfds.decode.SkipDecoding()}
    builder = tfds.builder_from_directory(folder)
    # TFDS's logging decorator hides the signature from the checker.
    self._records = builder.as_data_source(split, decoders=skip)  # pyright: ignore[reportCallIssue]
    self._folder = folder

  def __len__(self) -> int:
    """The number of examples."""
    return len(self._records)

  def __getitem__(self, index: int) -> spec.Example:
    """Reads and decodes one example.

    Raises:
      ValueError: the record cannot be decoded.
    """
    record = self._records[index]
    name = record['id'].decode() if isinstance(record['id'], bytes) else str(record['id'])
    # Masks lie on the pixel grid as stored, so an orientation tag must not turn the image.
    image = cv2.imdecode(
      np.frombuffer(record['image'], np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    )
    if image is None:
      raise ValueError(f'{self._folder}: the image of {name} cannot be decoded; prepare the dataset again')
    return {'image': image, 'labels': labels.read_index(record['mask'], name), 'id': name, 'index': index}


def ensure(
  dataset: spec.DatasetSpec,
  version: str,
  *,
  source: str,
  directory: str,
  scan: Callable[[str], verify.Scan],
  build: Callable[[verify.Scan, pathlib.Path], None],
) -> pathlib.Path:
  """The folder of a dataset's prepared copy, made first if `source` asks for it and it is not there yet.

  Args:
    dataset: its spec.
    version: of the way it is prepared; another one makes a new copy.
    source: the owners' folder; empty: whatever copy there is.
    directory: where copies live, as in `spec.data_dir`.
    scan: lists a source folder.
    build: writes the TFDS folder `<second argument>/<name>/<version>`.

  Raises:
    ValueError: no source and no copy, or something is wrong with the source.
  """
  root = spec.data_dir(directory)
  home = root / dataset.name
  if not source:
    if _stamp(home)['version'] != version:
      raise ValueError(f'{dataset.name} is not prepared in {root}: {dataset.instructions}')
    return home / version
  found = scan(source)
  wanted = {'version': version, 'digest': digest(found, source)}
  if _matches(home, wanted):
    return home / version
  root.mkdir(parents=True, exist_ok=True)
  with lock(root / f'.{dataset.name}.lock', dataset.name):
    if not _matches(home, wanted):  # else another process made it while this one waited
      _make(
        dataset, found, {**wanted, 'source': str(pathlib.Path(source).expanduser().absolute())}, home, build
      )
  return home / version


def _make(
  dataset: spec.DatasetSpec,
  found: verify.Scan,
  stamp: dict[str, str],
  home: pathlib.Path,
  build: Callable[[verify.Scan, pathlib.Path], None],
) -> None:
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
    build(found, partial)
    (partial / dataset.name / STAMP).write_text(json.dumps(stamp, indent=1))
    if home.exists():
      home.rename(old)
    (partial / dataset.name).rename(home)
  finally:
    for leftover in (partial, old):
      shutil.rmtree(leftover, ignore_errors=True)


def run_builder(builder: tfds.core.GeneratorBasedBuilder, partial: pathlib.Path) -> None:
  """Runs a TFDS builder: no network, no message on stdout, nothing outside `partial`.

  Raises:
    ValueError: what the builder's generator raised, on one line.
  """
  options = tfds.download.DownloadConfig(try_download_gcs=False)
  tfds.disable_progress_bar()
  with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere):
    builder.download_and_prepare(download_dir=str(partial / 'downloads'), download_config=options)


def digest(found: verify.Scan, source: str) -> str:
  """A hash over names, sizes and modification times of the files a scan found, relative to the source."""
  root = pathlib.Path(source).expanduser().absolute()
  lines = [f'{split} {pair.id}' for split, pairs in found.pairs.items() for pair in pairs]
  lines += sorted(found.problems)
  for path in _files(found):
    state = path.stat()
    lines.append(f'{path.relative_to(root)} {state.st_size} {state.st_mtime_ns}')
  return hashlib.sha256('\n'.join(lines).encode()).hexdigest()


def _files(found: verify.Scan) -> Iterable[pathlib.Path]:
  for pairs in found.pairs.values():
    for pair in pairs:
      yield pair.image
      yield pair.mask


def _stamp(home: pathlib.Path) -> dict[str, str]:
  try:
    return {'version': '', 'digest': ''} | json.loads((home / STAMP).read_text())
  except (OSError, ValueError):  # not there, or not ours
    return {'version': '', 'digest': ''}


def _matches(home: pathlib.Path, wanted: dict[str, str]) -> bool:
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
