"""NYU Depth v2 with 40 classes (or 13), colour images, 480x640: 795 / 654 images.

Silberman et al. 2012; 40 classes of Gupta et al. 2013, which FCN and its successors measure; 13 classes of
Couprie et al. 2013. Two sources are understood:

  nyud       FCN's folder: data/images/img_5001.png, segmentation/img_5001.mat, train.txt, val.txt, test.txt.
             Its two lists of 381 and 414 images are both training images here: `train` is the two together,
             `gupta_train` and `gupta_val` are each alone, to choose by without looking at the test set.
  the owners' files, in one folder: nyu_depth_v2_labeled.mat, splits.mat, and classMapping40.mat, which
             turns their 894 classes into the 40. Needs h5py: pip install -e '.[nyud]'.

The same views as networks see their depth: `nyudv2_depth` and `nyudv2_hha`.
"""

import functools
import pathlib

import numpy as np

from jseg.data import depths, labels, layout, matlab, prepare, records, spec, verify

SPLITS = ('train', 'test', 'gupta_train', 'gupta_val')

# Class of the 40 (from 1) -> class of the 13 (from 1), in the order of the 40.
# fmt: off
TO_13 = (
  12, 5, 6, 1, 4, 9, 10, 12, 13, 6, 8, 6, 13, 10, 6, 13, 6, 7, 7, 5,
  7, 3, 2, 6, 11, 7, 7, 7, 7, 7, 7, 6, 7, 7, 7, 7, 7, 7, 6, 7,
)
# fmt: on

_OWNERS = (
  'nyud.tar.gz from dl.caffe.berkeleyvision.org, or nyu_depth_v2_labeled.mat and splits.mat from '
  'cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html with classMapping40.mat of '
  'github.com/ankurhanda/nyuv2-meta-data in one folder (research)'
)

SPEC = spec.DatasetSpec(
  name='nyudv2',
  protocol='nyud40',
  classes=(
    'wall',
    'floor',
    'cabinet',
    'bed',
    'chair',
    'sofa',
    'table',
    'door',
    'window',
    'bookshelf',
    'picture',
    'counter',
    'blinds',
    'desk',
    'shelves',
    'curtain',
    'dresser',
    'pillow',
    'mirror',
    'floor mat',
    'clothes',
    'ceiling',
    'books',
    'refrigerator',
    'television',
    'paper',
    'towel',
    'shower curtain',
    'box',
    'whiteboard',
    'person',
    'night stand',
    'toilet',
    'sink',
    'lamp',
    'bathtub',
    'bag',
    'otherstructure',
    'otherfurniture',
    'otherprop',
  ),
  palette=labels.bit_palette(40, first=1),  # the owners give no colours
  raw_void=(0,),
  train_ids={raw: raw - 1 for raw in range(1, 41)},
  split_sizes={'train': 795, 'test': 654},
  other_sizes={645: '654 misprinted'},
  owners=_OWNERS,
  folder='nyud',
)

SPEC_13 = spec.DatasetSpec(
  name='nyudv2',
  protocol='nyud13',
  classes=(
    'bed',
    'books',
    'ceiling',
    'chair',
    'floor',
    'furniture',
    'objects',
    'picture',
    'sofa',
    'table',
    'tv',
    'wall',
    'window',
  ),
  palette=labels.bit_palette(13, first=1),
  raw_void=(0,),
  train_ids={forty: thirteen - 1 for forty, thirteen in enumerate(TO_13, 1)},
  owner_ids=tuple(range(1, 14)),  # as label files of the 13 classes count them, void 0
  split_sizes={'train': 795, 'test': 654},
  owners=_OWNERS,
  folder='nyud',
)


def spec_of(classes: int = 40) -> spec.DatasetSpec:
  """The specification of one of the two protocols.

  Raises:
    ValueError: there is no such protocol.
  """
  return spec.by_classes(SPEC, SPEC_13, classes=classes)


def open_split(
  split: str, *, source: str = '', directory: str = '', classes: int = 40
) -> records.PreparedSource:
  """A split of NYUDv2, prepared first if need be; one copy serves both protocols.

  Args:
    split: 'train' or 'test'; of FCN's folder also 'gupta_train' or 'gupta_val'.
    source: FCN's folder, or that of the owners' files; empty: use the copy that is prepared.
    directory: where the copy lives; empty: $JSEG_DATA, else ~/.cache/jseg.
    classes: 40 or 13.

  Raises:
    ValueError: unknown split or number of classes, nothing prepared, or a fault in the source, naming the
      file; h5py is needed and absent.
  """
  chosen = spec_of(classes)
  table = None if chosen is SPEC else labels.between(SPEC, chosen)
  return prepare.open_split(
    SPEC, split, splits=SPLITS, scan=scan, source=source, directory=directory, table=table
  )


