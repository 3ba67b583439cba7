"""Anybody's own photos with their masks.

  FOLDER/images/   photos: JPEG, PNG and what else jseg.predict reads, of any sizes
  FOLDER/masks/    for each a PNG of the same name and size, in 8 bits: the number of its class in every pixel
                   (grey, or palette), or the colour of it
  FOLDER/classes.json   the names of the classes, see jseg/data/classes.py: ["background", "leaf", "rust"]

Subfolders are taken too, images/drive/0001.jpg with masks/drive/0001.png: a video is a subfolder of frames.

Splits, by the first of these rules that fits:

  lists       FOLDER/train.txt and val.txt (test.txt if there is one), a name a line, with or without its
              ending; what is in none of them is left out.
  subfolders  images/train and images/val (images/test), if there is nothing else in images/.
  by chance   one in five is `val`: those whose name's sha256 is a multiple of 5, so that photos added later
              move none. Where there are several subfolders, each is in one split as a whole, by its own name,
              as the frames of a video look alike. If chance gives one split nothing, `val` gets one.

Photos are read as jseg.predict reads them: turned as their camera was held, transparency on white. A palette
mask is read by its colours if classes.json gives every class a colour and all colours in the mask are among
them, otherwise by its numbers.
"""

import functools
import hashlib
import json
import pathlib
import re
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from jseg.data import classes, labels, photos, prepare, records, spec, verify

SPLITS = ('train', 'val', 'test', 'trainval')
VAL_IN = 5  # one in so many

_OWNERS = (
  'your photos into images/, a mask of the same name for each into masks/, and classes.json beside the two '
  '(the head of jseg/data/builders/folder.py has the details)'
)


def spec_of(*, source: str = '', directory: str = '', copy: str = '') -> spec.DatasetSpec:
  """The specification of a folder, from its classes.json or what the prepared copy keeps of it.

  Args:
    source: the folder; empty: use a copy that is prepared.
    directory: where copies live; empty: $JSEG_DATA, else ~/.cache/jseg.
    copy: without a source, the name of the copy; empty: the only one there is.

  Raises:
    ValueError: there is no such folder or copy, or classes.json is not to be understood.
  """
  if source:
    root = _root(source)
    slug = re.sub('[^a-z0-9]+', '_', root.name.lower()).strip('_') or 'photos'
    # Two folders of one name must not take each other's copy for theirs.
    return _spec(f'folder_{slug}_{hashlib.sha256(str(root).encode()).hexdigest()[:8]}', _text(root))
  home = spec.data_dir(directory)
  there = sorted(path.parent.name for path in home.glob(f'folder_*/{prepare.STAMP}'))
  if not copy and len(there) == 1:
    copy = there[0]
  if copy not in there:
    raise ValueError(
      f'folder: which photos? Put {_OWNERS}, then give --config.data.source=FOLDER (jseg.dataset: '
      f'--source=FOLDER){", or as --config.data.options.copy one of: " + ", ".join(there) if there else ""}'
    )
  return _spec(copy, prepare.note(copy, directory))


def _spec(name: str, text: str) -> spec.DatasetSpec:
  found = classes.parse(text, f'{name}: {classes.NAME}')
  return spec.DatasetSpec(
    name=name,
    builder='folder',
    protocol=f'{name}_{len(found.names)}',
    classes=found.names,
    palette=found.palette,
    raw_void=found.void,
    train_ids=found.train_ids,
    owner_ids=tuple(ids[0] for ids in found.ids),
    owner_palette=found.owner_palette,
    split_sizes={},
    owners=_OWNERS,
    folder='FOLDER',
  )


