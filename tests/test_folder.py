"""Anybody's own photos: what arrives of them, how they are split, what is said when something is amiss."""

import hashlib
import json
import subprocess
import sys

import layouts
import numpy as np
import pytest
import runs
from PIL import Image

from configs import unet_folder
from jseg import dataset
from jseg.data import classes, labels, photos, records, spec
from jseg.data.builders import folder
from jseg.engine import predictor, resolve, train, workdirs

NAMES = ['background', 'leaf', 'rust']
COLOURS = [[0, 0, 0], [0, 128, 0], [200, 80, 0]]
RICH = {
  'classes': [
    {'name': 'background', 'colour': COLOURS[0]},
    {'name': 'leaf', 'ids': [4, 7], 'colour': COLOURS[1]},
    {'name': 'rust', 'ids': 2, 'colour': COLOURS[2]},
  ],
  'void': [9, 255],
  'void_colours': [[224, 224, 192]],
}


def make(root, names, known=(0, 1, 2, 255), said=NAMES, shape=(12, 10)):
  """A folder of small photos; returns {name: (colour of the photo, mask)}."""
  content = {}
  for i, name in enumerate(names):
    size = shape[0] + i % 3, shape[1] + i % 2
    colour = layouts.image(root / 'images' / f'{name}{(".png", ".jpg", ".JPEG")[i % 3]}', size)
    raw = layouts.ids(known, size)
    layouts.index_png(root / 'masks' / f'{name}.png', raw)
    content[name] = colour, raw
  (root / 'classes.json').write_text(json.dumps(said))
  return content


def read(root, split, tmp_path, **options):
  examples = folder.open_split(split, source=str(root), directory=str(tmp_path / 'data'), **options)
  return {examples[i]['id']: examples[i] for i in range(len(examples))}


def refuse(root, tmp_path, message):
  with pytest.raises(ValueError, match=message) as error:
    read(root, 'train', tmp_path)
  assert '\n' not in str(error.value)


def test_images_and_train_ids_arrive(tmp_path):
  root = tmp_path / 'My leaves'
  content = make(root, [f'leaf {i}.v2' for i in range(9)])  # names with a blank and a dot
  found = read(root, 'trainval', tmp_path)
  assert sorted(found) == sorted(content)
  for name, (colour, raw) in content.items():
    np.testing.assert_array_equal(found[name]['labels'], raw)
    assert found[name]['image'].shape == (*raw.shape, 3)
    np.testing.assert_allclose(found[name]['image'].mean((0, 1)), colour, atol=2)


def test_ids_and_colours_of_classes_json(tmp_path):
  root = tmp_path / 'leaves'
  content = make(root, ['a', 'b', 'c', 'd', 'e'], known=(0, 4, 7, 2, 9, 255), said=RICH)
  ids = {0: 0, 4: 1, 7: 1, 2: 2, 9: 255, 255: 255}
  # Two masks as colours, one of them a palette file whose numbers mean nothing.
  for name, mode in (('b', 'RGB'), ('c', 'P')):
    raw = content[name][1]
    table = np.array([*COLOURS, [224, 224, 192]], np.uint8)
    shown = np.vectorize({0: 0, 1: 1, 2: 2, 255: 3}.get)(np.vectorize(ids.get)(raw))
    mask = Image.fromarray(table[shown])
    if mode == 'P':
      order = [2, 3, 1, 0]
      mask = Image.fromarray(np.argsort(order)[shown].astype(np.uint8))
      mask.putpalette(table[order].tobytes())
    mask.save(root / 'masks' / f'{name}.png')
  # And one with a palette that has nothing to do with the classes.
  labels.write_index(root / 'masks' / 'd.png', content['d'][1], [(9, 9, 9)] * 3)
  found = read(root, 'trainval', tmp_path)
  for name, (_, raw) in content.items():
    np.testing.assert_array_equal(found[name]['labels'], np.vectorize(ids.get)(raw), err_msg=name)
  known = folder.spec_of(source=str(root))
  assert known.classes == ('background', 'leaf', 'rust') and known.palette == tuple(map(tuple, COLOURS))
  assert labels.owners_table(known)[[0, 1, 2, 255]].tolist() == [0, 4, 2, 9]


