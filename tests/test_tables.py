"""Classes, colours, ids and sizes of datasets, entry by entry against copies of what their owners print."""

import re

import layouts
import numpy as np
import pytest

from jseg.data import labels
from jseg.data.builders import ade20k, camvid, cityscapes, coco, isbi, nyudv2, siftflow, sunrgbd, voc

SPECS = [m.SPEC for m in (ade20k, camvid, cityscapes, coco, isbi, nyudv2, siftflow, sunrgbd, voc)] + [
  nyudv2.SPEC_13,
  coco.SPEC_VOC,
]

CITYSCAPES = """7→0 road, 8→1 sidewalk, 11→2 building, 12→3 wall, 13→4 fence, 17→5 pole, 19→6 traffic light,
20→7 traffic sign, 21→8 vegetation, 22→9 terrain, 23→10 sky, 24→11 person, 25→12 rider, 26→13 car, 27→14
truck, 28→15 bus, 31→16 train, 32→17 motorcycle, 33→18 bicycle"""
CITYSCAPES_COLOURS = """road 128 64 128 sidewalk 244 35 232 building 70 70 70 wall 102 102 156 fence 190 153
153 pole 153 153 153 traffic-light 250 170 30 traffic-sign 220 220 0 vegetation 107 142 35 terrain 152 251
152 sky 70 130 180 person 220 20 60 rider 255 0 0 car 0 0 142 truck 0 0 70 bus 0 60 100 train 0 80 100
motorcycle 0 0 230 bicycle 119 11 32"""
NYU_40 = """wall floor cabinet bed chair sofa table door window bookshelf picture counter blinds desk
shelves curtain dresser pillow mirror floor-mat clothes ceiling books refrigerator television paper towel
shower-curtain box whiteboard person night-stand toilet sink lamp bathtub bag otherstructure otherfurniture
otherprop"""
NYU_40_TO_13 = '12 5 6 1 4 9 10 12 13 6 8 6 13 10 6 13 6 7 7 5 7 3 2 6 11 7 7 7 7 7 7 6 7 7 7 7 7 7 6 7'
NYU_13 = 'bed books ceiling chair floor furniture objects picture sofa table tv wall window'
VOC = """background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike
person pottedplant sheep sofa train tvmonitor"""
CAMVID_COLOURS = """sky 128 128 128 building 128 0 0 pole 192 192 128 road 128 64 128 pavement 0 0 192 tree
128 128 0 sign 192 128 128 fence 64 64 128 car 64 0 128 pedestrian 64 64 0 bicyclist 0 128 192"""
SIFTFLOW = """01 awning 02 balcony 03 bird 04 boat 05 bridge 06 building 07 bus 08 car 09 cow 10 crosswalk
11 desert 12 door 13 fence 14 field 15 grass 16 moon 17 mountain 18 person 19 plant 20 pole 21 river 22 road
23 rock 24 sand 25 sea 26 sidewalk 27 sign 28 sky 29 staircase 30 streetlight 31 sun 32 tree 33 window"""
# Of objectInfo150.txt; the colours are rows of color150.mat.
ADE = {
  1: ('wall', (120, 120, 120)),
  10: ('grass', (4, 250, 7)),
  13: ('person', (150, 5, 61)),
  20: ('chair', (204, 70, 3)),
  21: ('car', (0, 102, 200)),
  40: ('cushion', (255, 194, 7)),
  50: ('fireplace', (250, 10, 15)),
  65: ('coffee table', (0, 255, 112)),
  76: ('swivel chair', (10, 0, 255)),
  90: ('television', (0, 255, 194)),
  105: ('fountain', (8, 184, 170)),
  128: ('bicycle', (255, 245, 0)),
  150: ('flag', (92, 0, 255)),
}
SIZES = {
  'ade20k': (20210, 2000),
  'camvid': (367, 101, 233),
  'cityscapes': (2975, 500, 2975, 19998, 500),
  'coco': (118287, 5000, 82783, 40504),
  'isbi': (24, 6),
  'nyudv2': (795, 654),
  'siftflow': (2488 - 2, 200),
  'sunrgbd': (5285, 5050),
  'voc': (1464, 1449, 10582, 8498, 736),
}


