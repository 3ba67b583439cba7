"""COCO: its ids, its outlines as pycocotools draws them, its labels, and what is said of damaged files."""

import json
import os
import pathlib
import re
import sys

import layouts
import numpy as np
import pytest
import runs

from jseg import dataset
from jseg.data import annotations, coco_instances, counts, labels, progress, records, verify
from jseg.data.builders import coco, voc
from jseg.engine import resolve

SOURCES = pathlib.Path(
  os.environ.get('JSEG_DATA_SOURCES') or pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'
)
needs_samples = pytest.mark.skipif(
  not (SOURCES / 'coco').is_dir(), reason=f'needs coco in {SOURCES} (set JSEG_DATA_SOURCES)'
)
# pycocotools 2.0.11 hands numpy 2 an array in its old manner.
old_arrays = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')


@pytest.fixture
def source(tmp_path):
  layouts.coco(tmp_path / 'coco')
  return tmp_path / 'coco'


def open_split(split, source, tmp_path, **options):
  return coco.open_split(split, source=str(source), directory=str(tmp_path / 'data'), **options)


def edit(path, change):
  """Changes a JSON file in place."""
  content = json.loads(path.read_text())
  change(content)
  path.write_text(json.dumps(content))


def test_ids_and_names_entry_by_entry():
  expected, train = {}, 0
  for category in range(1, 92):
    if category in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91):
      assert category not in coco.TRAIN_IDS
      continue
    train += 1
    expected[category] = train
    assert coco.SPEC.classes[train] == layouts.COCO_NAMES[train - 1].replace('_', ' ')
  assert train == 80 and expected == coco.TRAIN_IDS
  assert coco.SPEC.classes[0] == 'background' and coco.SPEC.num_classes == 81
  assert coco.SPEC.protocol == 'coco81'
  assert len(set(coco.SPEC.palette)) == 81 and coco.SPEC.palette[0] == (0, 0, 0)
  assert np.abs(np.array(coco.SPEC.palette) - labels.VOID_COLOUR).max(1).min() > 50  # told apart from void
  for category, name in zip(coco.VOC, voc.SPEC.classes[1:], strict=True):
    other = {'aeroplane': 'airplane', 'motorbike': 'motorcycle', 'tvmonitor': 'tv', 'sofa': 'couch',
             'diningtable': 'dining table', 'pottedplant': 'potted plant'}  # fmt: skip
    assert coco.CATEGORIES[category] == (other[name] if name in other else name)


@needs_samples
@pytest.mark.parametrize('part', ['train2017', 'val2017'])
def test_the_owners_own_list_of_categories_is_ours(part):
  listed = json.loads((SOURCES / 'coco' / 'annotations' / f'instances_{part}.json').read_text())['categories']
  assert {entry['id']: entry['name'] for entry in listed} == coco.CATEGORIES


def test_instances_arrive_as_they_were_annotated(source, tmp_path):
  example = open_split('train', source, tmp_path, instances=True)[0]
  assert example['image_id'] == 25 and example['id'] == f'{25:012d}' and example['index'] == 0
  assert example['annotation_ids'].tolist() == [900100, 501, 77, 502]
  assert example['classes'].tolist() == [1, 42, 61, 1]
  assert example['crowd'].tolist() == [True, False, False, False]
  assert example['areas'].tolist() == [204, 48, 1080, 45]
  assert example['boxes'].tolist() == [[10, 0, 44, 6], [20, 10, 26, 18], [2, 4, 42, 31], [4, 2, 10, 12]]
  masks = np.zeros((4, 32, 44), np.uint8)
  masks[0, :6, 10:44] = masks[1, 10:18, 20:26] = masks[2, 4:31, 2:42] = 1
  masks[3, 2:8, 4:10] = masks[3, 9:12, 6:9] = 1
  np.testing.assert_array_equal(example['masks'], masks)
  assert not example['keypoints'][:3].any()
  np.testing.assert_array_equal(example['keypoints'][3], np.reshape(layouts.COCO_POINTS, (17, 3)))
  dtypes = {'boxes': np.float32, 'classes': np.int32, 'crowd': bool, 'areas': np.float32, 'masks': np.uint8,
            'keypoints': np.float32, 'annotation_ids': np.int64}  # fmt: skip
  assert {name: example[name].dtype for name in dtypes} == dtypes
  plain = open_split('train', source, tmp_path)[0]
  assert plain.keys() == {'image', 'labels', 'id', 'index'}
  np.testing.assert_array_equal(plain['labels'], example['labels'])


