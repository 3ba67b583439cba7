"""PASCAL VOC 2012 segmentation, 20 classes and background; with SBD also its larger training sets.

Everingham et al. 2010; SBD: Hariharan et al. 2011, "Semantic contours from inverse detectors". Splits:

  train, val   1,464 / 1,449: the devkit's lists; `val` begins with those of seg11valid where they are known.
               The test set's labels are not public.
  trainaug     10,582: VOC train, then the images of SBD's train and val that are in neither VOC list.
  sbdtrain     8,498: SBD train with SBD's own masks (no void border), on which FCN was trained. 545 of them
               are in `val`: measure on seg11valid.
  seg11valid   736: VOC 2011 val without SBD train, on which FCN was measured.

The source is the folder VOCdevkit. trainaug needs SBD's folder benchmark_RELEASE in it, or, in VOC2012, the
folder SegmentationClassAug of index PNGs (whatever of it is in neither list is taken). sbdtrain needs
benchmark_RELEASE. seg11valid needs FCN's list VOC2012/ImageSets/Segmentation/seg11valid.txt, or
VOC2011/ImageSets/Segmentation/val.txt beside benchmark_RELEASE.
"""

import pathlib
from collections.abc import Iterable

from jseg.data import labels, layout, prepare, records, spec, verify

SPLITS = ('train', 'val', 'trainval', 'trainaug', 'sbdtrain', 'seg11valid')

SPEC = spec.DatasetSpec(
  name='voc',
  protocol='voc21',
  classes=(
    'background',
    'aeroplane',
    'bicycle',
    'bird',
    'boat',
    'bottle',
    'bus',
    'car',
    'cat',
    'chair',
    'cow',
    'diningtable',
    'dog',
    'horse',
    'motorbike',
    'person',
    'pottedplant',
    'sheep',
    'sofa',
    'train',
    'tvmonitor',
  ),
  palette=labels.bit_palette(21),
  owner_palette=labels.bit_palette(256),
  raw_void=(255,),
  split_sizes={'train': 1464, 'val': 1449, 'trainaug': 10_582, 'sbdtrain': 8498, 'seg11valid': 736},
  other_sizes={9963: 'all images of VOC2007, no set for segmentation'},
  owners=(
    'VOC2012 from host.robots.ox.ac.uk/pascal/VOC/voc2012 (free; images under Flickr terms), for trainaug '
    "and sbdtrain also benchmark_RELEASE of home.bharathh.info/home/sbd, for seg11valid FCN's list of that "
    'name, where the head of jseg/data/builders/voc.py says'
  ),
  folder='VOCdevkit',
)

_LISTS = pathlib.PurePath('VOC2012', 'ImageSets', 'Segmentation')


def open_split(split: str, *, source: str = '', directory: str = '') -> records.PreparedSource:
  """A split of VOC 2012, prepared first if need be.

  Args:
    split: 'train', 'val', 'trainval', 'trainaug', 'sbdtrain' or 'seg11valid', see above.
    source: the folder VOCdevkit; empty: use the copy that is prepared.
    directory: where the copy lives; empty: $JSEG_DATA, else ~/.cache/jseg.

  Raises:
    ValueError: unknown split, nothing prepared, the split is not in the source, or a fault in it, naming
      the file.
  """
  return prepare.open_split(SPEC, split, splits=SPLITS, scan=scan, source=source, directory=directory)


