"""Small folders in the true layout of each dataset, written as their owners' tools write them.

Each function fills a folder and returns {split: [(id, colour of the image, train ids [h w]), ...]}, in the
order in which the split must give them.
"""

import itertools

import numpy as np
import scipy.io
from PIL import Image

RNG = np.random.default_rng(5)
GREYS = itertools.cycle(range(30, 226))  # no two images of a folder alike, as verify has it


def image(path, shape, mode='RGB'):
  """Writes an image of one colour, which JPEG keeps; returns the colour."""
  colour = tuple(int(c) for c in RNG.integers(30, 226, 3))
  path.parent.mkdir(parents=True, exist_ok=True)
  if mode == 'L':
    colour = (next(GREYS),) * 3
  Image.new('RGB', shape[::-1], colour).convert(mode).save(
    path, **({'quality': 95} if path.suffix == '.jpg' else {})
  )
  return colour


def ids(known, shape):
  """A map in which every one of `known` occurs, if there is room."""
  raw = RNG.choice(np.array(known, np.uint8), shape)
  flat = raw.ravel()
  flat[: len(known)] = known[: flat.size]
  return raw


def voc_colours():
  """The devkit's map of 256 colours, by its published loop."""
  table = np.zeros((256, 3), np.uint8)
  for n in range(256):
    rest = n
    for bit in range(7, -1, -1):
      for channel in range(3):
        table[n, channel] |= ((rest >> channel) & 1) << bit
      rest >>= 3
  return table


def index_png(path, raw, palette=None):
  path.parent.mkdir(parents=True, exist_ok=True)
  mask = Image.fromarray(raw)
  if palette is not None:
    mask.putpalette(palette.tobytes())
  mask.save(path)


def mat(path, **variables):
  path.parent.mkdir(parents=True, exist_ok=True)
  scipy.io.savemat(path, variables, do_compression=True)


def lines(path, words):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(''.join(f'{word}\n' for word in words))


def _voc(root, name, shape=(20, 14)):
  colour = image(root / 'VOC2012' / 'JPEGImages' / f'{name}.jpg', shape)
  raw = ids([*range(21), 255], shape)
  index_png(root / 'VOC2012' / 'SegmentationClass' / f'{name}.png', raw, voc_colours())
  return name, colour, raw


def voc(root):
  """VOC2012 alone; images differ in size, and some of JPEGImages are in no list."""
  train = [_voc(root, f'2007_00{i}', (20 + i, 14)) for i in range(3)]
  val = [_voc(root, f'2007_10{i}') for i in (2, 0, 1)]
  image(root / 'VOC2012' / 'JPEGImages' / '2008_000001.jpg', (20, 14))
  for split, rows in {'train': train, 'val': val}.items():
    lines(root / 'VOC2012' / 'ImageSets' / 'Segmentation' / f'{split}.txt', [row[0] for row in rows])
  return {'train': train, 'val': val, 'trainval': train + val}


def voc_sbd(root):
  """VOC2012 with benchmark_RELEASE and VOC 2011's list, whose overlaps are those of the real ones in kind."""
  splits = voc(root)
  sbd = root / 'benchmark_RELEASE' / 'dataset'
  lists = {'train': ['2007_001', '2007_102', '2009_1', '2009_2'], 'val': ['2007_000', '2007_100', '2009_3']}
  rows = {}
  for split, names in lists.items():
    lines(sbd / f'{split}.txt', names)
    for name in names:
      raw = ids(range(21), (20, 14))
      if name.startswith('2009'):
        image(root / 'VOC2012' / 'JPEGImages' / f'{name}.jpg', (20, 14))
      rows[name] = name, image(sbd / 'img' / f'{name}.jpg', (20, 14)), raw
      present = np.unique(raw[raw > 0]).reshape(-1, 1)
      mat(sbd / 'cls' / f'{name}.mat', GTcls={'Boundaries': np.zeros((20, 1), object), 'Segmentation': raw,
                                              'CategoriesPresent': present})  # fmt: skip
  lines(root / 'VOC2011' / 'ImageSets' / 'Segmentation' / 'val.txt', ['2007_102', '2007_101'])
  val = {row[0]: row for row in splits['val']}
  first = [val['2007_101']]
  return {
    'train': splits['train'],
    'val': [*first, val['2007_102'], val['2007_100']],
    'trainaug': [*splits['train'], rows['2009_1'], rows['2009_2'], rows['2009_3']],
    'sbdtrain': [rows[name] for name in ('2009_1', '2009_2', '2007_001', '2007_102')],
    'seg11valid': first,
  }


def voc_aug(root):
  """VOC2012 with SegmentationClassAug, which holds masks of everything, and FCN's list."""
  splits = voc(root)
  more = []
  for name in ('2007_000', '2007_101', '2009_2', '2009_1'):
    raw = ids(range(21), (20, 14))
    index_png(root / 'VOC2012' / 'SegmentationClassAug' / f'{name}.png', raw)
    if name.startswith('2009'):
      more.append((name, image(root / 'VOC2012' / 'JPEGImages' / f'{name}.jpg', (20, 14)), raw))
  lines(root / 'VOC2012' / 'ImageSets' / 'Segmentation' / 'seg11valid.txt', ['2007_102', '2007_100'])
  val = {row[0]: row for row in splits['val']}
  first = [val['2007_102'], val['2007_100']]
  return {
    'train': splits['train'],
    'val': [*first, val['2007_101']],
    'trainaug': [*splits['train'], *sorted(more)],
    'seg11valid': first,
  }


# fmt: off
CITY_IDS = {
  7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14,
  28: 15, 31: 16, 32: 17, 33: 18,
}
# fmt: on


