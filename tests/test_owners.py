"""Predictions in the ids and files of the data's owners: the tables, by hand, and the way there and back."""

import fnmatch
import importlib

import layouts
import numpy as np
import pytest
from PIL import Image

from jseg.data import labels, pipeline, spec


def builder(name):
  return importlib.import_module(f'jseg.data.builders.{name}')


# fmt: off
# By train id what the owners' files hold, and their void; written from their documents, not from the code.
IDS = {
  'ade20k': (range(1, 151), 0),
  'camvid': (range(11), 11),
  'cityscapes': ([7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33], 0),
  'isbi': ([0, 255], None),
  'nyudv2': (range(1, 41), 0),
  'nyudv2_depth': (range(1, 41), 0),
  'nyudv2_hha': (range(1, 41), 0),
  'shapes': (range(7), None),
  'siftflow': (range(1, 34), 0),
  'siftflow_geo': ([1, 2, 3], 255),
  'sunrgbd': (range(1, 38), 0),
  'voc': (range(21), 255),
  'camvid_full': ([*range(30), 31], 30),
}
# Of camvid_full's 11: Sky, Building, Column_Pole, Road, Sidewalk, Tree, SignSymbol, Fence, Car, Pedestrian,
# Bicyclist, counted in label_colors.txt from 0.
FULL_11 = [21, 4, 8, 17, 19, 26, 20, 9, 5, 16, 2]
# NYUDv2: classes 1..40 as 1..13, and the 13.
TO_13 = [12, 5, 6, 1, 4, 9, 10, 12, 13, 6, 8, 6, 13, 10, 6, 13, 6, 7, 7, 5,
         7, 3, 2, 6, 11, 7, 7, 7, 7, 7, 7, 6, 7, 7, 7, 7, 7, 7, 6, 7]
NYU_13 = 'bed books ceiling chair floor furniture objects picture sofa table tv wall window'.split()
NYU_40 = (
  'wall floor cabinet bed chair sofa table door window bookshelf picture counter blinds desk shelves curtain '
  'dresser pillow mirror floor-mat clothes ceiling books refrigerator television paper towel shower-curtain '
  'box whiteboard person night-stand toilet sink lamp bathtub bag otherstructure otherfurniture otherprop'
).split()
# CamVid's 32 as 11.
MERGED = {
  'building': 'Archway Bridge Building Tunnel', 'road': 'LaneMkgsDriv LaneMkgsNonDriv Road RoadShoulder',
  'car': 'Car SUVPickupTruck Truck_Bus Train OtherMoving', 'pedestrian': 'Pedestrian Child CartLuggagePram',
  'bicyclist': 'Bicyclist MotorcycleScooter', 'sign': 'SignSymbol Misc_Text TrafficLight',
  'pole': 'Column_Pole TrafficCone', 'fence': 'Fence Wall', 'pavement': 'Sidewalk ParkingBlock',
  'tree': 'Tree VegetationMisc', 'sky': 'Sky', 'void': 'Void Animal',
}
# fmt: on


def check_table(dataset, ids, void):
  table = labels.owners_table(dataset)
  assert table[: len(ids)].tolist() == list(ids) and dataset.num_classes == len(ids)
  assert table[255] == (labels.UNKNOWN if void is None else void)
  assert set(table[len(ids) : 255]) <= {labels.UNKNOWN}


@pytest.mark.parametrize('name', IDS)
def test_ids_are_those_of_the_owners(name):
  check_table(builder(name).SPEC, *IDS[name])


def test_ids_of_other_protocols():
  check_table(builder('nyudv2').SPEC_13, range(1, 14), 0)
  check_table(builder('camvid_full').SPEC_11, FULL_11, 30)


def test_classes_merged_by_nobody_in_particular_are_refused():
  options = {'name': 'x', 'protocol': 'x', 'palette': ((0, 0, 0),) * 2, 'raw_void': (), 'split_sizes': {}}
  merged = spec.DatasetSpec(classes=('a', 'b'), train_ids={0: 0, 1: 1, 2: 1}, **options)
  with pytest.raises(ValueError, match="x: several of its owners' ids are one class"):
    labels.owners_table(merged)
  with pytest.raises(ValueError, match='owner_ids has 3 entries for 2 classes'):
    spec.DatasetSpec(classes=('a', 'b'), owner_ids=(0, 1, 2), **options)


def test_forty_classes_of_nyu_as_thirteen():
  nyu = builder('nyudv2')
  assert [name.replace(' ', '-') for name in nyu.SPEC.classes] == NYU_40
  assert list(nyu.SPEC_13.classes) == NYU_13
  table = labels.spec_table(nyu.SPEC_13)
  assert table[:41].tolist() == [255, *(thirteen - 1 for thirteen in TO_13)]
  assert set(table[41:]) == {labels.UNKNOWN}
  # Some that can be told by their names.
  pairs = {
    'wall': 'wall', 'bed': 'bed', 'blinds': 'window', 'desk': 'table', 'television': 'tv', 'sofa': 'sofa',
    'floor-mat': 'floor', 'books': 'books', 'ceiling': 'ceiling', 'picture': 'picture', 'chair': 'chair',
    'dresser': 'furniture', 'lamp': 'objects',
  }  # fmt: skip
  for forty, thirteen in pairs.items():
    assert NYU_13[table[NYU_40.index(forty) + 1]] == thirteen