def open_split(
  split: str, *, source: str = '', directory: str = '', copy: str = ''
) -> records.PreparedSource:
  """A split of somebody's own photos, prepared first if need be.

  Args:
    split: 'train', 'val', 'trainval', or 'test' if there is a list or subfolder of that name.
    source: the folder of images/, masks/ and classes.json; empty: use a copy that is prepared.
    directory: where copies live; empty: $JSEG_DATA, else ~/.cache/jseg.
    copy: without a source, the name of the copy; empty: the only one there is.

  Raises:
    ValueError: unknown split, nothing prepared, or a fault in the source, naming the file.
  """
  dataset = spec_of(source=source, directory=directory, copy=copy)
  return prepare.open_split(dataset, split, splits=SPLITS, scan=scan, source=source, directory=directory)


def scan(source: str) -> verify.Scan:
  """Pairs by split, by name (by the lists, if there are any); ids are paths in images/ without an ending.

  Raises:
    ValueError: this is no such folder, or classes.json is not to be understood.
  """
  root = _root(source)
  text = _text(root)
  found = classes.parse(text, str(root / classes.NAME))
  images, problems = _by_id(root / 'images', photos.ENDINGS)
  masks, faults = _by_id(root / 'masks', ('.png',))
  problems += faults
  for name in sorted(images.keys() - masks.keys()):
    problems.append(f'{images[name]}: has no mask, {root / "masks" / name}.png')
  for name in sorted(masks.keys() - images.keys()):
    problems.append(f'{masks[name]}: has no photo, {root / "images" / name}.*')
  lists = [path for path in (root / f'{part}.txt' for part in ('train', 'val', 'test')) if path.is_file()]
  if any(path.stem != 'test' for path in lists):
    chosen = _listed(lists, images.keys() | masks.keys(), problems)
  else:
    lists, chosen = [], _split(sorted(images.keys() & masks.keys()))
  where = '.txt' if lists else '/ in images/'
  lacking = [part for part in ('train', 'val') if part not in chosen]
  problems += [f'{root}: there is {next(iter(chosen))}{where}, but no {part}{where}' for part in lacking]
  pairs = {
    part: [
      verify.Pair(
        name, images[name], masks[name], read=functools.partial(_read, images[name], masks[name], found)
      )
      for name in names
      if name in images and name in masks
    ]
    for part, names in chosen.items()
  }
  if not problems and not all(pairs.values()):
    problems.append(f'{root}: needs at least two photos, to train on and to measure on')
  splits = {part: part for part in pairs} | (
    {'trainval': 'train+val'} if {'train', 'val'} <= pairs.keys() else {}
  )
  return verify.Scan(pairs, problems, splits, others=[root / classes.NAME, *lists], note=text)


def _root(source: str) -> pathlib.Path:
  return pathlib.Path(source).expanduser().absolute()


def _text(root: pathlib.Path) -> str:
  """What classes.json says, once the folder is found to be one."""
  missing = [name for name in ('images', 'masks') if not (root / name).is_dir()]
  if missing:
    raise ValueError(
      f'{root}: there is no {" and no ".join(f"{name}/" for name in missing)} in it; put {_OWNERS}'
    )
  path = root / classes.NAME
  if not path.is_file():
    raise ValueError(f'{path} is missing; {_proposal(root / "masks")}')
  return _read_text(path)


def _read_text(path: pathlib.Path) -> str:
  try:
    return path.read_text(encoding='utf-8-sig')  # some editors begin a file with a mark
  except ValueError as error:
    raise ValueError(f'{path}: not a text in UTF-8 ({labels.first_line(error)})') from error


def _proposal(masks: pathlib.Path) -> str:
  """What the first masks hold, and a classes.json that would fit."""
  seen: set[int] = set()
  for path in sorted(masks.rglob('*.png'))[:20]:
    try:
      seen |= set(np.unique(labels.read_index(path)).tolist())
    except ValueError:  # colours, or broken: nothing can be proposed
      seen = set()
      break
  learned = sorted(seen - {255}) if len(seen) > 2 else sorted(seen)
  if len(learned) < 2:
    return 'it names the classes, as ["background", "leaf"]; the head of jseg/data/classes.py shows more'
  names = ['background', *(f'class {i}' for i in learned[1:])]
  entries = [{'name': name, 'ids': i} for name, i in zip(names, learned, strict=True)]
  proposed = names if learned == list(range(len(learned))) else entries
  return f'the first masks hold {", ".join(map(str, sorted(seen)))}; name them, as {json.dumps(proposed)}'