def test_an_image_without_instances_is_background(source, tmp_path):
  example = open_split('train', source, tmp_path, instances=True)[2]
  assert example['image_id'] == 30 and not example['labels'].any()
  shapes = {'boxes': (0, 4), 'classes': (0,), 'crowd': (0,), 'areas': (0,), 'masks': (0, 18, 16),
            'keypoints': (0, 17, 3), 'annotation_ids': (0,)}  # fmt: skip
  assert {name: example[name].shape for name in shapes} == shapes


def features(folder):
  return set(json.loads((folder / '1.0.0' / 'features.json').read_text())['featuresDict']['features'])


def test_only_copies_with_instances_keep_text(source, tmp_path):
  open_split('val', source, tmp_path)
  assert features(tmp_path / 'data' / 'coco') == {'image', 'mask', 'id', 'objects'}
  layouts.siftflow(tmp_path / 'SiftFlowDataset')
  assert dataset.run('prepare', 'siftflow', str(tmp_path / 'SiftFlowDataset'), str(tmp_path / 'data')) == 0
  assert features(tmp_path / 'data' / 'siftflow') == {'image', 'mask', 'id'}


def painted(masks, classes, crowd, ids):
  """Pixel by pixel: the instance of fewest pixels, then that of the highest id; else void in a crowd."""
  sizes = [int((m > 0).sum()) for m in masks]
  truth = np.zeros(masks.shape[1:], int)
  for y, x in np.ndindex(truth.shape):
    here = [i for i in range(len(masks)) if masks[i, y, x]]
    single = [i for i in here if not crowd[i]]
    if single:
      truth[y, x] = classes[min(single, key=lambda i: (sizes[i], -ids[i]))]
    elif here:
      truth[y, x] = 255
  return truth


def test_which_instance_is_on_top():
  pycoco = pytest.importorskip('pycocotools.mask')
  rng = np.random.default_rng(0)
  for _ in range(20):
    masks = (rng.random((6, 9, 11)) < rng.uniform(0.1, 0.6, (6, 1, 1))).astype(np.uint8)
    masks[4] = masks[5, ::-1]  # level in size
    counts = [pycoco.encode(np.asfortranarray(mask))['counts'].decode() for mask in masks]
    columns = [rng.integers(1, 81, 6).tolist(), (rng.random(6) < 0.3).tolist(), rng.permutation(6).tolist()]
    kept = [
      {'id': number, 'class': kind, 'crowd': int(crowd), 'counts': text}
      for kind, crowd, number, text in zip(*columns, counts, strict=True)
    ]
    np.testing.assert_array_equal(coco_instances.masks(kept, 9, 11), masks)
    np.testing.assert_array_equal(coco_instances.labels(kept, 9, 11), painted(masks, *columns))


