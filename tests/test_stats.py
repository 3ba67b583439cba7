"""Counts of pixels kept with a copy, the figures that follow, and class weights that come from these."""

import importlib
import json
import math
import os
import pathlib

import layouts
import numpy as np
import pytest
import runs

from jseg import dataset
from jseg.data import counts, labels, spec, stats
from jseg.data.builders import shapes
from jseg.engine import predictor, resolve, train

SOURCES = pathlib.Path(
  os.environ.get('JSEG_DATA_SOURCES') or pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'
)


def builder(case):
  return importlib.import_module(f'jseg.data.builders.{case.split()[0]}')


def expected_counts(truths, num_classes):
  """Pixel by pixel."""
  rows = []
  for truth in truths:
    row = [0] * (num_classes + 1)
    for label in truth.ravel():
      row[num_classes if label == 255 else label] += 1
    rows.append(row)
  return np.array(rows)


@pytest.mark.parametrize('case', layouts.MAKERS)
def test_counts_of_every_split(case, tmp_path):
  module, source = builder(case), tmp_path / 'source'
  splits = layouts.MAKERS[case](source)
  for split, rows in splits.items():
    examples = module.open_split(split, source=str(source), directory=str(tmp_path / 'data'))
    expected = expected_counts([row[2] for row in rows], module.SPEC.num_classes)
    assert examples.counts.dtype == np.int64
    np.testing.assert_array_equal(examples.counts, expected)


def prepared(case, tmp_path):
  """A builder with a copy in tmp_path/data: (it, {split: rows}, the copy's folder)."""
  module = builder(case)
  splits = layouts.MAKERS[case](tmp_path / 'source')
  options = {'source': str(tmp_path / 'source'), 'directory': str(tmp_path / 'data')}
  module.open_split('train', **options)
  return module, splits, tmp_path / 'data' / module.SPEC.name / module.SPEC.version


def test_thirteen_classes_have_counts_of_their_own(tmp_path):
  nyu, splits, _ = prepared('nyudv2', tmp_path)
  examples = nyu.open_split('train', directory=str(tmp_path / 'data'), classes=13)
  to_13 = {train: thirteen - 1 for train, thirteen in enumerate(nyu.TO_13)} | {255: 255}
  truths = [np.vectorize(to_13.get)(truth) for _, _, truth in splits['train']]
  np.testing.assert_array_equal(examples.counts, expected_counts(truths, 13))


def test_the_masks_are_read_only_if_the_copy_has_no_counts(tmp_path, monkeypatch):
  module, _, folder = prepared('voc', tmp_path)
  kept = {path.name: path.read_bytes() for path in folder.glob('counts-*.npy')}
  assert kept.keys() == {'counts-train.npy', 'counts-val.npy'}

  def again():
    return module.open_split('trainval', directory=str(tmp_path / 'data')).counts

  with monkeypatch.context() as patch:
    patch.setattr(labels, 'read_index', lambda *_: pytest.fail('read a mask'))
    before = again()
  for name in kept:  # a copy of the time before there were counts
    (folder / name).unlink()
  np.testing.assert_array_equal(again(), before)
  assert {path.name: path.read_bytes() for path in folder.glob('counts-*')} == kept
  (folder / 'counts-val.npy').unlink()
  monkeypatch.setattr(pathlib.Path, 'replace', lambda *_: (_ for _ in ()).throw(PermissionError('read only')))
  np.testing.assert_array_equal(again(), before)  # a copy that may not be written to
  assert not list(folder.glob('*counts-val*'))


@pytest.mark.parametrize('damage', [b'', b'no table', None], ids=['empty', 'text', 'other size'])
def test_damaged_counts_are_named(tmp_path, damage):
  module, _, folder = prepared('isbi', tmp_path)
  path = folder / 'counts-train.npy'
  if damage is None:
    np.save(path, np.zeros((5, 9), np.int32))
  else:
    path.write_bytes(damage)
  examples = module.open_split('train', directory=str(tmp_path / 'data'))
  with pytest.raises(ValueError, match=f'{path}: .*; delete it, and the masks are counted again') as error:
    _ = examples.counts
  assert '\n' not in str(error.value)
  path.unlink()
  assert examples.counts.sum() == 5 * 16 * 16