def words(text):
  return tuple(word.replace('-', ' ') for word in text.split())


def colours(text):
  found = re.findall(r'([a-z-]+) (\d+) (\d+) (\d+)', ' '.join(text.split()))
  return words(' '.join(f[0] for f in found)), tuple(tuple(map(int, f[1:])) for f in found)


def test_cityscapes():
  rows = [re.fullmatch(r'(\d+)→(\d+) (.+)', row).groups() for row in ' '.join(CITYSCAPES.split()).split(', ')]
  assert len(rows) == 19
  table = labels.spec_table(cityscapes.SPEC)
  for raw, train, name in rows:
    assert table[int(raw)] == int(train)
    assert cityscapes.SPEC.classes[int(train)] == name
  others = [i for i in [*range(34), 255] if str(i) not in [row[0] for row in rows]]
  assert len(others) == 16 and (table[others] == 255).all()
  assert (table[34:255] == labels.UNKNOWN).all()
  assert colours(CITYSCAPES_COLOURS) == (cityscapes.SPEC.classes, cityscapes.SPEC.palette)


def test_camvid():
  assert colours(CAMVID_COLOURS) == (camvid.SPEC.classes, camvid.SPEC.palette)
  table = labels.spec_table(camvid.SPEC)
  assert table[:12].tolist() == [*range(11), 255] and (table[12:] == labels.UNKNOWN).all()


def test_voc():
  assert voc.SPEC.classes == words(VOC)
  table = labels.spec_table(voc.SPEC)
  assert table[:21].tolist() == list(range(21)) and table[255] == 255
  assert (table[21:255] == labels.UNKNOWN).all()
  np.testing.assert_array_equal(voc.SPEC.palette, layouts.voc_colours()[:21])
  np.testing.assert_array_equal(labels.bit_palette(256), layouts.voc_colours())
  assert voc.SPEC.palette[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
  assert voc.SPEC.palette[15] == (192, 128, 128)  # the well-known colour of persons


@pytest.mark.parametrize(
  ('dataset', 'classes'),
  [
    (nyudv2.SPEC, words(NYU_40)),
    (sunrgbd.SPEC, words(NYU_40)[:37]),
    (siftflow.SPEC, tuple(re.findall('[a-z]+', SIFTFLOW))),
  ],
  ids=lambda x: x.name if hasattr(x, 'name') else '',
)
def test_indices_from_one(dataset, classes):
  assert dataset.classes == classes
  table = labels.spec_table(dataset)
  k = len(classes)
  assert table[: k + 1].tolist() == [255, *range(k)] and (table[k + 1 :] == labels.UNKNOWN).all()


def test_ade20k():
  assert ade20k.SPEC.num_classes == 150
  for number, (name, colour) in ADE.items():
    assert (ade20k.SPEC.classes[number - 1], ade20k.SPEC.palette[number - 1]) == (name, colour)
  table = labels.spec_table(ade20k.SPEC)
  assert table[:151].tolist() == [255, *range(150)] and (table[151:] == labels.UNKNOWN).all()


def test_thirteen_classes():
  assert nyudv2.SPEC_13.classes == words(NYU_13)
  table = labels.spec_table(nyudv2.SPEC_13)
  assert [int(n) + 1 for n in table[1:41]] == [int(n) for n in NYU_40_TO_13.split()]
  assert table[0] == 255 and (table[41:] == labels.UNKNOWN).all()


@pytest.mark.parametrize('dataset', SPECS, ids=lambda spec: spec.protocol)
def test_sizes_and_names(dataset):
  assert tuple(dataset.split_sizes.values()) == SIZES[dataset.name]
  assert len(set(dataset.classes)) == dataset.num_classes
  assert all(name == name.strip() and name for name in dataset.classes)
  assert all(0 <= value <= 255 for colour in dataset.palette for value in colour)
  assert len({s.protocol for s in SPECS}) == len(SPECS)