@needs_samples
@old_arrays
@pytest.mark.parametrize('part', ['train2017', 'val2017'])
def test_every_sample_is_drawn_as_pycocotools_draws_it(part, capsys):
  from pycocotools.coco import COCO

  owners = COCO(str(SOURCES / 'coco' / 'annotations' / f'instances_{part}.json'))
  persons = COCO(str(SOURCES / 'coco' / 'annotations' / f'person_keypoints_{part}.json'))
  found = coco.scan(str(SOURCES / 'coco'))
  assert not found.problems
  pairs = [
    p for s in found.splits['train' if part == 'train2017' else 'val'].split('+') for p in found.pairs[s]
  ]
  drawn = []
  for pair in pairs:
    image = owners.imgs[int(pair.id)]
    truth, text = pair.draw(image['height'], image['width'])
    example = coco_instances.example(text)
    assert example['image_id'] == image['id']
    for i, number in enumerate(example['annotation_ids']):
      theirs = owners.anns[number]
      np.testing.assert_array_equal(example['masks'][i], owners.annToMask(theirs))
      x, y, w, h = theirs['bbox']
      np.testing.assert_allclose(example['boxes'][i], (x, y, x + w, y + h), rtol=1e-6)
      assert example['areas'][i] == pytest.approx(theirs['area'], rel=1e-6)
      assert coco.SPEC.classes[example['classes'][i]] == owners.cats[theirs['category_id']]['name']
      assert example['crowd'][i] == theirs['iscrowd']
      points = persons.anns[number]['keypoints'] if number in persons.anns else [0] * 51
      np.testing.assert_array_equal(example['keypoints'][i].ravel(), points)
      drawn.append(number)
    assert set(np.unique(truth)) <= {0, 255, *example['classes']}
  assert sorted(drawn) == sorted(owners.anns) and len(pairs) == len(owners.imgs)


def test_compressed_run_lengths_are_understood(source, tmp_path):
  pycoco = pytest.importorskip('pycocotools.mask')
  before = open_split('train', source, tmp_path, instances=True)[1]
  packed = pycoco.encode(np.asfortranarray(before['masks'][0]))['counts'].decode()

  def compress(content):
    content['annotations'][4]['segmentation'] = {'size': [20, 30], 'counts': packed}

  edit(source / 'annotations' / 'instances_train2017.json', compress)
  after = open_split('train', source, tmp_path, instances=True)[1]
  assert after['annotation_ids'][0] == 11 and before['masks'][0].sum() == 84
  np.testing.assert_array_equal(after['masks'], before['masks'])


def test_degenerate_annotations_are_kept_as_they_are(source, tmp_path):
  """What the owners' tools would count is there, with no pixel drawn and no number changed."""
  odd = {
    901: ([], [3, 3, 0, 0], 0),
    902: ([[1, 1, 5, 5]], [1, 1, 4, 0], 0),
    903: ([[100, 100, 120, 100, 120, 120]], [100, 100, 20, 20], 200),
    904: ([layouts.box_polygon(-5, -5, 2, 3)], [-5, -5, 7.5, 8.25], 56),
  }
  points = [-4, 900, 2] * 17

  def add(content):
    for number, (segmentation, box, area) in odd.items():
      content['annotations'].append(
        {'segmentation': segmentation, 'area': area, 'iscrowd': 0, 'image_id': 139, 'bbox': box,
         'category_id': 1, 'id': number}
      )  # fmt: skip

  def add_points(content):
    add(content)
    for annotation in content['annotations']:
      annotation['keypoints'] = points

  edit(source / 'annotations' / 'instances_val2017.json', add)
  edit(source / 'annotations' / 'person_keypoints_val2017.json', add_points)
  example = open_split('val', source, tmp_path, instances=True)[0]
  assert example['annotation_ids'].tolist() == [5, *odd]
  assert example['boxes'][1:].tolist() == [
    [3, 3, 3, 3],
    [1, 1, 5, 1],
    [100, 100, 120, 120],
    [-5, -5, 2.5, 3.25],
  ]
  assert example['areas'][1:].tolist() == [0, 0, 200, 56]
  assert example['masks'].sum((1, 2)).tolist() == [25, 0, 0, 0, 6]
  assert example['masks'][4, :3, :2].all()
  assert (example['keypoints'][1:] == (-4, 900, 2)).all()
  truth = np.zeros((10, 12), int)
  truth[1:6, 1:6] = 2
  truth[:3, :2] = 1
  np.testing.assert_array_equal(example['labels'], truth)


def thing(number, **changes):
  """Changes an annotation of the training file."""

  def change(content):
    (found,) = (a for a in content['annotations'] if a['id'] == number)
    for name, value in changes.items():
      if value is None:
        del found[name]
      else:
        found[name] = value

  return change


def photo(number, **changes):
  def change(content):
    (found,) = (i for i in content['images'] if i['id'] == number)
    found.update(changes)

  return change


