"""Archives as their owners give them: unpacked beside the copies for as long as they are read, then removed.

Read are .zip, .tar, .tgz, .tar.gz and .tar.bz2, one or a folder of several. Nothing is believed: a member
that would land outside the folder, a link, a device, or more bytes than there is room for is refused. What
several archives hold is put together; one that has no folder at all inside gets a folder of its own name.
"""

import contextlib
import functools
import hashlib
import pathlib
import shutil
import signal
import stat
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO, NamedTuple

from jseg.data import labels, progress

ENDINGS = ('.zip', '.tar', '.tgz', '.tar.gz', '.tar.bz2')
_CHUNK = 1 << 20
_BLOCK = 4096  # what a file takes at least on most disks; empty members by the million are a bomb too


class _Entry(NamedTuple):
  """A member: size in bytes as declared; `odd` says what it is if neither a file nor a folder."""

  name: str
  size: int
  folder: bool
  odd: str
  open: Callable[[], IO[bytes] | None]


def find(source: str) -> list[pathlib.Path]:
  """The archive that `source` is, or those directly in the folder that it is, by name; none is legal.

  Raises:
    ValueError: it is a file of another kind.
  """
  place = pathlib.Path(source).expanduser().absolute()
  if place.is_dir():
    return sorted(path for path in place.iterdir() if path.name.lower().endswith(ENDINGS) and path.is_file())
  if place.is_file() and not place.name.lower().endswith(ENDINGS):
    raise ValueError(f'{place}: neither a folder nor an archive; archives end in {", ".join(ENDINGS)}')
  return [place] if place.is_file() else []


def digest(paths: Sequence[pathlib.Path]) -> str:
  """A hash over names, sizes and modification times: tells whether a copy was made from these archives."""
  states = [(path.name, path.stat()) for path in paths]
  lines = [f'archive {name} {state.st_size} {state.st_mtime_ns}' for name, state in states]
  return hashlib.sha256('\n'.join(lines).encode('utf-8', 'surrogateescape')).hexdigest()


