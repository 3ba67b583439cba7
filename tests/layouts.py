"""Small folders in the true layout of each dataset, written as their owners' tools write them.

Each function fills a folder and returns {split: [(id, colour of the image, train ids [h w]), ...]}, in the
order in which the split must give them.
"""

import numpy as np
import scipy.io
from PIL import Image

RNG = np.random.default_rng(5)


def image(path, shape, mode='RGB'):
  """Writes an image of one colour, which JPEG keeps; returns the colour."""
  colour = tuple(int(c) for c in RNG.integers(30, 226, 3))
  path.parent.mkdir(parents=True, exist_ok=True)
  if mode == 'L':
    colour = colour[:1] * 3
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


def cityscapes_coarse(root):
  """With coarse masks of the same frames, and frames that have only such; -1 does not fit in 8 bits: 255."""
  splits = cityscapes(root)
  frames = {
    'train_coarse': ('train', [row[:2] for row in splits['train']]),
    'val_coarse': ('val', [row[:2] for row in splits['val']]),
    'train_extra': ('train_extra', []),
  }
  for name in ('augsburg/augsburg_000000_000000', 'troisdorf/troisdorf_000000_000073'):
    path = root / 'leftImg8bit' / 'train_extra' / f'{name}_leftImg8bit.png'
    frames['train_extra'][1].append((name, image(path, (16, 32))))
  for split, (inner, rows) in frames.items():
    splits[split] = []
    for frame, colour in rows:
      raw = ids([*range(34), 255], (16, 32))
      index_png(root / 'gtCoarse' / inner / f'{frame}_gtCoarse_labelIds.png', raw)
      index_png(root / 'gtCoarse' / inner / f'{frame}_gtCoarse_instanceIds.png', raw)
      splits[split].append((frame, colour, np.vectorize(lambda i: CITY_IDS.get(i, 255))(raw)))
  return splits


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


def siftflow_geo(root):
  """The same images with geometric labels: 1 sky, 2 horizontal, 3 vertical, -1 void."""
  inner = 'spatial_envelope_256x256_static_8outdoorcategories'
  splits = siftflow(root)
  for rows in splits.values():
    for i, (name, colour, _) in enumerate(rows):
      signed = ids(range(4), (16, 16)).astype(np.int16)
      signed[signed == 0] = -1
      mat(
        root / 'GeoLabels' / inner / f'{name}.mat',
        S=signed,
        names=np.array([['sky'], ['horizontal']], object),
      )
      rows[i] = name, colour, np.where(signed == -1, 255, signed - 1)
  return splits


# label_colors.txt, as it is printed in public; the order is the owners'.
CAMVID_COLOURS = """
64 128 64	Animal
192 0 128	Archway
0 128 192	Bicyclist
0 128 64	Bridge
128 0 0		Building
64 0 128	Car
64 0 192	CartLuggagePram
192 128 64	Child
192 192 128	Column_Pole
64 64 128	Fence
128 0 192	LaneMkgsDriv
192 0 64	LaneMkgsNonDriv
128 128 64	Misc_Text
192 0 192	MotorcycleScooter
128 64 64	OtherMoving
64 192 128	ParkingBlock
64 64 0		Pedestrian
128 64 128	Road
128 128 192	RoadShoulder
0 0 192		Sidewalk
192 128 128	SignSymbol
128 128 128	Sky
64 128 192	SUVPickupTruck
0 0 64		TrafficCone
0 64 64		TrafficLight
192 64 128	Train
128 128 0	Tree
192 128 192	Truck_Bus
64 0 64		Tunnel
192 192 0	VegetationMisc
0 0 0		Void
64 192 0	Wall
""".strip()
CAMVID_NAMES = [line.split()[3] for line in CAMVID_COLOURS.splitlines()]
# 31 are learned, in the same order.
CAMVID_32 = {name: i for i, name in enumerate(name for name in CAMVID_NAMES if name != 'Void')} | {
  'Void': 255
}


def camvid_full(root, lists=('train', 'val', 'test'), names=True):
  """The owners' two folders, and SegNet's lists of them; the lists name other folders than there are."""
  palette = np.array([line.split()[:3] for line in CAMVID_COLOURS.splitlines()], np.uint8)
  rows = {}
  for frame in ('0001TP_006690', '0006R0_f00930', '0016E5_00390', 'Seq05VD_f00000', 'Seq05VD_f05100'):
    raw = ids(range(32), (12, 16))
    colour = image(root / '701_StillsRaw_full' / f'{frame}.png', (12, 16))
    path = root / 'LabeledApproved_full' / f'{frame}_L.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(palette[raw]).save(path)
    rows[frame] = frame, colour, np.array([CAMVID_32[name] for name in CAMVID_NAMES])[raw]
  if names:
    (root / 'label_colors.txt').write_text(CAMVID_COLOURS + '\n')
  chosen = {'train': ('0016E5_00390', '0001TP_006690'), 'val': ('0006R0_f00930',),
            'test': ('Seq05VD_f05100', 'Seq05VD_f00000')}  # fmt: skip
  for part in lists:
    lines(root / f'{part}.txt', [f'/SegNet/CamVid/{part}/{f}.png /SegNet/CamVid/{part}annot/{f}.png'
                                 for f in chosen[part]])  # fmt: skip
  splits = {part: [rows[f] for f in chosen[part]] for part in lists}
  listed = [row for part in splits.values() for row in part]
  splits['all'] = [*listed, *(rows[f] for f in sorted(rows) if f not in {row[0] for row in listed})]
  return splits | ({'trainval': splits['train'] + splits['val']} if {'train', 'val'} <= set(lists) else {})


def _slices():
  return [(int(RNG.integers(30, 226)), ids([0, 255], (16, 16))) for _ in range(11)]


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
  'camvid_full': camvid_full,
  'cityscapes': cityscapes,
  'cityscapes with gtCoarse': cityscapes_coarse,
  'ade20k': ade20k,
  'nyudv2': nyudv2,
  'sunrgbd': sunrgbd,
  'siftflow': siftflow,
  'siftflow_geo': siftflow_geo,
  'isbi': isbi,
  'isbi as volumes': isbi_volumes,
}