def test_masks_written_are_read_back(tmp_path):
  root = tmp_path / 'leaves'
  make(root, ['a', 'b', 'c'], known=(0, 4, 7, 2, 9, 255), said=RICH)
  before = read(root, 'trainval', tmp_path)
  for name, example in before.items():
    labels.write_owners(root / 'masks', name, example['labels'], folder.spec_of(source=str(root)))
  with Image.open(root / 'masks' / 'a.png') as mask:
    assert mask.mode == 'P' and set(np.unique(np.asarray(mask))) == {0, 4, 2, 9}
    at = tuple(np.argwhere(before['a']['labels'] == 255)[0])
    assert np.asarray(mask.convert('RGB'))[at].tolist() == [224, 224, 192]
  for name, example in read(root, 'trainval', tmp_path).items():
    np.testing.assert_array_equal(example['labels'], before[name]['labels'])


def by_hand(names):
  return [n for n in names if int.from_bytes(hashlib.sha256(n.encode()).digest(), 'big') % 5 == 0]


def test_one_in_five_by_the_name_and_none_moves(tmp_path):
  names = [f'{i:03d}' for i in range(40)]
  make(tmp_path / 'a', names)
  train_, val = (set(read(tmp_path / 'a', split, tmp_path)) for split in ('train', 'val'))
  assert val == set(by_hand(names)) and train_ == set(names) - val and 3 <= len(val) <= 13
  make(tmp_path / 'a', [f'{i:03d}' for i in range(40, 60)])
  more, more_val = (set(read(tmp_path / 'a', split, tmp_path)) for split in ('train', 'val'))
  assert more > train_ and more_val >= val and len(more) + len(more_val) == 60


@pytest.mark.parametrize('names', [['a', 'b'], ['x/1', 'x/2'], ['0', '1', '2']])
def test_few_photos_still_give_both_splits(tmp_path, names):
  make(tmp_path / 'few', names)
  train_, val = (read(tmp_path / 'few', split, tmp_path) for split in ('train', 'val'))
  assert len(val) >= 1 and len(train_) >= 1 and sorted([*train_, *val]) == sorted(names)
  with pytest.raises(ValueError, match="split 'test' was not among"):
    read(tmp_path / 'few', 'test', tmp_path)


def test_one_photo_is_too_few(tmp_path):
  make(tmp_path / 'one', ['a'])
  refuse(tmp_path / 'one', tmp_path, 'needs at least two photos')


def test_a_video_is_in_one_split_as_a_whole(tmp_path):
  names = [f'drive/{video}/{frame:04d}' for video in 'abcdefghijklmnop' for frame in range(3)]
  make(tmp_path / 'videos', names, shape=(4, 4))
  train_, val = (set(read(tmp_path / 'videos', split, tmp_path)) for split in ('train', 'val'))
  assert train_ | val == set(names) and val
  parents = [{name.rpartition('/')[0] for name in part} for part in (train_, val)]
  assert not parents[0] & parents[1]
  assert parents[1] == set(by_hand({name.rpartition('/')[0] for name in names}))


def test_subfolders_named_as_splits(tmp_path):
  make(tmp_path / 'a', ['train/x/1', 'train/2', 'val/1', 'test/1', 'test/2'])
  for split, names in {
    'train': ['train/2', 'train/x/1'],
    'val': ['val/1'],
    'test': ['test/1', 'test/2'],
  }.items():
    assert list(read(tmp_path / 'a', split, tmp_path)) == names


def test_subfolders_without_one_to_measure_on(tmp_path):
  make(tmp_path / 'a', ['train/1', 'train/2', 'test/1'])
  refuse(tmp_path / 'a', tmp_path, 'a: there is train/ in images/, but no val/ in images/')