THINGS, PERSONS = 'instances_train2017.json', 'person_keypoints_train2017.json'
RUNS = {'size': [20, 30], 'counts': [590, 9]}
FAULTS = {
  'category': (THINGS, thing(501, category_id=12), r': annotation 501 has category 12; known are 1, .*, 90$'),
  'image': (THINGS, thing(501, image_id=7), r': annotation 501 is of image 7, which is not listed$'),
  'twice': (THINGS, thing(501, id=77), r': annotation 77 is listed twice$'),
  'image twice': (THINGS, photo(9, id=25), r': image 25 is listed twice'),
  'no file': (THINGS, photo(9, file_name='x.jpg'), r': image 9: .*/train2017/x.jpg is missing$'),
  'size': (
    THINGS,
    photo(9, height=21),
    r'image 9 is said to be 21x30, 000000000009.jpg is 20x30 \(height x width\)',
  ),
  'no size': (
    THINGS,
    photo(9, height='20'),
    r'an element of images has no whole number "height": \{"license": 3',
  ),
  'no name': (THINGS, photo(9, file_name=None), r'an element of images has no "file_name": '),
  'no outline': (THINGS, thing(501, segmentation=None), r': annotation 501 has no "segmentation"$'),
  'outline': (
    THINGS,
    thing(501, segmentation=[[1, 2, 3, 4, 5]]),
    r': annotation 501: a polygon is not a list of x, y',
  ),
  'far': (
    THINGS,
    thing(501, segmentation=[[1, 2, 3e5, 4, 5, 6]]),
    r': annotation 501: a polygon is not a list of x, y',
  ),
  'words': (
    THINGS,
    thing(501, segmentation='x'),
    r': annotation 501: segmentation is neither a list of polygons nor',
  ),
  'other runs': (
    THINGS,
    thing(501, segmentation=RUNS),
    r': annotation 501: the run lengths are of size \[20, 30\], the ',
  ),
  'short runs': (
    THINGS,
    thing(11, segmentation=RUNS),
    r': annotation 11: the run lengths do not add up to the 600 ',
  ),
  'cut runs': (
    THINGS,
    thing(11, segmentation={'size': [20, 30], 'counts': 'b0'}),
    r': annotation 11: the run lengths do',
  ),
  'negative runs': (
    THINGS,
    thing(11, segmentation={'size': [20, 30], 'counts': [601, -1]}),
    r'add up to the 600 pix',
  ),
  'no box': (
    THINGS,
    thing(501, bbox=[1, 2, 3]),
    r': annotation 501: bbox \[1, 2, 3\] is not x, y, width, height',
  ),
  'turned box': (
    THINGS,
    thing(501, bbox=[1, 2, -3, 4]),
    r': annotation 501: bbox \[1, 2, -3, 4\] is not x, y',
  ),
  'nan': (
    THINGS,
    thing(501, bbox=[1, float('nan'), 3, 4]),
    r': annotation 501: bbox \[1, nan, 3, 4\] is not x, y',
  ),
  'area': (THINGS, thing(501, area=-1), r': annotation 501: area -1 is not a number of pixels'),
  'crowd': (THINGS, thing(501, iscrowd=2), r': annotation 501: iscrowd is 2, not 0 or 1'),
  'points': (
    PERSONS,
    thing(502, keypoints=[1, 2, 3]),
    rf'{PERSONS}: annotation 502: keypoints are not 17 times x, y',
  ),
  'visibility': (
    PERSONS,
    thing(502, keypoints=[1, 2, 3] * 17),
    rf'{PERSONS}: annotation 502: keypoints are not 17 times x, y',
  ),
  'stranger': (PERSONS, thing(502, id=9), rf'{PERSONS}: annotation 9 is not in {THINGS}$'),
  'no lists': (
    THINGS,
    lambda c: c.pop('annotations'),
    r'not an annotation file, it has no list of annotations$',
  ),
  'other names': (
    THINGS,
    lambda c: c['categories'][2].update(name='truck'),
    r": category 3 is called 'truck'; it has to be 'car'$",
  ),
  'other ids': (
    THINGS,
    lambda c: c['categories'][2].update(id=92),
    r': category 92 \(car\) is unknown; known are 1, ',
  ),
}


