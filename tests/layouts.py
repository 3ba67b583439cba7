"""Small folders in the true layout of each dataset, written as their owners' tools write them.

Each function fills a folder and returns {split: [(id, colour of the image, train ids [h w]), ...]}, in the
order in which the split must give them.
"""

import itertools
import json

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


def nyudv2_hha(root):
  """FCN's folder with HHA, whose colours stand for it here."""
  return _nyudv2_beside(root, 'hha')


def _nyudv2_beside(root, seen):
  """FCN's folder with an image more of every view."""
  splits = nyudv2(root)
  for split in ('gupta_train', 'gupta_val', 'test'):
    for i, (name, _, truth) in enumerate(splits[split]):
      splits[split][i] = name, image(root / 'data' / seen / f'img_{name}.png', (12, 16)), truth
  return splits | {'train': splits['gupta_train'] + splits['gupta_val']}


def nyudv2_depth(root):
  """FCN's folder with depth in millimetres, the same all over a view."""
  splits = nyudv2(root)
  (root / 'data' / 'depth').mkdir()
  distance = itertools.count(600, 1000)
  for split in ('gupta_train', 'gupta_val', 'test'):
    for i, (name, _, truth) in enumerate(splits[split]):
      millimetres = next(distance)
      Image.fromarray(np.full((12, 16), millimetres, np.uint16)).save(
        root / 'data' / 'depth' / f'img_{name}.png'
      )
      grey = round(255 * np.log(millimetres / 500) / np.log(20))  # 0.5 m to 10 m
      splits[split][i] = name, (grey,) * 3, truth
  return splits | {'train': splits['gupta_train'] + splits['gupta_val']}


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


# The owners' 80 names in the order of their ids, and the numbers of 1..91 that are not used.
COCO_NAMES = (
  'person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign '
  'parking_meter bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag '
  'tie suitcase frisbee skis snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard '
  'tennis_racket bottle wine_glass cup fork knife spoon bowl banana apple sandwich orange broccoli carrot '
  'hot_dog pizza donut cake chair couch potted_plant bed dining_table toilet tv laptop mouse remote keyboard '
  'cell_phone microwave oven toaster sink refrigerator book clock vase scissors teddy_bear hair_drier '
  'toothbrush'
).split()
COCO_UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
COCO_IDS = [i for i in range(1, 92) if i not in COCO_UNUSED]
COCO_POINTS = [v for i in range(17) for v in ((10 + i, 12 + i, 1 + i % 2) if i not in (3, 4) else (0, 0, 0))]


def box_polygon(x0, y0, x1, y1):
  """The polygon of a box whose pixels are columns x0..x1-1 of rows y0..y1-1."""
  return [x0, y0, x1, y0, x1, y1, x0, y1]


def coco_annotation(number, image, category, segmentation, box, crowd=0, area=None):
  x0, y0, x1, y1 = box
  return {
    'segmentation': segmentation,
    'area': (x1 - x0) * (y1 - y0) if area is None else area,
    'iscrowd': crowd,
    'image_id': image,
    'bbox': [x0, y0, x1 - x0, y1 - y0],
    'category_id': category,
    'id': number,
  }


def write_coco(root, name, sizes, annotations, points=None, grey=(), prefix=''):
  """Images of `sizes` {id: (h, w)} and the two files about them, as the owners write them."""
  colours, listed = {}, []
  for number, (height, width) in sizes.items():
    file = f'{prefix}{number:012d}.jpg'
    colours[number] = image(root / name / file, (height, width), 'L' if number in grey else 'RGB')
    listed.append({
      'license': 3, 'file_name': file, 'coco_url': f'http://images.cocodataset.org/{name}/{file}',
      'height': height, 'width': width, 'date_captured': '2013-11-14 17:02:52',
      'flickr_url': 'http://farm7.staticflickr.com/6116/6255196340_da26cf2c9e_z.jpg', 'id': number,
    })  # fmt: skip
  head = {
    'info': {'description': 'COCO 2017 Dataset', 'version': '1.0', 'year': 2017},
    'licenses': [{'url': 'http://creativecommons.org/licenses/by/2.0/', 'id': 4, 'name': 'Attribution'}],
    'images': listed,
  }
  categories = [
    {'supercategory': 'thing', 'id': i, 'name': name.replace('_', ' ')}
    for i, name in zip(COCO_IDS, COCO_NAMES, strict=True)
  ]
  persons = [
    a | {'num_keypoints': 15 if a['id'] in (points or {}) else 0,
         'keypoints': (points or {})[a['id']] if a['id'] in (points or {}) else [0] * 51}
    for a in annotations if a['category_id'] == 1
  ]  # fmt: skip
  folder = root / 'annotations'
  folder.mkdir(parents=True, exist_ok=True)
  things = head | {'annotations': annotations, 'categories': categories}
  (folder / f'instances_{name}.json').write_text(json.dumps(things))
  kinds = [categories[0] | {'keypoints': ['nose'], 'skeleton': [[16, 14]]}]
  (folder / f'person_keypoints_{name}.json').write_text(
    json.dumps(head | {'annotations': persons, 'categories': kinds})
  )
  return colours