def test_lists_give_the_splits_and_their_order(tmp_path):
  root = tmp_path / 'a'
  make(root, ['b c', 'a', 'v/1', 'left out', 'x.y'])
  layouts.lines(root / 'train.txt', ['x.y', 'images/a.jpg', '', './b c.png'])
  layouts.lines(root / 'val.txt', ['v/1'])
  assert list(read(root, 'train', tmp_path)) == ['x.y', 'a', 'b c']
  assert list(read(root, 'trainval', tmp_path)) == ['x.y', 'a', 'b c', 'v/1']
  layouts.lines(root / 'val.txt', ['v/1', 'a'])
  refuse(root, tmp_path, r'val.txt line 2: a is listed before, .*train.txt line 2')
  layouts.lines(root / 'val.txt', ['v/1', 'v/2.png'])
  refuse(root, tmp_path, r"val.txt line 2: 'v/2.png' is no photo in images/")
  (root / 'val.txt').write_bytes(b'v/1\xff\n')
  refuse(root, tmp_path, r'val.txt: not a text in UTF-8 \(')
  (root / 'val.txt').write_text('v/1\n', encoding='utf-8-sig')
  assert list(read(root, 'val', tmp_path)) == ['v/1']
  layouts.lines(root / 'val.txt', [])
  refuse(root, tmp_path, r'val.txt: lists no photos')
  (root / 'val.txt').unlink()
  refuse(root, tmp_path, r'a: there is train.txt, but no val.txt')


def test_photos_are_read_as_predict_reads_them(tmp_path):
  root = tmp_path / 'phone'
  make(root, ['turned', 'clear', 'wide', 'plain'], shape=(9, 9))
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (8, 12, 3), np.uint8)
  for name in ('turned', 'clear', 'wide'):
    next((root / 'images').glob(f'{name}.*')).unlink()
  exif = Image.Exif()
  exif[0x0112] = 6  # to be turned by a quarter
  Image.fromarray(pixels).save(root / 'images' / 'turned.jpg', exif=exif, quality=95)
  Image.fromarray(np.dstack([pixels, np.full((8, 12), 40, np.uint8)])).save(root / 'images' / 'clear.png')
  Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(root / 'images' / 'wide.tif')
  shapes = {'turned': (12, 8), 'clear': (8, 12), 'wide': (8, 12)}
  for name, shape in shapes.items():
    layouts.index_png(root / 'masks' / f'{name}.png', layouts.ids((0, 1, 2), shape))
  found = read(root, 'trainval', tmp_path)
  for name, shape in shapes.items():
    expected = photos.read(next((root / 'images').glob(f'{name}.*')))
    assert expected.shape == (*shape, 3)
    np.testing.assert_array_equal(found[name]['image'], expected)
  layouts.index_png(root / 'masks' / 'turned.png', layouts.ids((0, 1, 2), (8, 12)))
  refuse(root, tmp_path, r'turned.png: the mask is 8x12, its image 12x8')


def test_plain_photos_are_kept_byte_by_byte(tmp_path, monkeypatch):
  make(tmp_path / 'a', [str(i) for i in range(6)])
  monkeypatch.setattr(records, 'encode', count := Counter(records.encode))
  read(tmp_path / 'a', 'train', tmp_path)
  assert count.calls == 6  # the masks alone


class Counter:
  def __init__(self, function):
    self.function, self.calls = function, 0

  def __call__(self, *args):
    self.calls += 1
    return self.function(*args)


def test_faults_are_named(tmp_path):
  root = tmp_path / 'a'
  make(root, ['a', 'b', 'c'])
  (root / 'images' / '._c.jpg').write_bytes(b'')  # what macOS leaves
  (root / 'images' / 'notes.txt').write_text('')
  read(root, 'train', tmp_path)
  layouts.image(root / 'images' / 'a.bmp', (12, 10))
  refuse(root, tmp_path, r'images/a.png: a.bmp has the same name; rename one')
  (root / 'images' / 'a.bmp').unlink()
  layouts.image(root / 'masks' / 'a.jpg', (12, 10))
  refuse(root, tmp_path, r'masks/a.jpg: a mask is a PNG; other formats blur')
  (root / 'masks' / 'a.jpg').unlink()
  Image.new('RGB', (10, 12), (1, 2, 3)).save(root / 'masks' / 'a.png')
  refuse(root, tmp_path, r'masks/a.png: holds colours, but classes.json does not give every class its colour')
  (root / 'masks' / 'a.png').unlink()
  refuse(root, tmp_path, r'images/a.png: has no mask, .*/masks/a.png')
  (root / 'images' / 'a.png').rename(root / 'a.png')
  layouts.index_png(root / 'masks' / 'd.png', np.zeros((12, 10), np.uint8))
  refuse(root, tmp_path, r'masks/d.png: has no photo, .*/images/d\.\*')
  (root / 'masks' / 'd.png').unlink()
  layouts.index_png(root / 'masks' / 'b.png', np.full((13, 11), 3, np.uint8))
  refuse(root, tmp_path, r'masks/b.png: label 3 in 143 pixels is no known id; known are 0, 1, 2, 255')