def _by_id(folder: pathlib.Path, endings: Iterable[str]) -> tuple[dict[str, pathlib.Path], list[str]]:
  """The files of a folder and its subfolders that end so, by their path in it without the ending."""
  found: dict[str, pathlib.Path] = {}
  problems = []
  for path in sorted(folder.rglob('*')):
    inner = path.relative_to(folder)
    ending = path.suffix.lower()
    if ending not in photos.ENDINGS or any(part.startswith('.') for part in inner.parts):
      continue
    name = inner.with_suffix('').as_posix()
    if ending not in endings:
      problems.append(f'{path}: a mask is a PNG; other formats blur its numbers or change them')
    elif found.setdefault(name, path) != path:
      problems.append(f'{path}: {found[name].name} has the same name; rename one')
  return found, problems


def _listed(lists: list[pathlib.Path], known: Collection[str], problems: list[str]) -> dict[str, list[str]]:
  """The names in each list; those that are at fault go to `problems`."""
  chosen: dict[str, list[str]] = {}
  before: dict[str, str] = {}
  for path in lists:
    chosen[path.stem] = []
    for number, line in enumerate(_read_text(path).splitlines(), 1):
      name, where = line.strip().removeprefix('./').removeprefix('images/'), f'{path} line {number}'
      stem = name if name in known else pathlib.PurePosixPath(name).with_suffix('').as_posix() if name else ''
      if stem in before:
        problems.append(f'{where}: {stem} is listed before, {before[stem]}')
      elif stem in known:
        before[stem] = where
        chosen[path.stem].append(stem)
      elif stem:
        problems.append(f"{where}: '{line.strip()}' is no photo in images/")
    if not chosen[path.stem]:
      problems.append(f'{path}: lists no photos')
  return chosen


def _split(names: Sequence[str]) -> dict[str, list[str]]:
  """The names by split, without lists."""
  tops = {name.split('/')[0] if '/' in name else '' for name in names}
  if tops and tops <= {'train', 'val', 'test'}:
    return {part: [name for name in names if name.startswith(f'{part}/')] for part in SPLITS if part in tops}
  parents = {name: name.rpartition('/')[0] for name in names}
  several = len(set(parents.values())) > 1
  unit = {name: parents[name] if several and parents[name] else name for name in names}
  rank = {group: int(hashlib.sha256(group.encode()).hexdigest(), 16) for group in unit.values()}
  held = {group for group, number in rank.items() if number % VAL_IN == 0}
  if not held or len(held) == len(rank):  # few photos
    held = {min(rank, key=rank.__getitem__)} if rank else set()
  return {
    'train': [name for name in names if unit[name] not in held],
    'val': [name for name in names if unit[name] in held],
  }


def _read(
  image: pathlib.Path, mask: pathlib.Path, found: classes.Classes
) -> tuple[np.ndarray | None, np.ndarray]:
  return None if photos.is_plain(image) else photos.read(image), _read_mask(mask, found)


def _read_mask(path: pathlib.Path, found: classes.Classes) -> np.ndarray:
  """The ids of a mask, uint8 [h w], from its numbers or its colours."""
  mode = labels.mode(path)
  if mode in ('RGB', 'RGBA') and not found.colours:
    raise ValueError(
      f'{path}: holds colours, but {classes.NAME} does not give every class its colour, '
      'as {"name": "leaf", "colour": [0, 128, 0]}'
    )
  if found.colours and mode in ('RGB', 'RGBA'):
    return labels.read_colours(
      path, found.colours, f'; add it to {classes.NAME}, under a class or void_colours'
    )
  if found.colours and mode == 'P':
    try:
      return labels.read_colours(path, found.colours)
    except ValueError:  # its palette has other colours: its numbers count
      pass
  return labels.read_index(path)