@pytest.mark.parametrize(('file', 'change', 'message'), FAULTS.values(), ids=FAULTS)
def test_every_fault_is_one_line_naming_file_and_annotation(source, tmp_path, file, change, message):
  edit(source / 'annotations' / file, change)
  with pytest.raises(ValueError, match=message) as error:
    open_split('train', source, tmp_path)
  assert '\n' not in str(error.value) and 'train2017.json: ' in str(error.value)
  with pytest.raises(ValueError, match='is not prepared'):
    coco.open_split('train', directory=str(tmp_path / 'data'))


def test_verify_goes_on_after_a_fault(source):
  path = source / 'annotations' / THINGS
  for change in (thing(501, category_id=12), thing(77, category_id=999), thing(11, area=-1)):
    edit(path, change)
  known = ', '.join(map(str, layouts.COCO_IDS))
  assert list(verify.all_problems(coco.SPEC, coco.scan(str(source)))) == [
    f'{path}: annotation 501 has category 12; known are {known}',
    f'{path}: annotation 77 has category 999; known are {known}',
    f'{path}: annotation 11: area -1 is not a number of pixels',
  ]


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('', r"Expecting '\{'"),
    ('{"images": [{"id": 1', r'delimiter'),
    ('{"images": [] "annotations": []}', r"Expecting ','"),
    ('[1, 2]', r"Expecting '\{'"),
    ('{"images": [], "annotations": [], "categories": []} {', r'Extra data'),
    ('{}', r'.'),
  ],
)
def test_broken_json_is_named(source, tmp_path, text, message):
  path = source / 'annotations' / THINGS
  path.write_text(text)
  with pytest.raises(ValueError, match=f'{path}: not readable as JSON \\(.*{message}') as error:
    open_split('train', source, tmp_path)
  assert '\n' not in str(error.value)


def test_a_file_that_is_no_text_or_not_there_is_named(source, tmp_path):
  path = source / 'annotations' / PERSONS
  path.write_bytes(b'\xff\xfe')
  with pytest.raises(ValueError, match=f'{path}: not a readable file'):
    open_split('train', source, tmp_path)
  path.unlink()
  with pytest.raises(ValueError, match=f'^{path} is missing$'):
    open_split('train', source, tmp_path)


def test_reading_in_pieces_is_reading(source):
  """In any order of the keys, with space anywhere, as the standard reader has it."""
  path = source / 'annotations' / THINGS
  content = json.loads(path.read_text())
  turned = dict(reversed(content.items())) | {'empty': [], 'number': 1.5, 'nothing': None, 'much': {'a': [1]}}
  for text in (json.dumps(turned), json.dumps(turned, indent=2), f'\n {json.dumps(turned)}\n\n'):
    path.write_text(text)
    file = annotations.read(path, coco.CATEGORIES)
    assert [file.annotation(a['id']) for a in content['annotations']] == content['annotations']
    assert file.photos == {i['id']: (i['file_name'], i['height'], i['width']) for i in content['images']}
    assert file.of_photo == {25: [900100, 501, 77, 502], 9: [11, 12], 30: []}
    assert not file.problems


def test_reading_says_how_far_it_is(source, capsys, monkeypatch):
  clock = iter(np.arange(0, 1000, 0.5))
  monkeypatch.setattr(progress.time, 'monotonic', lambda: float(next(clock)))
  annotations.read(source / 'annotations' / THINGS, coco.CATEGORIES)
  said = capsys.readouterr().err.splitlines()
  size = progress.readable_size(len((source / 'annotations' / THINGS).read_text()))
  assert len(said) > 5
  for line in said:
    assert re.fullmatch(rf'{re.escape(THINGS)}: read [0-9.]+ (kB|bytes) of {size}, about \d+ s left', line), (
      line
    )


