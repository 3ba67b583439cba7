"""SUN RGB-D with 37 classes, colour images only: 5,285 / 5,050, of several sizes.

Song et al. 2015; the label PNGs and renumbered images are Handa's. Labels 1..5050 are of the test images,
5051..10335 of the training images, whose own files count from 1 again.
"""

import re

from jseg.data import labels, layout, prepare, records, spec, verify

SPLITS = {'train': 'train', 'test': 'test'}
FIRST_TRAIN = 5051

SPEC = spec.DatasetSpec(
  name='sunrgbd',
  protocol='sunrgbd37',
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
  ),
  palette=labels.bit_palette(37, first=1),  # the owners give no colours
  raw_void=(0,),
  train_ids={raw: raw - 1 for raw in range(1, 38)},
  split_sizes={'train': 5285, 'test': 5050},
  other_sizes={
    10_335: 'all images of both splits',
    10_355: '10,335, all images of both splits, misprinted',
    2860: 'a figure that goes round without a source',
  },
  owners=(
    'SUNRGBD-train_images, SUNRGBD-test_images and sunrgbd_train_test_labels as '
    'github.com/ankurhanda/sunrgbd-meta-data links them (research; register at rgbd.cs.princeton.edu), each '
    'unpacked in a folder of its name in one folder'
  ),
  folder='SUNRGBD',
)


def open_split(split: str, *, source: str = '', directory: str = '') -> records.PreparedSource:
  """A split of SUN RGB-D, prepared first if need be.

  Args:
    split: 'train' or 'test'.
    source: the folder of the three folders; empty: use the copy that is prepared.
    directory: where the copy lives; empty: $JSEG_DATA, else ~/.cache/jseg.

  Raises:
    ValueError: unknown split, nothing prepared, or a fault in the source, naming the file.
  """
  return prepare.open_split(SPEC, split, splits=tuple(SPLITS), scan=scan, source=source, directory=directory)


def scan(source: str) -> verify.Scan:
  """Pairs by split, by number; ids are the labels' names.

  Raises:
    ValueError: this is not the folder at all.
  """
  folders = {'train': 'SUNRGBD-train_images', 'test': 'SUNRGBD-test_images'}
  root = layout.folder(SPEC, source, [*folders.values(), 'sunrgbd_train_test_labels'])
  masks = root / 'sunrgbd_train_test_labels'
  pairs, problems = {}, []
  numbers = {name: _number(name) for name in layout.stems(masks, '.png')}
  for split, folder in folders.items():
    offset = FIRST_TRAIN - 1 if split == 'train' else 0
    labelled = {n for n in numbers.values() if n and (n >= FIRST_TRAIN) == (split == 'train')}
    there = {n + offset for n in map(_number, layout.stems(root / folder, '.jpg')) if n}
    pairs[split], faults = layout.paired(
      [f'img-{n:06d}' for n in sorted(labelled | there)],
      lambda name, images=root / folder, offset=offset: images / f'img-{_number(name) - offset:06d}.jpg',
      lambda name: masks / f'{name}.png',
    )
    problems += faults
  return layout.scanned(pairs, problems, SPLITS, root)


def _number(stem: str) -> int:
  """The number in img-000123, 0 if the name is no such."""
  found = re.fullmatch(r'img-(\d{6})', stem)
  return int(found[1]) if found else 0
