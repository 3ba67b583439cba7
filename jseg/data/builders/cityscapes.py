"""Cityscapes with its 19 evaluated classes, fine and coarse annotations, 1024x2048.

Cordts et al. 2016 (arXiv:1604.01685). Masks are the owners' labelIds; what a prediction must be turned back
to for their server is TRAIN_IDS read backwards. The test set's labels are not public. Splits:

  train, val                 2,975 / 500: gtFine.
  train_coarse, val_coarse   the same images with the masks of gtCoarse, if that folder is there.
  train_extra                19,998 more images, which have coarse masks only: gtCoarse/train_extra and
                             leftImg8bit/train_extra, if both are there.
"""

import pathlib

from jseg.data import layout, prepare, records, spec, verify

SPLITS = {'train': 'train', 'val': 'val', 'trainval': 'train+val'}
COARSE = {'train_coarse': 'train', 'train_extra': 'train_extra', 'val_coarse': 'val'}

# labelId -> train id; source: cityscapesScripts, helpers/labels.py. Every other id is void.
TRAIN_IDS = {
  7: 0,
  8: 1,
  11: 2,
  12: 3,
  13: 4,
  17: 5,
  19: 6,
  20: 7,
  21: 8,
  22: 9,
  23: 10,
  24: 11,
  25: 12,
  26: 13,
  27: 14,
  28: 15,
  31: 16,
  32: 17,
  33: 18,
}
# 255 is the licence plate's -1 in an 8-bit file.
VOID = (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, 255)

SPEC = spec.DatasetSpec(
  name='cityscapes',
  protocol='cityscapes19',
  classes=(
    'road',
    'sidewalk',
    'building',
    'wall',
    'fence',
    'pole',
    'traffic light',
    'traffic sign',
    'vegetation',
    'terrain',
    'sky',
    'person',
    'rider',
    'car',
    'truck',
    'bus',
    'train',
    'motorcycle',
    'bicycle',
  ),
  palette=(
    (128, 64, 128),
    (244, 35, 232),
    (70, 70, 70),
    (102, 102, 156),
    (190, 153, 153),
    (153, 153, 153),
    (250, 170, 30),
    (220, 220, 0),
    (107, 142, 35),
    (152, 251, 152),
    (70, 130, 180),
    (220, 20, 60),
    (255, 0, 0),
    (0, 0, 142),
    (0, 0, 70),
    (0, 60, 100),
    (0, 80, 100),
    (0, 0, 230),
    (119, 11, 32),
  ),
  raw_void=VOID,
  train_ids=TRAIN_IDS,
  split_sizes={'train': 2975, 'val': 500, 'train_coarse': 2975, 'train_extra': 19_998, 'val_coarse': 500},
  owners=(
    'leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from cityscapes-dataset.com (registration; not '
    'to be passed on), for the coarse splits also gtCoarse.zip and leftImg8bit_trainextra.zip, unpacked in '
    'one folder'
  ),
  folder='cityscapes',
  # Their script takes <city>_<sequence>_<frame>*.png, and no more than one file for a frame.
  result_name=('_leftImg8bit', '_labelIds'),
)


def open_split(split: str, *, source: str = '', directory: str = '') -> records.PreparedSource:
  """A split of Cityscapes, prepared first if need be.

  Args:
    split: 'train', 'val' or 'trainval'; 'train_coarse', 'train_extra' or 'val_coarse'.
    source: the folder with leftImg8bit/ and gtFine/, and gtCoarse/ for the coarse splits; empty: use the copy
      that is prepared.
    directory: where the copy lives; empty: $JSEG_DATA, else ~/.cache/jseg.

  Raises:
    ValueError: unknown split, nothing prepared, or a fault in the source, naming the file.
  """
  splits = (*SPLITS, *COARSE)
  return prepare.open_split(SPEC, split, splits=splits, scan=scan, source=source, directory=directory)


def scan(source: str) -> verify.Scan:
  """Pairs by split, in the order of city and frame; ids are <city>/<frame>.

  Raises:
    ValueError: this is not the folder at all.
  """
  parts = [f'{tree}/{split}' for split in ('train', 'val') for tree in ('leftImg8bit', 'gtFine')]
  root = layout.folder(SPEC, source, parts)
  coarse = {
    split: inner
    for split, inner in COARSE.items()
    if (root / 'gtCoarse' / inner).is_dir() and (root / 'leftImg8bit' / inner).is_dir()
  }
  pairs, problems = {}, []
  for split, inner in {'train': 'train', 'val': 'val', **coarse}.items():
    tree = 'gtCoarse' if split in coarse else 'gtFine'
    images, masks, ending = root / 'leftImg8bit' / inner, root / tree / inner, f'_{tree}_labelIds.png'
    pairs[split], faults = layout.paired(
      sorted(_frames(images, '_leftImg8bit.png') | _frames(masks, ending)),
      lambda name, images=images: images / f'{name}_leftImg8bit.png',
      lambda name, masks=masks, ending=ending: masks / f'{name}{ending}',
    )
    problems += faults
  again = [split for split in coarse if coarse[split] in ('train', 'val')]  # the fine ones' images
  splits = SPLITS | {split: split for split in coarse}
  return layout.scanned(pairs, problems, splits, root, repeated=again)


def _frames(tree: pathlib.Path, ending: str) -> set[str]:
  return {f'{city.name}/{frame}' for city in tree.iterdir() for frame in layout.stems(city, ending)}
