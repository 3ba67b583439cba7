"""Cityscapes with its instances: 16-bit ids, groups that are crowds, and what is told of damaged files."""

import layouts
import numpy as np
import pytest
from PIL import Image

from jseg.data import extents, labels
from jseg.data.builders import cityscapes
from jseg.engine import resolve

FRAMES = (
  'train/aachen/aachen_000000_000019',
  'train/ulm/ulm_000001_000019',
  'val/lindau/lindau_000000_000019',
)


def ids():
  """Two cars, a person, a group of bicycles, a caravan (which is none of the eight), road."""
  found = np.full((16, 32), 7, np.int32)
  found[2:6, 3:9], found[2:6, 9:12] = 26_000, 26_001
  found[8:14, 20:24], found[10:16, 0:8], found[0:2, 20:30] = 24_000, 33, 29_000
  return found


def path(root, frame, tree='gtFine', ending='_instanceIds'):
  return root / tree / f'{frame}_{tree}{ending}.png'


def write(root, found=None):
  for frame in FRAMES:
    raw = ids() if found is None else found
    Image.fromarray(raw.astype(np.uint16)).save(path(root, frame))
    whole = np.where(raw >= 1000, raw // 1000, raw).astype(np.uint8)
    layouts.index_png(path(root, frame, ending='_labelIds'), whole)


@pytest.fixture
def source(tmp_path):
  layouts.cityscapes(tmp_path / 'city')
  return tmp_path / 'city'


def open_split(split, source, **options):
  given = {'source': str(source), 'directory': str(source.parent / 'data'), **options}
  return cityscapes.open_split(split, **given)


def test_instances_are_the_owners(source):
  write(source)
  example = open_split('train', source, instances=True)[1]
  assert example['classes'].tolist() == [8, 1, 3, 3]  # in the order of their ids: 33, 24000, 26000, 26001
  assert example['crowd'].tolist() == [True, False, False, False]
  assert example['boxes'].tolist() == [[0, 10, 8, 16], [20, 8, 24, 14], [3, 2, 9, 6], [9, 2, 12, 6]]
  assert example['areas'].tolist() == [48, 24, 24, 12]
  for mask, value in zip(example['masks'], (33, 24_000, 26_000, 26_001), strict=True):
    np.testing.assert_array_equal(mask, ids() == value)
  expected = np.zeros((16, 32), np.uint8)
  expected[ids() == 29_000] = 255  # a caravan is void, also among the 19
  expected[ids() // 1000 == 26], expected[ids() == 24_000], expected[ids() == 33] = 3, 1, 8
  np.testing.assert_array_equal(example['labels'], expected)
  split = open_split('trainval', source, instances=True)
  assert [example['image_id'] for example in (split[0], split[1], split[2])] == [1, 2, 3]
  assert len({int(i) for n in range(3) for i in split[n]['annotation_ids']}) == 12
  assert extents.of(split).tolist() == [[16, 32, 3, 0]] * 3 and 'keypoints' not in example


def test_one_copy_serves_both_protocols(source):
  write(source)
  plain = open_split('val', source)[0]
  assert 'masks' not in plain and set(np.unique(plain['labels'])) == {0, 11, 13, 18, 255}
  spec = resolve.dataset_spec('cityscapes', {'instances': True})
  assert spec is cityscapes.SPEC_THINGS and resolve.dataset_spec('cityscapes') is cityscapes.SPEC
  assert spec.classes == (
    'background',
    'person',
    'rider',
    'car',
    'truck',
    'bus',
    'train',
    'motorcycle',
    'bicycle',
  )
  assert spec.written_ids() == (0, 24, 25, 26, 27, 28, 31, 32, 33)
  assert labels.owners_table(spec)[:9].tolist() == list(spec.written_ids())


def test_a_source_without_instances_gives_none(source):
  assert len(open_split('train', source)) == 2
  with pytest.raises(
    ValueError, match='keeps no instances; prepare the dataset again, from a source that has'
  ) as error:
    open_split('train', source, instances=True)
  assert '\n' not in str(error.value)
  write(source)  # another source: the copy is made anew
  assert len(open_split('train', source, instances=True)[0]['classes']) == 4


@pytest.mark.parametrize(
  ('damage', 'message'),
  [
    (
      lambda file: file.write_bytes(b'nothing'),
      'aachen_000000_000019_gtFine_instanceIds.png: not a readable mask',
    ),
    (lambda file: Image.new('RGB', (32, 16)).save(file), 'holds uint8 16x32x3, not whole numbers of 16x32'),
    (lambda file: Image.fromarray(ids()[:8].astype(np.uint16)).save(file), 'holds uint16 8x32'),
  ],
)
def test_damaged_files_are_named(source, damage, message):
  write(source)
  damage(path(source, FRAMES[0]))
  with pytest.raises(ValueError, match=message) as error:
    open_split('train', source)
  assert '\n' not in str(error.value)


def test_coarse_masks_come_with_their_instances(source, tmp_path):
  layouts.cityscapes_coarse(tmp_path / 'both')
  write(tmp_path / 'both')
  split = open_split('train_extra', tmp_path / 'both', instances=True)
  assert len(split) == 2 and split[0]['crowd'].all() and len(split[0]['crowd']) == 8