def scan(source: str) -> verify.Scan:
  """What the folder VOCdevkit holds.

  Raises:
    ValueError: this is not the folder at all.
  """
  needed = ['VOC2012/JPEGImages', 'VOC2012/SegmentationClass']
  root = layout.folder(SPEC, source, [*needed, *(str(_LISTS / f'{split}.txt') for split in ('train', 'val'))])
  problems: list[str] = []
  train, val = (_listed(root / _LISTS / f'{split}.txt', problems) for split in ('train', 'val'))
  eleven = _seg11valid(root, val, problems)
  pairs = {
    'train': _voc_pairs(root, train, problems),
    'val11': _voc_pairs(root, {name: where for name, where in val.items() if name in eleven}, problems),
    'val': _voc_pairs(root, {name: where for name, where in val.items() if name not in eleven}, problems),
  }
  for name in sorted(train.keys() & val.keys()):
    problems.append(f'{val[name]}: {name} is in train.txt too')
  whole_val = 'val11+val' if eleven else 'val'
  splits = {'train': 'train', 'val': whole_val, 'trainval': f'train+{whole_val}', 'seg11valid': 'val11'}
  more, more_splits = _augmented(root, train.keys() | val.keys(), problems)
  pairs |= more
  pairs = {part: found for part, found in pairs.items() if found}
  splits = {
    split: '+'.join(part for part in parts.split('+') if part in pairs)
    for split, parts in (splits | more_splits).items()
  }
  # SBD's own masks of VOC's images.
  return verify.Scan(
    pairs, problems, {split: parts for split, parts in splits.items() if parts}, repeated=['sbd_voc']
  )


def _listed(listing: pathlib.Path, problems: list[str]) -> dict[str, str]:
  found, faults = layout.listed(listing)
  problems += [*faults, *([] if found else [f'{listing}: lists no images'])]
  return found


def _voc_pairs(root: pathlib.Path, where: dict[str, str], problems: list[str]) -> list[verify.Pair]:
  voc = root / 'VOC2012'
  pairs, faults = layout.paired(
    where,
    lambda name: voc / 'JPEGImages' / f'{name}.jpg',
    lambda name: voc / 'SegmentationClass' / f'{name}.png',
    where=where,
  )
  problems += faults
  return pairs


def _seg11valid(root: pathlib.Path, val: Iterable[str], problems: list[str]) -> set[str]:
  """Names of seg11valid, none if no list tells them; all must be in VOC 2012's val."""
  given = root / _LISTS / 'seg11valid.txt'
  older = root / 'VOC2011' / 'ImageSets' / 'Segmentation' / 'val.txt'
  sbd = root / 'benchmark_RELEASE' / 'dataset' / 'train.txt'
  if given.is_file():
    found = _listed(given, problems)
  elif older.is_file() and sbd.is_file():
    taken = layout.listed(sbd)[0]
    found = {name: where for name, where in _listed(older, problems).items() if name not in taken}
  else:
    return set()
  for name in sorted(found.keys() - set(val)):
    problems.append(f'{found[name]}: {name} is not in val.txt of VOC2012')
  return set(found)


def _augmented(
  root: pathlib.Path, voc: set[str], problems: list[str]
) -> tuple[dict[str, list[verify.Pair]], dict[str, str]]:
  """Parts and splits that SBD's folder adds, or else the folder of converted masks."""
  sbd, converted = root / 'benchmark_RELEASE' / 'dataset', root / 'VOC2012' / 'SegmentationClassAug'
  if sbd.is_dir():
    lists = {split: _listed(sbd / f'{split}.txt', problems) for split in ('train', 'val')}
    chosen = {
      'aug_train': {name: where for name, where in lists['train'].items() if name not in voc},
      'aug_val': {name: where for name, where in lists['val'].items() if name not in voc},
      'sbd_voc': {name: where for name, where in lists['train'].items() if name in voc},
    }
    pairs = {}
    for part, where in chosen.items():
      pairs[part], faults = layout.paired(
        where,
        lambda name: sbd / 'img' / f'{name}.jpg',
        lambda name: sbd / 'cls' / f'{name}.mat',
        entry='GTcls.Segmentation',
        where=where,
      )
      problems += faults
    return pairs, {'trainaug': 'train+aug_train+aug_val', 'sbdtrain': 'aug_train+sbd_voc'}
  if converted.is_dir():
    more, faults = layout.paired(
      sorted(layout.stems(converted, '.png') - voc),
      lambda name: root / 'VOC2012' / 'JPEGImages' / f'{name}.jpg',
      lambda name: converted / f'{name}.png',
    )
    problems += faults
    return {'aug': more}, {'trainaug': 'train+aug'}
  return {}, {}