def test_an_unknown_colour_is_named_with_its_count(tmp_path):
  root = tmp_path / 'a'
  make(root, ['a', 'b'], known=(0, 4, 2), said=RICH)
  pixels = np.full((12, 10, 3), COLOURS[1], np.uint8)
  pixels[:3, 0], pixels[5, 5] = (10, 20, 30), (1, 1, 1)
  Image.fromarray(pixels).save(root / 'masks' / 'a.png')
  refuse(root, tmp_path, r'a.png: colour 10 20 30 in 3 pixels is that of no class; add it to classes.json')
  clear = np.dstack([pixels, np.full((12, 10), 9, np.uint8)])
  Image.fromarray(clear).save(root / 'masks' / 'a.png')
  refuse(root, tmp_path, r'a.png: is partly transparent; a mask of colours is opaque')
  # Not only what is no picture: too large a one, one whose colours were changed, one that is cut off.
  place = root / 'masks' / 'a.png'
  Image.new('1', (20_000, 20_000)).save(place)
  refuse(root, tmp_path, r'a.png: not a readable mask \(Image size \(400000000 pixels\) exceeds limit')
  Image.fromarray(pixels).save(place, format='JPEG')
  refuse(root, tmp_path, 'a.png: a JPEG cannot be a mask')
  Image.fromarray(pixels).save(place)
  place.write_bytes(place.read_bytes()[:60])
  refuse(root, tmp_path, 'a.png: not a readable mask')


@pytest.mark.parametrize(
  ('said', 'message'),
  [
    ('{"classes": ', r'classes.json: not JSON \('),
    ('7', 'it must be an object with classes, void, void_colours, not 7'),
    ('{"class": ["a", "b"]}', "it has 'class'; there are: classes, void, void_colours"),
    ('{}', 'classes must be a list of 2 to 254 classes'),
    ('["leaf"]', 'classes must be a list of 2 to 254 classes'),
    ('["a", 7]', 'a class must be an object with name, ids, colour, not 7'),
    ('["a", {"name": "b", "color": [0, 0, 0]}]', "a class has 'color'; there are: name, ids, colour"),
    ('["a", ""]', r'the class \{"name": ""\} has no name'),
    ('["a", "a"]', 'the name a is given twice'),
    ('["a", {"name": "b", "ids": 0}]', 'the id 0 is given twice'),
    ('["a", {"name": "b", "ids": 256}]', "the ids of 'b' are 256; they must be whole numbers 0..255"),
    ('["a", {"name": "b", "ids": []}]', r"the ids of 'b' are \[\]; they must be"),
    ('["a", {"name": "b", "colour": "red"}]', r"a colour of 'b' is \"red\"; it must be \[red, green, blue\]"),
    (
      '[{"name": "a", "colour": [1, 2, 3]}, {"name": "b", "colour": [1, 2, 3]}]',
      r'the colour \(1, 2, 3\) is',
    ),
    ('{"classes": ["a", "b"], "void": 1}', 'the id 1 is given twice'),
    ('{"classes": ["a", "b"], "void": [], "void_colours": [[1, 1, 1]]}', 'void_colours need an id in void'),
  ],
)
def test_a_wrong_classes_json_is_told(said, message, tmp_path):
  make(tmp_path / 'a', ['a', 'b'])
  (tmp_path / 'a' / 'classes.json').write_text(said)
  refuse(tmp_path / 'a', tmp_path, message)