@contextlib.contextmanager
def unpacked(paths: Sequence[pathlib.Path], folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """What the archives hold, in `folder`, which is removed afterwards however that comes.

  What a process left there that was killed is removed first, so `folder` needs a lock around this.

  Raises:
    ValueError: a broken archive, a member that is refused, or not enough room; one line naming it.
    OSError: the folder cannot be written to.
  """
  shutil.rmtree(folder, ignore_errors=True)
  with _ended_by_an_exception():
    try:
      folder.mkdir(parents=True)
      plans = [_plan(path, folder) for path in paths]
      names, total = ', '.join(path.name for path in paths), sum(plan.size for plan in plans)
      needed, free = sum(plan.room for plan in plans), _free(folder)
      if needed > free:
        raise ValueError(_no_room(names, needed, folder, free))
      print(
        f'{names}: unpacking {progress.readable_size(total)} into {folder.parent}',
        file=sys.stderr,
        flush=True,
      )
      said = progress.Progress(f'{paths[0].parent}: unpacked', total, progress.readable_size)
      done = 0
      for path, plan in zip(paths, plans, strict=True):
        for count in _unpack(path, plan, folder):
          done += count
          said.reach(done)
      yield folder
    finally:
      shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _ended_by_an_exception() -> Iterator[None]:
  """SIGTERM becomes an exit that runs `finally`; only the main thread may ask for that."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)


class _Plan(NamedTuple):
  """Of one archive: bytes declared, bytes on disk, and whether no member lies in a folder."""

  size: int
  room: int
  flat: bool


def _plan(path: pathlib.Path, folder: pathlib.Path) -> _Plan:
  """Looks at every member's name and size; stops at the first that is refused."""
  size, room, flat, free = 0, 0, True, _free(folder)
  for entry in _entries(path):
    parts = _parts(path, entry)
    if entry.odd:
      raise ValueError(f'{path}: {entry.name!r} is {entry.odd}; only files and folders are unpacked')
    if entry.size < 0:
      raise ValueError(f'{path}: {entry.name!r} declares {entry.size} bytes')
    flat = flat and not entry.folder and len(parts) < 2
    size += entry.size
    room += -(-entry.size // _BLOCK) * _BLOCK if entry.size else _BLOCK
    if room > free:  # at once: to go on would decompress all of a bomb
      raise ValueError(_no_room(path.name, room, folder, free, least='at least '))
  return _Plan(size, room, flat)


def _parts(path: pathlib.Path, entry: _Entry) -> tuple[str, ...]:
  """The parts of a member's name, none of which leads out of the folder."""
  windows = pathlib.PureWindowsPath(entry.name)  # its separators too: they come from there
  if windows.drive or windows.root or '..' in windows.parts or '\0' in entry.name:
    raise ValueError(f'{path}: {entry.name!r} would be written outside its folder')
  return pathlib.PurePosixPath(entry.name).parts


def _unpack(path: pathlib.Path, plan: _Plan, folder: pathlib.Path) -> Iterator[int]:
  """Unpacks an archive, yielding the number of bytes of each chunk."""
  inner = folder / _stem(path.name) if plan.flat else folder
  mine: set[tuple[str, ...]] = set()
  for entry in _entries(path):
    parts = _parts(path, entry)
    target = inner.joinpath(*parts)
    if entry.folder:
      target.mkdir(parents=True, exist_ok=True)
      continue
    if not parts or parts in mine:
      raise ValueError(f'{path}: {entry.name!r} comes twice')
    mine.add(parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
      with open(target, 'xb') as file:  # never through what is there already
        for chunk in _chunks(path, entry):
          file.write(chunk)
          yield len(chunk)
    except FileExistsError:
      # Two archives' README may differ; nothing else may.
      if len(parts) > 1 and not _same(target, path, entry):
        raise ValueError(f'{path}: {entry.name!r} is in another archive too, with other content') from None


def _same(target: pathlib.Path, path: pathlib.Path, entry: _Entry) -> bool:
  if not target.is_file() or target.stat().st_size != entry.size:
    return False
  with open(target, 'rb') as file:
    return all(file.read(len(chunk)) == chunk for chunk in _chunks(path, entry))


def _chunks(path: pathlib.Path, entry: _Entry) -> Iterator[bytes]:
  """A member's content, which must be as long as declared."""
  left = entry.size
  with _readable(path, entry.name):
    stream = entry.open()
  if stream is None:
    raise ValueError(f'{path}: {entry.name!r} has no content')
  with stream:
    while True:
      with _readable(path, entry.name):
        chunk = stream.read(_CHUNK)
      left -= len(chunk)
      if left < 0 or (not chunk and left):
        raise ValueError(
          f'{path}: {entry.name!r} has {"more" if left < 0 else "fewer"} bytes than it declares'
        )
      if not chunk:
        return
      yield chunk


def _entries(path: pathlib.Path) -> Iterator[_Entry]:
  is_zip = path.name.lower().endswith('.zip')
  with contextlib.ExitStack() as stack:
    with _readable(path):
      if is_zip:
        members = iter(_zip_entries(stack.enter_context(zipfile.ZipFile(path))))
      else:
        members = _tar_entries(stack.enter_context(tarfile.open(path, 'r:*')))
    while True:
      with _readable(path):
        entry = next(members, None)
      if entry is None:
        return
      yield entry


def _zip_entries(archive: zipfile.ZipFile) -> Iterator[_Entry]:
  for info in archive.infolist():
    kind = stat.S_IFMT(info.external_attr >> 16)
    odd = 'encrypted' if info.flag_bits & 1 else ''
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
      odd = 'a link' if kind == stat.S_IFLNK else 'a device or the like'
    yield _Entry(info.filename, info.file_size, info.is_dir(), odd, functools.partial(archive.open, info))


def _tar_entries(archive: tarfile.TarFile) -> Iterator[_Entry]:
  for member in archive:
    odd = '' if member.isfile() or member.isdir() else 'a device or the like'
    if member.issym() or member.islnk():
      odd = 'a link'
    if member.issparse():
      odd = 'a sparse file'  # a few bytes that declare any size, and are written as so many
    size = 0 if member.isdir() else member.size
    yield _Entry(member.name, size, member.isdir(), odd, functools.partial(archive.extractfile, member))
  # tarfile takes a header it cannot read for the end; the end is a block of zeros.
  assert archive.fileobj is not None
  archive.fileobj.seek(archive.offset)
  if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
    raise tarfile.ReadError('it is damaged or ends too early')


@contextlib.contextmanager
def _readable(path: pathlib.Path, member: str = '') -> Iterator[None]:
  """Whatever a broken archive raises, from zlib.error to NotImplementedError, as one line that names it."""
  try:
    yield
  except Exception as error:
    inside = f' at {member!r}' if member else ''
    raise ValueError(f'{path}: not a readable archive{inside} ({labels.first_line(error)})') from error


def _stem(name: str) -> str:
  ending = max((e for e in ENDINGS if name.lower().endswith(e)), key=len)
  return name[: -len(ending)]


def _free(folder: pathlib.Path) -> int:
  return shutil.disk_usage(folder).free


def _no_room(name: str, needed: int, folder: pathlib.Path, free: int, least: str = '') -> str:
  return (
    f'{name}: unpacking needs {least}{progress.readable_size(needed)} in {folder.parent}, '
    f'{progress.readable_size(free)} are free; make room, or name another place with --dir (config.data.dir)'
  )
