"""Cityscapes with its 19 evaluated classes, fine and coarse annotations, 1024x2048.

Cordts et al. 2016 (arXiv:1604.01685). Masks are the owners' labelIds; what a prediction must be turned back
to for their server is TRAIN_IDS read backwards. The test set's labels are not public. Splits:

  train, val                 2,975 / 500: gtFine.
  train_coarse, val_coarse   the same images with the masks of gtCoarse, if that folder is there.
  train_extra                19,998 more images, which have coarse masks only: gtCoarse/train_extra and
                             leftImg8bit/train_extra, if both are there.

Eight classes come as instances too, if the source has the owners' instanceIds files beside every mask. A
group of them that is not told apart is a crowd.
"""

import dataclasses
import functools
import itertools
import json
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from jseg.data import coco_instances, instances, labels, layout, prepare, records, spec, verify

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


# labelId -> class of instances; source: cityscapesScripts, helpers/labels.py, those evaluated by
# evaluateInstanceLevelSemanticLabeling.py. All else is background.
THINGS = {24: 1, 25: 2, 26: 3, 27: 4, 28: 5, 31: 6, 32: 7, 33: 8}
_FIRST = 1000  # instanceIds are labelId * 1000 + number from here on; below, they are a labelId

SPEC_THINGS = dataclasses.replace(
  SPEC,
  protocol='cityscapes9',
  classes=('background', *(SPEC.classes[TRAIN_IDS[raw]] for raw in THINGS)),
  palette=((0, 0, 0), *(SPEC.palette[TRAIN_IDS[raw]] for raw in THINGS)),
  train_ids={raw: THINGS[raw] if raw in THINGS else 0 for raw in TRAIN_IDS},
  owner_ids=(0, *THINGS),
)


def spec_of(instances: bool = False) -> spec.DatasetSpec:
  """The specification: of the 19 classes, or of the 8 that come as instances, and background."""
  return SPEC_THINGS if instances else SPEC


def open_split(
  split: str, *, source: str = '', directory: str = '', instances: bool = False
) -> records.PreparedSource:
  """A split of Cityscapes, prepared first if need be; one copy serves both protocols.

  Args:
    split: 'train', 'val' or 'trainval'; 'train_coarse', 'train_extra' or 'val_coarse'.
    source: the folder with leftImg8bit/ and gtFine/, and gtCoarse/ for the coarse splits; empty: use the copy
      that is prepared.
    directory: where the copy lives; empty: $JSEG_DATA, else ~/.cache/jseg.
    instances: examples also hold boxes, classes, crowd, areas, masks, annotation_ids and image_id, as
      jseg.data.coco_instances.example gives them, and labels of these 8 classes alone.

  Raises:
    ValueError: unknown split, nothing prepared, or a fault in the source, naming the file; instances are
      asked for, and the copy was made from a source without them.
  """
  more = {}
  if instances:
    more = {'table': labels.between(SPEC, SPEC_THINGS), 'objects': _example}
  splits = (*SPLITS, *COARSE)
  return prepare.open_split(SPEC, split, splits=splits, scan=scan, source=source, directory=directory, **more)


def _example(stored: str) -> spec.Example:
  found = coco_instances.example(stored)
  del found['keypoints']  # there are none
  return found


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
  pairs: dict[str, Sequence[verify.Pair]] = {}
  problems = []
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
  files = [_instance_file(pair) for found in pairs.values() for pair in found]
  if all(path.is_file() for path in files):
    numbers = itertools.count(1)
    pairs = {split: [_with_instances(p, next(numbers)) for p in found] for split, found in pairs.items()}
  else:
    files = []
  return layout.scanned(pairs, problems, splits, root, repeated=again)._replace(others=files)


def _instance_file(pair: verify.Pair) -> pathlib.Path:
  return pair.mask.with_name(pair.mask.name.replace('_labelIds.png', '_instanceIds.png'))


def _with_instances(pair: verify.Pair, number: int) -> verify.Pair:
  return pair._replace(draw=functools.partial(_draw, pair.mask, _instance_file(pair), number))


def _draw(
  mask: pathlib.Path, file: pathlib.Path, number: int, height: int, width: int
) -> tuple[np.ndarray, str]:
  """The labelIds of image `number`, and its instances as the copy keeps them."""
  try:
    with Image.open(file) as opened:
      ids = np.array(opened)
  except Exception as error:
    raise ValueError(f'{file}: not a readable mask ({labels.first_line(error)})') from error
  if ids.shape != (height, width) or not np.issubdtype(ids.dtype, np.integer):
    raise ValueError(
      f'{file}: holds {ids.dtype} {"x".join(map(str, ids.shape))}, not whole numbers of {height}x{width}'
    )
  kept = []
  for value in np.unique(ids).tolist():
    label = value // _FIRST if value >= _FIRST else value
    if label not in THINGS:
      continue
    one = (ids == value).astype(np.uint8)
    x0, y0, x1, y1 = instances.box_of(one)
    kept.append(
      {
        'id': number * 1000 + len(kept),
        'class': THINGS[label],
        'crowd': int(value < _FIRST),
        'area': int(one.sum()),
        'box': [x0, y0, x1 - x0, y1 - y0],
        'counts': coco_instances.encoded(one),
        'keypoints': [],
      }
    )
  text = {'image_id': number, 'height': height, 'width': width, 'instances': kept}
  return labels.read_index(mask), json.dumps(text)


def _frames(tree: pathlib.Path, ending: str) -> set[str]:
  return {f'{city.name}/{frame}' for city in tree.iterdir() for frame in layout.stems(city, ending)}