def test_thirty_two_classes_of_camvid_as_eleven():
  full, eleven = builder('camvid_full'), builder('camvid').SPEC
  assert list(full.CLASSES) == layouts.CAMVID_NAMES
  for line, (colour, _) in zip(layouts.CAMVID_COLOURS.splitlines(), full.CLASSES.values(), strict=True):
    assert tuple(map(int, line.split()[:3])) == colour
  to = {name: merged for merged, names in MERGED.items() for name in names.split()}
  assert to.keys() == set(layouts.CAMVID_NAMES)
  table = labels.spec_table(full.SPEC_11)
  for raw, name in enumerate(layouts.CAMVID_NAMES):
    assert table[raw] == (255 if to[name] == 'void' else eleven.classes.index(to[name])), name
  assert full.SPEC_11.classes == eleven.classes
  # The 31 that are learned.
  assert full.SPEC.classes == tuple(name for name in layouts.CAMVID_NAMES if name != 'Void')
  assert [labels.spec_table(full.SPEC)[i] for i in (0, 29, 30, 31)] == [0, 29, 255, 30]


def predictions(module, split, source, directory, **options):
  """The labels of a split as batches hold them, as if a network had found them all."""
  examples = module.open_split(split, source=str(source), directory=str(directory), **options)
  for batch in pipeline.eval_batches(examples, batch_size=1, threads=0):
    yield batch['labels'][0].astype(np.int32)


@pytest.mark.parametrize('case', [case for case in layouts.MAKERS if case != 'isbi as volumes'])
def test_labels_written_as_predictions_are_read_as_the_owners_masks(case, tmp_path):
  """Every mask of a source is replaced by what is written of its labels: the labels stay the same."""
  name = case.split()[0]
  if name not in IDS:
    pytest.skip(f'{name} has no masks that could be replaced')
  module, source = builder(name), tmp_path / 'source'
  splits = layouts.MAKERS[case](source)
  found = module.scan(str(source))
  out = tmp_path / 'out'
  out.mkdir()
  for split in splits:
    if '+' in found.splits[split]:
      continue
    truths = list(predictions(module, split, source, tmp_path / 'data'))
    for pair, truth, row in zip(found.pairs[found.splits[split]], truths, splits[split], strict=True):
      np.testing.assert_array_equal(truth, row[2])
      path = labels.write_owners(out, pair.image.stem, truth, module.SPEC)
      replace(pair, path)
  for split, rows in splits.items():
    for truth, row in zip(predictions(module, split, source, tmp_path / 'again'), rows, strict=True):
      np.testing.assert_array_equal(truth, row[2])


def replace(pair, written):
  if not pair.entry:
    pair.mask.write_bytes(written.read_bytes())
    return
  raw = np.asarray(Image.open(written))
  variable, *fields = pair.entry.split('.')
  layouts.mat(pair.mask, **{variable: {fields[0]: raw} if fields else raw})


def test_eleven_classes_of_the_full_camvid_there_and_back(tmp_path):
  full, source = builder('camvid_full'), tmp_path / 'CamVid'
  layouts.camvid_full(source)
  pairs = full.scan(str(source)).pairs['test']
  eleven = list(predictions(full, 'test', source, tmp_path / 'data', classes=11))
  for pair, truth in zip(pairs, eleven, strict=True):
    assert set(np.unique(truth)) == {*range(11), 255}
    replace(pair, labels.write_owners(tmp_path, pair.image.stem, truth, full.SPEC_11))
  for truth, before in zip(
    predictions(full, 'test', source, tmp_path / 'again', classes=11), eleven, strict=True
  ):
    np.testing.assert_array_equal(truth, before)


TRUTH = np.array([[0, 1, 2], [10, 18, 18]], np.uint8)


def test_names_and_kinds_of_files(tmp_path):
  """Cityscapes' script looks for <city>_<sequence>_<frame>*.png and refuses two of them."""
  path = labels.write_owners(tmp_path, 'berlin_000543_000019_leftImg8bit', TRUTH, builder('cityscapes').SPEC)
  assert path.name == 'berlin_000543_000019_labelIds.png'
  assert fnmatch.filter([p.name for p in tmp_path.iterdir()], 'berlin_000543_000019*.png') == [path.name]
  with Image.open(path) as mask:
    assert mask.mode == 'L' and np.asarray(mask).tolist() == [[7, 8, 11], [23, 33, 33]]
  assert labels.write_owners(tmp_path, 'photo', TRUTH, builder('cityscapes').SPEC).name == 'photo.png'
  with Image.open(labels.write_owners(tmp_path, '2008_1', TRUTH, builder('voc').SPEC)) as mask:
    assert mask.mode == 'P' and np.asarray(mask).tolist() == TRUTH.tolist()
    assert np.array(mask.getpalette()).reshape(256, 3).tolist() == layouts.voc_colours().tolist()
  with Image.open(labels.write_owners(tmp_path, 'x_L', TRUTH, builder('camvid_full').SPEC)) as mask:
    assert np.asarray(mask.convert('RGB'))[1, 0].tolist() == [128, 0, 192]  # LaneMkgsDriv
  with pytest.raises(ValueError, match=r'x.png: label 255 in 1 pixels is no known id'):
    labels.write_owners(tmp_path, 'x', np.array([[0, 255]], np.uint8), builder('isbi').SPEC)


@pytest.mark.parametrize('name', IDS)
def test_a_specification_survives_json(name):
  import json

  for dataset in (builder(name).SPEC, *([builder(name).SPEC_11] if name == 'camvid_full' else [])):
    again = spec.from_json(json.loads(json.dumps(spec.to_json(dataset))))
    assert again == dataset
  with pytest.raises(ValueError, match='not the specification of a dataset'):
    spec.from_json({'classes': ['a']})