def _coco_train(root, name, prefix=''):
  """A table with a cup on it, a person in two parts and a crowd; signs in a grey image; nothing at all."""
  sizes = {25: (32, 44), 9: (20, 30), 30: (18, 16)}
  crowd = np.zeros((32, 44), np.uint8)
  crowd[:6, 10:44] = 1
  runs = np.flatnonzero(np.diff(np.concatenate([[0], crowd.T.ravel()])))
  counts = [int(n) for n in np.diff(np.concatenate([[0], runs, [crowd.size]]))]
  ring = np.zeros((20, 30), np.uint8)
  ring[2:12, 3:13], ring[5:9, 6:10] = 1, 0
  edges = np.flatnonzero(np.diff(np.concatenate([[0], ring.T.ravel()])))
  annotations = [
    coco_annotation(900100, 25, 1, {'size': [32, 44], 'counts': counts}, (10, 0, 44, 6), crowd=1),
    coco_annotation(501, 25, 47, [box_polygon(20, 10, 26, 18)], (20, 10, 26, 18)),
    coco_annotation(77, 25, 67, [box_polygon(2, 4, 42, 31)], (2, 4, 42, 31)),
    coco_annotation(
      502, 25, 1, [box_polygon(4, 2, 10, 8), box_polygon(6, 9, 9, 12)], (4, 2, 10, 12), area=45
    ),
    coco_annotation(
      11,
      9,
      13,
      {'size': [20, 30], 'counts': [int(n) for n in np.diff([0, *edges, ring.size])]},
      (3, 2, 13, 12),
    ),
    # A polygon inside another is no hole: their union is the mask.
    coco_annotation(12, 9, 90, [box_polygon(15, 3, 25, 13), box_polygon(17, 5, 20, 8)], (15, 3, 25, 13)),
  ]
  colours = write_coco(root, name, sizes, annotations, {502: COCO_POINTS}, grey=(9,), prefix=prefix)
  table = np.zeros((32, 44), int)
  table[:6, 10:44] = 255
  table[4:31, 2:42] = 61
  table[10:18, 20:26] = 42
  table[2:8, 4:10] = table[9:12, 6:9] = 1
  signs = np.where(ring, 12, 0)
  signs[3:13, 15:25] = 80
  rows = {25: table, 9: signs, 30: np.zeros((18, 16), int)}
  return [(f'{prefix}{number:012d}', colours[number], rows[number]) for number in (9, 25, 30)]


def _coco_val(root, name, prefix=''):
  annotations = [coco_annotation(5, 139, 2, [box_polygon(1, 1, 6, 6)], (1, 1, 6, 6))]
  colours = write_coco(root, name, {139: (10, 12)}, annotations, prefix=prefix)
  truth = np.zeros((10, 12), int)
  truth[1:6, 1:6] = 2
  return [(f'{prefix}{139:012d}', colours[139], truth)]


def coco(root):
  """Both years, with 2014's longer file names; the one image with much of VOC's classes comes first."""
  train = _coco_train(root, 'train2017')
  train = [train[1], train[0], train[2]]
  return {
    'train': train,
    'trainvoc': train[:1],
    'val': _coco_val(root, 'val2017'),
    'train2014': _coco_train(root, 'train2014', 'COCO_train2014_'),
    'val2014': _coco_val(root, 'val2014', 'COCO_val2014_'),
  }


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
  'nyudv2_depth': nyudv2_depth,
  'nyudv2_hha': nyudv2_hha,
  'isbi': isbi,
  'isbi as volumes': isbi_volumes,
  'coco': coco,
}
