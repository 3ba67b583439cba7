"""Finding a dataset's files: its folder or archives, its lists, the images and masks that belong together."""

import contextlib
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from jseg.data import archives, spec, verify

_DEPTH = 3  # how far below an archive's top a dataset's folder is looked for


class NotHere(ValueError):
  """The folder is not the dataset's: what is needed is not in it."""


def folder(dataset: spec.DatasetSpec, source: str, needed: Sequence[str]) -> pathlib.Path:
  """The source folder, absolute, once everything in `needed` is found in it.

  Raises:
    ValueError: there is no folder. NotHere, which is one: it is not this one.
  """
  root = pathlib.Path(source).expanduser().absolute()
  if not root.is_dir():
    raise ValueError(
      f'{root}: {dataset.name} needs its folder here, but there is none; {dataset.instructions}'
    )
  missing = [name for name in needed if not (root / name).exists()]
  if missing:
    inner = root / dataset.folder
    hint = f'; use {inner}' if all((inner / name).exists() for name in needed) else ''
    raise NotHere(f'{root}: not the {dataset.folder} folder, {", ".join(missing)} not found{hint}')
  return root


def listed(listing: pathlib.Path) -> tuple[dict[str, str], list[str]]:
  """The first word of each line of a text file -> where it stands ('<file> line <n>'), and what is wrong.

  Raises:
    ValueError: there is no such file, or it is no text.
  """
  if not listing.is_file():
    raise ValueError(f'{listing} {absence(listing)}')
  found: dict[str, str] = {}
  problems = []
  for number, line in enumerate(read_lines(listing), 1):
    where, words = f'{listing} line {number}', line.split()
    if words and words[0] in found:
      problems.append(f'{where}: {words[0]} is listed twice')
    elif words:
      found[words[0]] = where
  return found, problems


def read_lines(listing: pathlib.Path) -> list[str]:
  """The lines of a text file.

  Raises:
    ValueError: it is not UTF-8.
  """
  try:
    return listing.read_text('utf-8').splitlines()
  except UnicodeDecodeError as error:
    raise ValueError(f'{listing}: not a list in UTF-8 ({error})') from error


def absence(path: pathlib.Path) -> str:
  """In what way a file is not there."""
  return 'is a symbolic link that leads nowhere or in a circle' if path.is_symlink() else 'is missing'


def stems(place: pathlib.Path, ending: str) -> set[str]:
  """Names of the files directly in a folder that end so, without the ending."""
  return {path.name.removesuffix(ending) for path in place.glob(f'*{ending}')}


def paired(
  ids: Iterable[str],
  image: Callable[[str], pathlib.Path],
  mask: Callable[[str], pathlib.Path],
  *,
  entry: str = '',
  where: Mapping[str, str] | None = None,
) -> tuple[list[verify.Pair], list[str]]:
  """The pairs of `ids` in their order, and a line for every file that is missing.

  Args:
    ids: of the images.
    image: the image file of an id.
    mask: its mask file.
    entry: as in verify.Pair.
    where: what names each id, to begin its line with; None: the partner that is there does.
  """
  pairs, problems = [], []
  for name in ids:
    pair = verify.Pair(name, image(name), mask(name), entry)
    absent = [path for path in (pair.image, pair.mask) if not path.is_file()]
    for path in absent:
      other = pair.mask if path == pair.image else pair.image
      problems.append(f'{where[name] if where else other}: {path} {absence(path)}')
    if not absent:
      pairs.append(pair)
  return pairs, problems


def scanned(
  pairs: Mapping[str, Sequence[verify.Pair]],
  problems: Sequence[str],
  splits: Mapping[str, str],
  root: pathlib.Path,
  *,
  repeated: Sequence[str] = (),
) -> verify.Scan:
  """The scan, with a line more for every part without images; `repeated` as verify.Scan has it."""
  empty = [f'{root}: no images found for {part}' for part, found in pairs.items() if not found]
  # An image without its mask was said already; nothing at all has to be.
  return verify.Scan(pairs, [*problems, *([] if problems else empty)], splits, repeated=repeated)


def look(scan: Callable[[str], verify.Scan], source: str) -> tuple[verify.Scan | None, list[pathlib.Path]]:
  """The scan of a folder, or else the archives that the source is or holds.

  Raises:
    ValueError: it is neither; or what the scan raises.
  """
  packed = archives.find(source)
  if packed and not pathlib.Path(source).expanduser().is_dir():
    return None, packed
  try:
    return scan(source), []
  except NotHere:
    if not packed:
      raise
    return None, packed


@contextlib.contextmanager
def unpacked(
  dataset: spec.DatasetSpec,
  scan: Callable[[str], verify.Scan],
  packed: Sequence[pathlib.Path],
  root: pathlib.Path,
) -> Iterator[tuple[verify.Scan, Callable[[str], str]]]:
  """The scan of what archives hold, for as long as this is open, and what names their files as their members.

  Args:
    dataset: its spec.
    scan: lists a source folder.
    packed: the archives.
    root: where copies live; the caller holds the lock of this dataset's there.

  Raises:
    ValueError: an archive is broken, does not fit on the disk, or the dataset is not in it.
  """
  shown = str(packed[0] if len(packed) == 1 else packed[0].parent)
  folder = root / f'.{dataset.name}.unpacked'

  def show(line: str) -> str:
    return line.replace(str(folder), shown)

  try:
    with archives.unpacked(packed, folder) as top:
      place, found = _place(dataset, scan, top)
      beside = [path for path in top.iterdir() if place.parent == top and path != place]
      for path in beside:  # another archive's folder that belongs inside, as SBD's in VOCdevkit
        if path.is_dir() and not (place / path.name).exists():
          path.rename(place / path.name)
      yield (scan(str(place)) if beside else found), show
  except ValueError as error:
    raise ValueError(show(str(error))) from error


def _place(
  dataset: spec.DatasetSpec, scan: Callable[[str], verify.Scan], top: pathlib.Path
) -> tuple[pathlib.Path, verify.Scan]:
  """The folder in which the scan finds what it needs, and what it found."""
  level, hint = [top], ''
  for _ in range(1 + _DEPTH):
    for place in level:
      try:
        return place, scan(str(place))
      except NotHere as error:
        hint = hint or str(error).partition(', ')[2]
    level = [path for place in level for path in sorted(place.iterdir()) if path.is_dir()]
  there = ', '.join(sorted(path.name for path in top.iterdir())[:8]) or 'nothing'
  raise ValueError(f'{top}: no {dataset.folder} folder in it, {hint}; it holds {there}')