@pytest.mark.parametrize(
  ('known', 'held', 'proposed'),
  [
    ((0, 255), '0, 255', [{'name': 'background', 'ids': 0}, {'name': 'class 255', 'ids': 255}]),
    ((0, 1, 2, 255), '0, 1, 2, 255', ['background', 'class 1', 'class 2']),
    ((0, 1), '0, 1', ['background', 'class 1']),
  ],
)
def test_a_missing_classes_json_is_proposed(known, held, proposed, tmp_path):
  root = tmp_path / 'a'
  content = make(root, ['a', 'b', 'c'], known=known)
  (root / 'classes.json').unlink()
  with pytest.raises(
    ValueError, match=f'classes.json is missing; the first masks hold {held}; name them'
  ) as error:
    read(root, 'train', tmp_path)
  (root / 'classes.json').write_text(str(error.value).partition('name them, as ')[2])
  assert json.loads((root / 'classes.json').read_text()) == proposed
  found = read(root, 'trainval', tmp_path)
  for name, (_, raw) in content.items():
    expected = np.where(raw == 255, 1, raw) if known == (0, 255) else raw
    np.testing.assert_array_equal(found[name]['labels'], expected)


def test_a_folder_that_is_none_says_what_belongs_in_it(tmp_path):
  (tmp_path / 'a' / 'images').mkdir(parents=True)
  refuse(
    tmp_path / 'a',
    tmp_path,
    r'a: there is no masks/ in it; put your photos into images/, a mask .* classes.json',
  )
  refuse(tmp_path / 'b', tmp_path, r'b: there is no images/ and no masks/ in it; put your photos')


def test_changed_classes_make_the_copy_anew(tmp_path):
  root = tmp_path / 'a'
  make(root, ['a', 'b', 'c'], known=(0, 1, 2))
  first = read(root, 'trainval', tmp_path)
  (root / 'classes.json').write_text(
    json.dumps([{'name': n, 'ids': i} for n, i in zip('abc', (2, 1, 0), strict=True)])
  )
  again = read(root, 'trainval', tmp_path)
  for name, example in again.items():
    np.testing.assert_array_equal(example['labels'], 2 - first[name]['labels'])


def test_two_folders_of_one_name_keep_their_copies_apart(tmp_path, monkeypatch):
  data = str(tmp_path / 'data')
  for place in ('one', 'two'):
    make(tmp_path / place / 'photos', ['a', 'b'], said=[place, 'b', 'c'])
    assert dataset.run('prepare', 'folder', str(tmp_path / place / 'photos'), data) == 0
  copies = sorted(p.name for p in (tmp_path / 'data').iterdir() if not p.name.startswith('.'))
  assert len(copies) == 2 and all(copy.startswith('folder_photos_') for copy in copies)
  with pytest.raises(ValueError, match=f'which photos.* one of: {copies[0]}, {copies[1]}') as error:
    folder.open_split('train', directory=data)
  assert '\n' not in str(error.value)
  found = folder.spec_of(directory=data, copy=copies[0])
  assert found.classes[1:] == ('b', 'c') and found.classes[0] in ('one', 'two')
  assert len(folder.open_split('train', directory=data, copy=copies[0])) == 1


def test_the_copy_serves_without_its_source(tmp_path):
  root, data = tmp_path / 'a', str(tmp_path / 'data')
  make(root, ['a', 'b', 'c'], said=RICH, known=(0, 2))
  expected = folder.spec_of(source=str(root))
  before = read(root, 'train', tmp_path)
  root.rename(tmp_path / 'elsewhere')
  assert folder.spec_of(directory=data) == expected
  examples = folder.open_split('train', directory=data)
  assert [examples[i]['id'] for i in range(len(examples))] == list(before)


def test_the_dataset_door(tmp_path, capsys):
  root = tmp_path / 'a'
  make(root, [f'{i}' for i in range(10)])
  assert dataset.run('prepare', 'folder', str(root), str(tmp_path / 'data')) == 0
  out = capsys.readouterr().out.splitlines()
  count = len(by_hand([f'{i}' for i in range(10)]))
  assert out[:2] == [f'folder train: {10 - count} images', f'folder val: {count} images']
  assert dataset.run('verify', 'folder', str(root), '') == 0
  assert 'no problems' in capsys.readouterr().out
  (root / 'images' / '0.png').write_bytes(b'')
  assert dataset.run('verify', 'folder', str(root), '') == 1
  assert 'images/0.png: not a readable image' in capsys.readouterr().out
  with pytest.raises(ValueError, match='folder: which photos'):
    dataset.run('prepare', 'folder', '', str(tmp_path / 'none'))