def test_a_source_may_lack_splits(source, tmp_path):
  for name in ('train2017', 'val2017', 'train2014'):
    (source / name).rename(tmp_path / name)
  assert len(open_split('val2014', source, tmp_path)) == 1
  for split in ('train', 'val', 'trainvoc', 'train2014'):
    with pytest.raises(ValueError, match=f"split '{split}' was not among .*; get train2017.zip, "):
      open_split(split, source, tmp_path)
  with pytest.raises(
    ValueError, match="'train2017' is unknown for coco; there are: train, val, train2014, val2014, trainvoc"
  ):
    open_split('train2017', source, tmp_path)  # fmt: skip
  (source / 'val2014').rename(tmp_path / 'val2014')
  with pytest.raises(ValueError, match=f'{source}: not the coco folder, train2017, val2017, .* not found$'):
    open_split('val', source, tmp_path)


def test_no_image_shows_what_voc_has(source, tmp_path):
  edit(source / 'annotations' / THINGS, thing(77, area=700))
  assert 'trainvoc' not in coco.scan(str(source)).splits
  assert [open_split('train', source, tmp_path)[i]['id'][-2:] for i in range(3)] == ['09', '25', '30']
  for name in (THINGS, PERSONS):
    edit(source / 'annotations' / name, lambda content: content.update(images=[], annotations=[]))
  with pytest.raises(ValueError, match=f'{source}: no images found for train'):
    open_split('train', source, tmp_path)


def test_new_keypoints_make_a_new_copy(source, tmp_path, monkeypatch):
  open_split('train', source, tmp_path)
  edit(source / 'annotations' / PERSONS, thing(502, keypoints=[5, 6, 1] * 17))
  example = open_split('train', source, tmp_path, instances=True)[0]
  assert (example['keypoints'][3] == (5, 6, 1)).all()
  monkeypatch.setattr(records, 'write', lambda *_: pytest.fail('prepared again'))
  open_split('val', source, tmp_path)


def test_twenty_one_classes_as_torchvision_draws_them(source, tmp_path):
  examples = open_split('train', source, tmp_path, classes=21)
  table = np.zeros((32, 44), int)  # the cup is not seen, the crowd is a person, what overlaps is void
  table[4:31, 2:42] = 11
  table[:6, 10:44] = table[2:8, 4:10] = table[9:12, 6:9] = 15
  table[4:6, 10:42] = table[4:8, 4:10] = table[9:12, 6:9] = 255
  np.testing.assert_array_equal(examples[0]['labels'], table)
  assert not examples[1]['labels'].any() and not examples[2]['labels'].any()
  assert examples[0].keys() == {'image', 'labels', 'id', 'index'} and len(examples) == 3
  # The pixels that a copy counts are those of its 81 classes, so these labels have to be counted themselves.
  assert not hasattr(examples, 'counts')
  pixels = counts.read(examples, 21).sum(axis=0)
  assert (pixels[11], pixels[15], pixels[21]) == (
    (table == 11).sum(),
    (table == 15).sum(),
    (table == 255).sum(),
  )
  assert open_split('val', source, tmp_path, classes=21)[0]['labels'].max() == 2
  with pytest.raises(ValueError, match='coco has no 20 classes; there are: 81, 21'):
    open_split('val', source, tmp_path, classes=20)
  with pytest.raises(ValueError, match='instances are of 80 kinds; they do not come with the 21 classes'):
    open_split('val', source, tmp_path, classes=21, instances=True)
  config = runs.tiny()
  with config.unlocked():
    config.data.name, config.data.options = 'coco', {'classes': 21}
  assert resolve.spec(config).protocol == 'cocovoc21' and resolve.spec(config).num_classes == 21
  with config.unlocked():
    config.data.options = {'instances': True}
  assert resolve.spec(config).protocol == 'coco81' and resolve.spec(config).num_classes == 81


def test_without_pycocotools_a_copy_is_read_but_not_made(source, tmp_path, monkeypatch):
  open_split('train', source, tmp_path)
  monkeypatch.setitem(sys.modules, 'pycocotools', None)
  monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
  for options in ({}, {'instances': True}, {'classes': 21}):
    coco.open_split('train', directory=str(tmp_path / 'data'), **options)[0]
  with pytest.raises(ValueError, match=r"coco are drawn by pycocotools; type: pip install -e '.\[coco\]'$"):
    open_split('train', source, tmp_path)