def test_ids_that_are_no_class_are_not_lost():
  with pytest.raises(ValueError, match='some: label 3 in 2 pixels is neither a class 0..2 nor void 255'):
    counts.of_labels(np.array([[3, 3, 0, 255]], np.uint8), 3, 'some')
  table = labels.remap_table({0: 0, 1: 0, 2: 1}, void=(3, 255))
  np.testing.assert_array_equal(counts.remapped(np.array([[1, 2, 4, 8, 0, 16]]), table), [[3, 4, 24]])
  with pytest.raises(ValueError, match='stored label 4 in 5 pixels has no train id'):
    counts.remapped(np.array([[1, 2, 4, 8, 5, 16]]), table)


def test_shapes_have_counts():
  source = shapes.open_split('val', size=40, val=9)
  expected = expected_counts([source[i]['labels'] for i in range(9)], 7)
  np.testing.assert_array_equal(source.counts, expected)


class Plain:
  """A source without counts, of images that differ in size; class 2 is in the second and third only."""

  def __init__(self, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    self.examples = []
    for i, shape in enumerate(((5, 7), (8, 3), (4, 4))):
      truth = rng.integers(0, classes if i else 2, shape).astype(np.uint8)
      truth[0, : i + 1] = 255
      image = rng.integers(0, 256, (*shape, 3), np.uint8)
      image[..., 2] //= 3
      self.examples.append({'image': image, 'labels': truth, 'id': f'n{i}', 'index': i})

  def __len__(self):
    return 3

  def __getitem__(self, index):
    return self.examples[index]


SPEC = spec.DatasetSpec(
  name='street',
  protocol='street3',
  classes=('sky', 'road', 'car'),
  palette=((0, 0, 0),) * 3,
  raw_void=(),
  split_sizes={'train': 3, 'val': 1},
)


def test_figures_of_a_split():
  source = Plain()
  found = stats.summarise(SPEC, 'train', source, {'train': 3})
  everything = np.concatenate([e['image'].reshape(-1, 3) for e in source.examples]).astype(np.float64)
  np.testing.assert_allclose(found['mean'], everything.mean(0), rtol=1e-12)
  np.testing.assert_allclose(found['std'], everything.std(0), rtol=1e-12)
  np.testing.assert_allclose(found['mean_unit'], (everything / 255).mean(0), rtol=1e-12)
  np.testing.assert_allclose(found['std_unit'], (everything / 255).std(0), rtol=1e-12)
  truths = [e['labels'] for e in source.examples]
  pixels = [sum(int((t == c).sum()) for t in truths) for c in range(3)]
  of_images = [sum(t.size for t in truths if (t == c).any()) for c in range(3)]
  total = sum(t.size for t in truths)
  assert (found['pixels'], found['class_image_pixels']) == (pixels, of_images)
  assert found['class_images'] == [3, 3, 2]
  assert found['void'] == {'pixels': 6, 'share': 6 / total, 'images': 3}
  np.testing.assert_allclose(found['share'], np.array(pixels) / total)
  frequency = np.array(pixels) / of_images
  np.testing.assert_allclose(found['weights']['median_frequency'], np.median(frequency) / frequency)
  np.testing.assert_allclose(found['weights']['enet'], [1 / math.log(1.02 + n / total) for n in pixels])
  np.testing.assert_allclose(
    found['weights']['enet_encoder'], [1 / math.log(1.2 + n / total) for n in pixels]
  )
  largest = max(*pixels, 6)
  np.testing.assert_allclose(found['weights']['linknet'], [1 / math.log(1.02 + n / largest) for n in pixels])
  assert json.loads(json.dumps(found)) == found


def test_a_class_without_pixels_has_no_weights(tmp_path):
  found = stats.summarise(SPEC, 'train', Plain(classes=2), {'train': 3})
  assert found['pixels'][2] == 0 and set(found['weights'].values()) == {None}
  assert stats.text(found).splitlines()[-1] == 'no weights: car has no pixel'
  (tmp_path / 's.json').write_text(json.dumps(found))
  with pytest.raises(ValueError, match="s.json has no 'enet'; there are: none"):
    stats.weighed(SPEC, f'{tmp_path}/s.json#enet', Plain)


def test_the_table_is_one_to_read():
  summary = stats.summarise(SPEC, 'train', Plain(), {'train': 3, 'val': 1})
  lines = stats.text(summary).splitlines()
  assert lines[:2] == ['street train: 3 images, protocol street3', 'splits: train 3, val 1']
  assert lines[2].split() == ['class', 'pixels', 'share', 'images', *spec.RULES]
  assert [line.split()[0] for line in lines[3:7]] == ['sky', 'road', 'car', 'void']
  assert lines[5].split()[3] == '2' and len({len(line) for line in lines[2:6]}) == 1
  assert lines[7].startswith('images, red green blue in 0..255: mean ') and len(lines) == 9


def weighted(rule):
  """The config of a tiny run with these class weights."""
  config = runs.tiny(steps=1)
  with config.unlocked():
    config.task.class_weights = rule
  return config


def test_a_config_takes_weights_from_the_file(tmp_path, capsys):
  file = tmp_path / 'figures' / 'shapes.json'
  dataset.show_stats('shapes', 'train', '', '', {'size': 40, 'train': 30, 'val': 4, 'test': 2}, str(file))
  out = capsys.readouterr().out
  assert 'splits: train 30, val 4, test 2' in out and f'class_weights={file}#enet' in out
  written = json.loads(file.read_text())
  config = weighted('')
  for rule in spec.RULES:
    config.task.class_weights = f'{file}#{rule}'
    found = resolve.training_spec(config)
    np.testing.assert_array_equal(found.class_weights(config.task.class_weights), written['weights'][rule])
    assert found.class_weights('enet') == shapes.SPEC.class_weights('enet')


@pytest.mark.parametrize(
  ('change', 'rule', 'message'),
  [
    ({}, 'focal', "has no 'focal'; there are: median_frequency, enet, enet_encoder, linknet"),
    ({'protocol': 'street4'}, 'enet', 's.json is of street4, the data are street3'),
    ({'weights': {'enet': [1.0, 2.0]}}, 'enet', "'enet' is not a list of 3 numbers from 0 on"),
    ({'weights': {'enet': [1.0, 2.0, -1.0]}}, 'enet', "'enet' is not a list of 3 numbers"),
    ({'weights': {'enet': [1.0, 2.0, 'x']}}, 'enet', "'enet' is not a list of 3 numbers"),
    (
      {'weights': 3},
      'enet',
      's.json is no file of --verb=stats .*; type: python -m jseg.dataset --verb=stats',
    ),
  ],
)
def test_files_at_fault_are_told(tmp_path, change, rule, message):
  (tmp_path / 's.json').write_text(json.dumps(stats.summarise(SPEC, 'train', Plain(), {}) | change))
  with pytest.raises(ValueError, match=message) as error:
    stats.weighed(SPEC, f'{tmp_path}/s.json#{rule}', Plain)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('content', [None, '', '[1]', 'null', '{"protocol": "street3"}'])
def test_what_is_no_such_file_is_told(tmp_path, content):
  if content is not None:
    (tmp_path / 's.json').write_text(content)
  with pytest.raises(ValueError, match='s.json is no file of --verb=stats'):
    stats.weighed(SPEC, f'{tmp_path}/s.json#enet', Plain)


def test_weights_come_from_the_copy_where_the_dataset_states_no_counts(tmp_path):
  module, splits, _ = prepared('cityscapes', tmp_path)
  config = weighted('linknet')
  config.data.name, config.data.dir, config.data.options = 'cityscapes', str(tmp_path / 'data'), {}
  table = expected_counts([row[2] for row in splits['train']], 19).sum(0)
  assert table.all()
  expected = [1 / math.log(1.02 + n / table.max()) for n in table[:-1]]
  np.testing.assert_allclose(resolve.training_spec(config).class_weights('linknet'), expected)
  config.task.class_weights = 'none'
  assert resolve.training_spec(config) is module.SPEC  # nothing is opened for nothing
  config.data.name, config.task.class_weights = 'shapes', 'enet'
  assert resolve.training_spec(config) is shapes.SPEC  # stated counts stand


def test_a_trained_run_does_not_need_the_file_again(tmp_path):
  """Class weights are for learning only: who predicts has neither the data nor their figures."""
  file = tmp_path / 's.json'
  dataset.show_stats('shapes', 'train', '', '', {'size': 32, 'train': 8}, str(file))
  train.train(weighted(f'{file}#enet'), tmp_path / 'run')
  file.unlink()
  image = shapes.open_split('val', size=32)[0]['image']
  assert predictor.load(tmp_path / 'run', 'latest').predict(image).shape == (32, 32)


def test_options_and_wrong_requests(tmp_path):
  assert dataset.parse_options(['classes=13', 'size=(1,2)', 'kind=plain', 'a=b=c']) == {
    'classes': 13,
    'size': (1, 2),
    'kind': 'plain',
    'a': 'b=c',
  }
  with pytest.raises(ValueError, match="--option is 'classes'; it must be key=value"):
    dataset.parse_options(['classes'])
  for name, split, options, message in (
    ('kitti', 'train', {}, "'kitti' is unknown"),
    ('shapes', 'all', {}, "split 'all' is unknown for shapes; there are: train, val, test"),
    ('shapes', 'train', {'sise': 3}, r"has no option 'sise' \(did you mean size\?\)"),
    ('camvid', 'train', {}, 'camvid is not prepared in'),
  ):
    with pytest.raises(ValueError, match=message):
      dataset.show_stats(name, split, '', str(tmp_path), options, '')


# CamVid by the public labels, counted elsewhere: pixels of the 367 training masks and the 233 test masks,
# training images with each class, and the weights that follow, to the printed digits.
TRAIN = (10682767, 14750079, 623349, 20076880, 2845085, 6166762, 743859, 714595, 3719877, 405385, 184967)
TEST = (6870982, 9906732, 473895, 10390661, 3731857, 4530895, 406612, 476807, 1599124, 255232, 76220)
IMAGES = (366, 365, 366, 367, 349, 319, 351, 173, 360, 317, 201)
WEIGHTS = {
  'median_frequency': '0.2793 0.2017 4.7865 0.1490 1.0000 0.4217 3.8467 1.9736 0.7889 6.3747 8.8587',
  'enet': '5.792 4.440 34.022 3.447 15.912 9.020 32.014 32.479 13.207 38.388 44.135',
  'enet_encoder': '3.188 2.782 5.250 2.401 4.566 3.843 5.207 5.217 4.347 5.330 5.413',
  'linknet': '2.275 1.779 20.085 1.422 6.671 3.533 18.024 18.483 5.356 25.378 34.729',
}


@pytest.mark.slow
def test_figures_of_the_real_camvid(tmp_path, camvid_source, capsys):
  data = str(tmp_path / 'data')
  for split in ('train', 'test'):
    file = str(tmp_path / f'{split}.json')
    dataset.show_stats('camvid', split, str(camvid_source), data, {}, file)
  found, test = (json.loads((tmp_path / f'{split}.json').read_text()) for split in ('train', 'test'))
  assert found['split_sizes'] == {'train': 367, 'val': 101, 'test': 233}
  assert (tuple(found['pixels']), tuple(found['class_images'])) == (TRAIN, IMAGES)
  assert (found['void']['pixels'], found['void']['images']) == (2503995, 367)
  assert (tuple(test['pixels']), test['void']['pixels']) == (TEST, 1543383)
  assert test['class_images'][10] == 77
  for rule, digits in WEIGHTS.items():
    printed = digits.split()
    last_digit = 10.0 ** -len(printed[0].split('.')[1])
    # 0.6: one of them, 1.77845, was rounded twice.
    np.testing.assert_allclose(
      found['weights'][rule], np.array(printed, float), rtol=0, atol=0.6 * last_digit
    )
  assert '3.95%' in capsys.readouterr().out