def cityscapes(root):
  """Two cities, with the files beside the ones that are read."""
  found = {}
  for split, frames in {'train': ('aachen/aachen_000000_000019', 'ulm/ulm_000001_000019'),
                        'val': ('lindau/lindau_000000_000019',)}.items():  # fmt: skip
    rows = []
    for frame in frames:
      colour = image(root / 'leftImg8bit' / split / f'{frame}_leftImg8bit.png', (16, 32))
      raw = ids(range(34), (16, 32))
      base = root / 'gtFine' / split
      index_png(base / f'{frame}_gtFine_labelIds.png', raw)
      image(base / f'{frame}_gtFine_color.png', (16, 32))
      (base / f'{frame}_gtFine_polygons.json').write_text('{}')
      rows.append((frame, colour, np.vectorize(lambda i: CITY_IDS.get(i, 255))(raw)))
    found[split] = rows
  return found | {'trainval': found['train'] + found['val']}


def ade20k(root):
  """Every image of another size, one of them grey."""
  found = {}
  for split, inner, count in (('train', 'training', 3), ('val', 'validation', 2)):
    rows = []
    for i in range(count):
      name, shape = f'ADE_{split}_{i + 1:08d}', (18 + 3 * i, 30 - i)
      colour = image(root / 'images' / inner / f'{name}.jpg', shape, 'L' if i == 1 else 'RGB')
      raw = ids(range(151), shape)
      index_png(root / 'annotations' / inner / f'{name}.png', raw)
      rows.append((name, colour, np.where(raw == 0, 255, raw.astype(int) - 1)))
    found[split] = rows
  return found


def nyudv2(root):
  """FCN's folder."""
  found = {}
  for split, names in {
    'gupta_train': ['5449', '5002'],
    'gupta_val': ['5010'],
    'test': ['5133', '5001'],
  }.items():
    rows = []
    for name in names:
      colour = image(root / 'data' / 'images' / f'img_{name}.png', (12, 16))
      raw = ids(range(41), (12, 16))
      mat(root / 'segmentation' / f'img_{name}.mat', segmentation=raw)
      rows.append((name, colour, np.where(raw == 0, 255, raw.astype(int) - 1)))
    lines(root / f'{split.removeprefix("gupta_")}.txt', names)
    found[split] = rows
  return found | {'train': found['gupta_train'] + found['gupta_val']}


def sunrgbd(root):
  """Numbers as in the real archives: test labels from 1, training labels from 5051."""
  found = {}
  for split, numbers in {'train': (5051, 5052, 10335), 'test': (1, 5050)}.items():
    rows = []
    for i, number in enumerate(numbers):
      own = number - 5050 if split == 'train' else number
      colour = image(root / f'SUNRGBD-{split}_images' / f'img-{own:06d}.jpg', (14, 20 + i))
      raw = ids(range(38), (14, 20 + i))
      index_png(root / 'sunrgbd_train_test_labels' / f'img-{number:06d}.png', raw)
      rows.append((f'img-{number:06d}', colour, np.where(raw == 0, 255, raw.astype(int) - 1)))
    found[split] = rows
  return found


def siftflow(root):
  """The test list has paths as Windows writes them; one of the images without annotation is there."""
  inner = 'spatial_envelope_256x256_static_8outdoorcategories'
  found = {}
  for split, names in {'train': ('coast_b', 'forest_a'), 'test': ('street_z', 'coast_natu975')}.items():
    rows = []
    for name in names:
      colour = image(root / 'Images' / inner / f'{name}.jpg', (16, 16))
      raw = ids(range(34), (16, 16))
      names_cell = np.array([['awning'], ['balcony']], object)
      mat(root / 'SemanticLabels' / inner / f'{name}.mat', S=raw, names=names_cell)
      rows.append((name, colour, np.where(raw == 0, 255, raw.astype(int) - 1)))
    found[split] = rows
  lines(root / 'TestSet1.txt', [f'{inner}\\{name}.jpg' for name in ('street_z', 'coast_natu975')])
  image(root / 'Images' / inner / 'street_urb506.jpg', (16, 16))
  return found


def _slices():
  return [(next(GREYS), ids([0, 255], (16, 16))) for _ in range(11)]


def _isbi_splits(slices):
  rows = [(str(i), (grey,) * 3, raw // 255) for i, (grey, raw) in enumerate(slices)]
  return {'train': rows[:5], 'val': rows[5:], 'trainval': rows}


def isbi(root):
  """Eleven numbered slices: by name, 10 would come before 2."""
  slices = _slices()
  for i, (grey, raw) in enumerate(slices):
    index_png(root / 'image' / f'{i}.png', np.full((16, 16), grey, np.uint8))
    index_png(root / 'label' / f'{i}.png', raw)
  return _isbi_splits(slices)


def isbi_volumes(root):
  """The same as the challenge's two volumes."""
  slices = _slices()
  root.mkdir(parents=True, exist_ok=True)
  for name, pages in (
    ('train-volume', [Image.new('L', (16, 16), grey) for grey, _ in slices]),
    ('train-labels', [Image.fromarray(raw) for _, raw in slices]),
  ):
    pages[0].save(root / f'{name}.tif', save_all=True, append_images=pages[1:])
  return _isbi_splits(slices)


MAKERS = {
  'voc': voc,
  'voc with SBD': voc_sbd,
  'voc with SegmentationClassAug': voc_aug,
  'cityscapes': cityscapes,
  'ade20k': ade20k,
  'nyudv2': nyudv2,
  'sunrgbd': sunrgbd,
  'siftflow': siftflow,
  'isbi': isbi,
  'isbi as volumes': isbi_volumes,
}