def scan(source: str) -> verify.Scan:
  """What FCN's folder or the owners' files hold, whichever is there.

  Raises:
    ValueError: it is neither, or h5py is needed and absent.
  """
  return scan_seen(SPEC, source, 'images')


def scan_seen(dataset: spec.DatasetSpec, source: str, seen: str) -> verify.Scan:
  """As `scan`, of what is `seen` of a view: 'images', 'depth' or 'hha', as the folders in data/ are called.

  Raises:
    ValueError: it is neither, or h5py is needed and absent.
  """
  root = pathlib.Path(source).expanduser().absolute()
  owners = (root / _LABELED).is_file()
  return _scan_owners(dataset, root, seen) if owners else _scan_fcn(dataset, source, seen)


def _scan_fcn(dataset: spec.DatasetSpec, source: str, seen: str) -> verify.Scan:
  lists = {'gupta_train': 'train.txt', 'gupta_val': 'val.txt', 'test': 'test.txt'}
  root = layout.folder(dataset, source, [f'data/{seen}', 'segmentation', *lists.values()])
  pairs, problems = {}, []
  for split, name in lists.items():
    where, faults = layout.listed(root / name)
    problems += faults
    found, faults = layout.paired(
      where,
      lambda name: root / 'data' / seen / f'img_{name}.png',
      lambda name: root / 'segmentation' / f'img_{name}.mat',
      entry='segmentation',
      where=where,
    )
    problems += faults
    if seen == 'depth':
      found = [pair._replace(read=functools.partial(_read_depth, pair.image, pair.mask)) for pair in found]
    pairs[split] = found
  splits = {'train': 'gupta_train+gupta_val', **{split: split for split in lists}}
  return layout.scanned(pairs, problems, splits, root)


def _read_depth(path: pathlib.Path, mask: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
  """The logarithm of FCN's depth map, which is in millimetres, and its mask."""
  return depths.logarithm(depths.read(path)), matlab.read_index(mask, 'segmentation')


_LABELED = 'nyu_depth_v2_labeled.mat'


def _scan_owners(dataset: spec.DatasetSpec, root: pathlib.Path, seen: str) -> verify.Scan:
  layout.folder(dataset, str(root), [_LABELED, 'splits.mat', 'classMapping40.mat'])
  matlab.need_hdf5(root / _LABELED, 'nyud')
  to_40 = matlab.read_numbers(root / 'classMapping40.mat', 'mapClass')
  if len(to_40) != 894 or not set(to_40) <= set(range(1, 41)):
    raise ValueError(f'{root / "classMapping40.mat"}: mapClass is no list of 894 classes 1..40')
  table = np.array([0, *to_40], np.uint8)
  pairs = {}
  for split, entry in {'train': 'trainNdxs', 'test': 'testNdxs'}.items():
    pairs[split] = [
      verify.Pair(
        f'img_{number:04d}',
        root / _LABELED,
        root / _LABELED,
        read=functools.partial(_read_frame, root / _LABELED, number, table, seen),
      )
      for number in matlab.read_numbers(root / 'splits.mat', entry)
    ]
  return layout.scanned(pairs, [], {'train': 'train', 'test': 'test'}, root)


def _read_frame(
  path: pathlib.Path, number: int, table: np.ndarray, seen: str
) -> tuple[np.ndarray, np.ndarray]:
  """What is seen in frame `number`, from 1, and its mask 0..40; in HDF5 MATLAB's axes are reversed."""
  if seen == 'images':
    image = matlab.read_frame(path, 'images', number - 1).transpose(2, 1, 0)
  else:
    image = {'depth': depths.logarithm, 'hha': depths.hha}[seen](
      matlab.read_frame(path, 'depths', number - 1).T
    )
  raw = matlab.read_frame(path, 'labels', number - 1).T
  if raw.max() >= len(table):
    raise ValueError(f'{path}: frame {number} has label {raw.max()}; known are 0..{len(table) - 1}')
  return np.ascontiguousarray(image), table[raw]