def test_classes_by_hand():
  found = classes.parse(json.dumps(RICH), 'x')
  assert found == classes.Classes(
    names=('background', 'leaf', 'rust'),
    ids=((0,), (4, 7), (2,)),
    palette=((0, 0, 0), (0, 128, 0), (200, 80, 0)),
    void=(9, 255),
    colours={(0, 0, 0): 0, (0, 128, 0): 4, (200, 80, 0): 2, (224, 224, 192): 9},
  )
  plain = classes.parse('["a", "b"]', 'x')
  assert (plain.ids, plain.void, plain.colours) == (((0,), (1,)), (255,), {})
  assert plain.palette == ((0, 0, 0), (128, 0, 0))
  assert classes.parse('["a", {"name": "b", "ids": 255}]', 'x').void == ()


def tiny(root, tmp_path, steps=2):
  config = unet_folder.get_config()
  with config.unlocked():
    config.model.width, config.model.depth = 4, 2
  config.data.source, config.data.dir = str(root), str(tmp_path / 'data')
  config.data.crop, config.eval.window, config.data.threads = (16, 16), (16, 16), 1
  config.train.steps, config.optim.warmup, config.train.log_every = steps, 0, 1
  return config


@pytest.mark.slow
def test_a_run_on_own_photos_and_its_predictions(tmp_path):
  root, workdir = tmp_path / 'leaves', tmp_path / 'run'
  names = [f'v{video}/{frame}' for video in range(4) for frame in range(3)]
  make(root, names, known=(0, 4, 2, 9), said=RICH, shape=(20, 24))
  train.train(tiny(root, tmp_path), workdir)
  # Frames of several videos have the same names.
  val = read(root, 'val', tmp_path)
  written = sorted(path.name for path in (workdir / 'overlays').glob('*.png'))
  assert written == sorted(f'{name.replace("/", "_")}.png' for name in list(val)[:8])
  known = folder.spec_of(source=str(root))

  # Classes in another order are another run's.
  said = RICH | {'classes': [RICH['classes'][0], RICH['classes'][2], RICH['classes'][1]]}
  (root / 'classes.json').write_text(json.dumps(said))
  with pytest.raises(
    ValueError, match="was trained with 'leaf' as class 1, which is 'rust' now; name another"
  ):
    train.train(tiny(root, tmp_path, steps=3), workdir)

  # The run is enough to predict with.
  root.rename(tmp_path / 'gone')
  run = predictor.load(workdir)
  assert run.spec == known == workdirs.dataset(workdir, workdirs.get_config(str(workdir)))
  photo = tmp_path / 'photos' / 'inner' / 'one.jpg'
  layouts.image(photo, (21, 30))
  truth = run.predict(photos.read(photo))
  done = subprocess.run(
    [sys.executable, '-m', 'jseg.predict', f'--workdir={workdir}', f'--images={tmp_path / "photos"}',
     f'--output={tmp_path / "out"}', '--ids=owners'],
    cwd=runs.REPO, env=runs.environment(), capture_output=True, text=True, timeout=600, check=False,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert [path.name for path in (tmp_path / 'out').iterdir()] == [
    'one.png'
  ]  # nothing else for a server to trip over
  with Image.open(tmp_path / 'out' / 'one.png') as mask:
    np.testing.assert_array_equal(np.asarray(mask), np.array([0, 4, 2])[truth])
  (workdir / workdirs.DATASET).write_text('{}')
  with pytest.raises(ValueError, match=r'dataset.json: not the specification of a dataset'):
    predictor.load(workdir)


def test_a_config_finds_the_classes(tmp_path):
  make(tmp_path / 'a', ['a', 'b'], said=RICH, known=(0, 4))
  config = tiny(tmp_path / 'a', tmp_path)
  assert isinstance(resolve.spec(config), spec.DatasetSpec) and resolve.spec(config).classes[2] == 'rust'
  config.data.source = ''
  with pytest.raises(ValueError, match='folder: which photos.*--config.data.source=FOLDER'):
    resolve.spec(config)
