"""Datasets in their true layout, in miniature: what arrives, and what is said when something is amiss."""

import importlib
import os
import pathlib
import shutil
import sys

import layouts
import numpy as np
import pytest
import runs
from PIL import Image

from jseg import dataset
from jseg.data import counts, depths, labels, verify
from jseg.engine import resolve

NAMES = sorted({case.split()[0] for case in layouts.MAKERS})


def builder(case):
  return importlib.import_module(f'jseg.data.builders.{case.split()[0]}')


@pytest.fixture(params=layouts.MAKERS)
def made(request, tmp_path):
  """(builder, source folder, what the splits hold) of every layout."""
  module = builder(request.param)
  source = tmp_path / module.SPEC.folder
  return module, source, layouts.MAKERS[request.param](source)


def test_images_and_train_ids_arrive(made, tmp_path):
  module, source, splits = made
  assert splits.keys() >= {split for split in ('train', 'val', 'test') if split in module.SPEC.split_sizes}
  for split, rows in splits.items():
    examples = module.open_split(split, source=str(source), directory=str(tmp_path / 'data'))
    assert [examples[i]['id'] for i in range(len(examples))] == [row[0] for row in rows]
    for i, (_, colour, truth) in enumerate(rows):
      example = examples[i]
      assert example['index'] == i
      assert example['image'].dtype == example['labels'].dtype == np.uint8
      assert example['image'].shape == (*truth.shape, 3)
      np.testing.assert_allclose(example['image'].mean((0, 1)), colour, atol=2)
      np.testing.assert_array_equal(example['labels'], truth)
    seen = np.unique(np.concatenate([row[2].ravel() for row in rows]))
    assert set(seen) <= {*range(module.SPEC.num_classes), 255}


def test_the_copy_serves_without_its_source(made, tmp_path, monkeypatch):
  module, source, splits = made
  monkeypatch.setenv('JSEG_DATA', str(tmp_path / 'data'))
  name = module.SPEC.name
  assert dataset.run('prepare', name, str(source), '') == 0
  source.rename(tmp_path / 'elsewhere')
  for split, rows in splits.items():
    assert len(module.open_split(split)) == len(rows)


def test_verify_finds_nothing_wrong(made, capsys):
  module, source, _ = made
  assert dataset.run('verify', module.SPEC.name, str(source), '') == 0
  assert capsys.readouterr().out.splitlines()[-2].endswith('; no problems')


@pytest.mark.parametrize('name', NAMES)
def test_missing_data_says_what_where_and_how(name, tmp_path):
  module = builder(name)
  for options in ({}, {'source': str(tmp_path / 'nowhere')}):
    with pytest.raises(ValueError) as error:
      module.open_split('train', directory=str(tmp_path / 'data'), **options)
    message = str(error.value)
    assert '\n' not in message
    for part in (
      f'{name} ',
      module.SPEC.owners,
      f'type: python -m jseg.dataset --verb=prepare --name={name} --source=PATH/TO/{module.SPEC.folder}',
      '--config=CONFIG.py:quick runs now',
    ):
      assert part in message
  with pytest.raises(ValueError, match=f"split 'every' is unknown for {name}; there are: train, "):
    module.open_split('every', directory=str(tmp_path))


# The others have a mask file for each image.
FILES = [case for case in layouts.MAKERS if case not in ('isbi as volumes', 'coco')]


@pytest.mark.parametrize('case', [*FILES, 'coco'])
def test_another_folder_is_told_apart(case, tmp_path):
  module = builder(case)
  source = tmp_path / module.SPEC.folder
  (tmp_path / 'empty').mkdir()
  with pytest.raises(ValueError, match=f'not the {module.SPEC.folder} folder, .* not found$'):
    module.open_split('train', source=str(tmp_path / 'empty'))
  layouts.MAKERS[case](source)
  with pytest.raises(ValueError, match=f'not found; use {source}$'):
    module.open_split('train', source=str(tmp_path))


def refuse(module, source, tmp_path, message):
  with pytest.raises(ValueError, match=message) as error:
    module.open_split('train', source=str(source), directory=str(tmp_path / 'data'))
  assert '\n' not in str(error.value)
  with pytest.raises(ValueError, match='is not prepared'):
    module.open_split('train', directory=str(tmp_path / 'data'))


def first_pair(module, source):
  found = module.scan(str(source))
  return next(iter(found.pairs.values()))[0]


@pytest.mark.parametrize('case', FILES)
@pytest.mark.parametrize('which', ['image', 'mask'])
def test_a_missing_file_is_named(case, which, tmp_path):
  module, source = builder(case), tmp_path / 'source'
  layouts.MAKERS[case](source)
  gone = getattr(first_pair(module, source), which)
  gone.unlink()
  refuse(module, source, tmp_path, rf': {gone} is missing($| \(and 1 more)')


@pytest.mark.parametrize('case', FILES)
@pytest.mark.parametrize('which', ['image', 'mask'])
def test_a_broken_file_is_named(case, which, tmp_path):
  module, source = builder(case), tmp_path / 'source'
  layouts.MAKERS[case](source)
  broken = getattr(first_pair(module, source), which)
  broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
  refuse(module, source, tmp_path, f'{broken}: not a readable {which}')


@pytest.mark.parametrize('case', [case for case in FILES if case != 'camvid_full'])
def test_an_unknown_id_is_named(case, tmp_path):
  module, source = builder(case), tmp_path / 'source'
  layouts.MAKERS[case](source)
  pair = first_pair(module, source)
  with Image.open(pair.image) as image:
    wrong = np.full((image.height, image.width), 200, np.uint8)
  if pair.entry:
    layouts.mat(pair.mask, **{pair.entry: wrong})
  else:
    layouts.index_png(pair.mask, wrong)
  refuse(module, source, tmp_path, f'{pair.mask}: label 200 in {wrong.size} pixels is no known id')


@pytest.mark.parametrize('case', [case for case in FILES if case != 'nyudv2_depth'])
def test_sizes_that_differ_are_named(case, tmp_path):
  module, source = builder(case), tmp_path / 'source'
  layouts.MAKERS[case](source)
  pair = first_pair(module, source)
  layouts.image(pair.image, (9, 8))
  refuse(module, source, tmp_path, f'{pair.mask}: the mask is .*, its image 9x8')


def test_a_split_that_the_source_lacks_says_what_it_needs(tmp_path, capfd):
  voc, source, data = builder('voc'), tmp_path / 'VOCdevkit', str(tmp_path / 'data')
  layouts.voc(source)
  assert dataset.run('prepare', 'voc', str(source), data) == 0
  out, err = capfd.readouterr()
  assert 'voc trainaug: no images' in out and 'voc train: 3 images' in out
  assert 'voc: warning: trainaug has 0 images, published are 10582' in err
  for split in ('trainaug', 'sbdtrain', 'seg11valid'):
    with pytest.raises(ValueError, match=f"split '{split}' was not among.*benchmark_RELEASE") as error:
      voc.open_split(split, directory=data)
    assert '\n' not in str(error.value)


def test_lists_that_contradict_each_other_are_refused(tmp_path):
  voc, source = builder('voc'), tmp_path / 'VOCdevkit'
  layouts.voc_aug(source)
  lists = source / 'VOC2012' / 'ImageSets' / 'Segmentation'
  layouts.lines(lists / 'seg11valid.txt', ['2007_100', '2007_001'])
  refuse(voc, source, tmp_path, r'seg11valid.txt line 2: 2007_001 is not in val.txt of VOC2012')
  layouts.lines(lists / 'seg11valid.txt', ['2007_100'])
  layouts.lines(lists / 'val.txt', ['2007_100', '2007_001'])
  refuse(voc, source, tmp_path, r'val.txt line 2: 2007_001 is in train.txt too')
  layouts.lines(lists / 'val.txt', ['2007_100', '2007_100'])
  refuse(voc, source, tmp_path, r'val.txt line 2: 2007_100 is listed twice')
  layouts.lines(lists / 'train.txt', [])
  refuse(voc, source, tmp_path, r'train.txt: lists no images')
  (source / 'benchmark_RELEASE' / 'dataset').mkdir(parents=True)
  refuse(voc, source, tmp_path, r'benchmark_RELEASE/dataset/train.txt is missing')


def test_nothing_at_all_is_a_fault(tmp_path):
  ade, source = builder('ade20k'), tmp_path / 'ADEChallengeData2016'
  layouts.ade20k(source)
  for path in (source / 'images' / 'validation', source / 'annotations' / 'validation'):
    for file in path.iterdir():
      file.unlink()
  refuse(ade, source, tmp_path, f'{source}: no images found for val')


def test_thirteen_classes_of_nyu(tmp_path):
  nyu, source = builder('nyudv2'), tmp_path / 'nyud'
  splits = layouts.nyudv2(source)
  options = {'source': str(source), 'directory': str(tmp_path / 'data')}
  examples = nyu.open_split('test', classes=13, **options)
  for i, (_, _, truth) in enumerate(splits['test']):
    expected = np.array([nyu.TO_13[t] - 1 if t != 255 else 255 for t in truth.ravel()]).reshape(truth.shape)
    np.testing.assert_array_equal(examples[i]['labels'], expected)
  assert nyu.open_split('test', **options)[0]['labels'].max() == 255  # the copy still holds the 40
  with pytest.raises(ValueError, match='nyudv2 has no 14 classes; there are: 40, 13'):
    nyu.open_split('test', classes=14, **options)
  config = runs.tiny()
  with config.unlocked():
    config.data.name, config.data.options = 'nyudv2', {'classes': 13}
  assert resolve.spec(config).protocol == 'nyud13' and resolve.spec(config).num_classes == 13
  with config.unlocked():
    config.data.options = {}
  assert resolve.spec(config).protocol == 'nyud40'


def make_owners_nyu(root, frames=4):
  """nyu_depth_v2_labeled.mat as MATLAB 7.3 writes it: axes in reverse order."""
  import h5py

  root.mkdir()
  rng = np.random.default_rng(0)
  images, raw = rng.integers(0, 256, (frames, 12, 16, 3), np.uint8), rng.integers(0, 895, (frames, 12, 16))
  to_40 = np.arange(894) * 7 % 40 + 1
  with h5py.File(root / 'nyu_depth_v2_labeled.mat', 'w') as file:
    file['images'] = images.transpose(0, 3, 2, 1)
    file['labels'] = raw.transpose(0, 2, 1).astype(np.uint16)
    file['depths'] = rng.uniform(0.7, 9.0, (frames, 16, 12)).astype(np.float32)
  layouts.mat(root / 'classMapping40.mat', mapClass=to_40[None].astype(np.uint8))
  layouts.mat(root / 'splits.mat', trainNdxs=np.array([[4], [1]]), testNdxs=np.array([[2], [3]]))
  return images, np.array([255, *(to_40 - 1)])[raw]


def test_the_owners_files_of_nyu(tmp_path):
  pytest.importorskip('h5py')
  nyu, source = builder('nyudv2'), tmp_path / 'nyu'
  images, truths = make_owners_nyu(source)
  options = {'source': str(source), 'directory': str(tmp_path / 'data')}
  for split, frames in {'train': (3, 0), 'test': (1, 2)}.items():
    examples = nyu.open_split(split, **options)
    assert len(examples) == 2
    for i, frame in enumerate(frames):
      assert examples[i]['id'] == f'img_{frame + 1:04d}'
      np.testing.assert_array_equal(examples[i]['image'], images[frame])
      np.testing.assert_array_equal(examples[i]['labels'], truths[frame])
  with pytest.raises(ValueError, match="split 'gupta_val' was not among"):
    nyu.open_split('gupta_val', **options)
  layouts.mat(source / 'splits.mat', trainNdxs=np.array([[9]]), testNdxs=np.array([[2]]))
  with pytest.raises(ValueError, match=r'nyu_depth_v2_labeled.mat: images 8 cannot be read'):
    nyu.open_split('train', **options)
  layouts.mat(source / 'classMapping40.mat', mapClass=np.arange(894)[None])
  with pytest.raises(ValueError, match=r'classMapping40.mat: mapClass is no list of 894 classes 1..40'):
    nyu.open_split('train', **options)


def test_the_depths_of_the_owners_files_of_nyu(tmp_path):
  h5py = pytest.importorskip('h5py')
  source = tmp_path / 'nyu'
  _, truths = make_owners_nyu(source)
  with h5py.File(source / 'nyu_depth_v2_labeled.mat') as file:
    stored = np.asarray(file['depths']).transpose(0, 2, 1)
  for name, seen in {'nyudv2_depth': depths.logarithm, 'nyudv2_hha': depths.hha}.items():
    examples = builder(name).open_split('test', source=str(source), directory=str(tmp_path / 'data'))
    for i, frame in enumerate((1, 2)):
      np.testing.assert_array_equal(examples[i]['image'], seen(stored[frame]))
      np.testing.assert_array_equal(examples[i]['labels'], truths[frame])


def test_a_depth_map_of_other_bits_or_size_is_refused(tmp_path):
  source = tmp_path / 'nyud'
  layouts.nyudv2_depth(source)
  place = source / 'data' / 'depth' / 'img_5449.png'
  Image.new('L', (16, 12), 90).save(place)
  refuse(builder('nyudv2_depth'), source, tmp_path, f'{place}: has mode L; a depth map counts millimetres')
  Image.fromarray(np.full((9, 8), 900, np.uint16)).save(place)
  mask = source / 'segmentation' / 'img_5449.mat'
  refuse(builder('nyudv2_depth'), source, tmp_path, f'{mask}: the mask is .*, its image 9x8')
  place.write_bytes(b'no picture')
  refuse(builder('nyudv2_depth'), source, tmp_path, f'{place}: not a readable image')
  place.unlink()
  refuse(builder('nyudv2_depth'), source, tmp_path, f'{source / "train.txt"} line 1: {place} is missing')


def test_without_h5py_one_line_says_what_to_install(tmp_path, monkeypatch):
  for name in ('nyu_depth_v2_labeled.mat', 'splits.mat', 'classMapping40.mat'):
    (tmp_path / name).write_bytes(b'')
  monkeypatch.setitem(sys.modules, 'h5py', None)
  monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
  with pytest.raises(ValueError, match=r'nyu_depth_v2_labeled.mat is HDF5 and needs h5py; type: pip install'):
    builder('nyudv2').open_split('train', source=str(tmp_path))


def test_volumes_of_isbi_that_do_not_belong_together(tmp_path):
  isbi = builder('isbi')
  layouts.isbi_volumes(tmp_path / 'train')
  volume = tmp_path / 'train' / 'train-labels.tif'
  Image.new('L', (16, 16)).save(volume)
  refuse(isbi, tmp_path / 'train', tmp_path, f'{volume}: has 1 slices, train-volume.tif 11')
  volume.write_bytes(b'no picture')
  refuse(isbi, tmp_path / 'train', tmp_path, f'{volume}: not a readable volume')


def test_a_mask_with_fractions_or_large_ids_is_refused(tmp_path):
  source = tmp_path / 'SiftFlowDataset'
  layouts.siftflow(source)
  pair = first_pair(builder('siftflow'), source)
  for wrong, message in (
    (np.full((16, 16), 0.5), 'S holds 0.5 to 0.5, not ids'),
    (np.full((16, 16), 256), 'S holds 256 to 256, not ids'),
    (np.full((16, 16), -1), 'S holds -1 to -1, not ids'),
    (np.zeros((2, 3, 4)), 'S is not a map of ids'),
  ):
    layouts.mat(pair.mask, S=wrong)
    with pytest.raises(ValueError, match=f'{pair.mask}: {message}'):
      verify.read_pair(pair, labels.spec_table(builder('siftflow').SPEC))


def test_the_owners_camvid_without_lists_or_names_of_colours(tmp_path, capfd):
  full, source, data = builder('camvid_full'), tmp_path / 'CamVid', str(tmp_path / 'data')
  splits = layouts.camvid_full(source, lists=(), names=False)
  examples = full.open_split('all', source=str(source), directory=data)
  assert [examples[i]['id'] for i in range(5)] == sorted(row[0] for row in splits['all'])
  for i, (_, _, truth) in enumerate(splits['all']):
    np.testing.assert_array_equal(examples[i]['labels'], truth)
  with pytest.raises(
    ValueError, match=r"split 'train' was not among .* train.txt, val.txt and test.txt of"
  ) as error:
    full.open_split('train', directory=data)
  assert '\n' not in str(error.value)
  assert 'all has 5 images, published are 701' in capfd.readouterr().err


def test_the_owners_camvid_with_one_list(tmp_path):
  full, source = builder('camvid_full'), tmp_path / 'CamVid'
  splits = layouts.camvid_full(source, lists=('test',))
  for split in ('test', 'all'):
    examples = full.open_split(split, source=str(source), directory=str(tmp_path / 'data'))
    assert [examples[i]['id'] for i in range(len(examples))] == [row[0] for row in splits[split]]


def test_lists_of_the_owners_camvid_that_overlap(tmp_path):
  full, source = builder('camvid_full'), tmp_path / 'CamVid'
  layouts.camvid_full(source)
  layouts.lines(source / 'val.txt', ['0006R0_f00930.png', 'x/0016E5_00390.png'])
  refuse(full, source, tmp_path, 'val.txt line 2: 0016E5_00390 is listed before, .*train.txt line 1')
  layouts.lines(source / 'val.txt', ['0006R0_f00930.png', 'gone.png'])
  refuse(full, source, tmp_path, 'val.txt line 2: .*701_StillsRaw_full/gone.png is missing')


def test_colours_of_the_owners_camvid(tmp_path):
  full, source = builder('camvid_full'), tmp_path / 'CamVid'
  layouts.camvid_full(source)
  pair = full.scan(str(source)).pairs['train'][0]
  pixels = np.full((12, 16, 3), (128, 128, 128), np.uint8)
  pixels[0, :3] = 64, 0, 65
  Image.fromarray(pixels).save(pair.mask)
  message = (
    f"{pair.mask}: colour 64 0 65 in 3 pixels is that of no class; .* the line '64 0 65 Void' to label_c"
  )
  refuse(full, source, tmp_path, message)
  names = source / 'label_colors.txt'
  names.write_text(names.read_text() + '64 0 65 Void\n')
  table = labels.spec_table(full.SPEC)
  truth = verify.read_pair(full.scan(str(source)).pairs['train'][0], table).ids
  assert (truth[0, :3] == 255).all() and (truth.ravel()[3:] == full.SPEC.classes.index('Sky')).all()
  # Other colours of the owners' file than the table's count, where it has some; names may be spelt otherwise.
  names.write_text('1 2 3 columnpole\n')
  pixels[:] = 1, 2, 3
  Image.fromarray(pixels).save(pair.mask)
  truth = verify.read_pair(full.scan(str(source)).pairs['train'][0], table).ids
  assert (truth == full.SPEC.classes.index('Column_Pole')).all()
  for line, message in (
    ('1 2 3', "'1 2 3' is not red, green, blue"),
    ('1 2 256 Sky', "'1 2 256 Sky' is not red"),
    ('1 2 3 Cloud', "one of CamVid's 32 names"),
    ('1 2 3 Sky\n1 2 3 Road', 'line 2: colour 1 2 3 was another class before'),
  ):
    names.write_text(line)
    with pytest.raises(ValueError, match=message):
      full.scan(str(source))


def test_protocols_of_the_owners_camvid(tmp_path):
  full, source = builder('camvid_full'), tmp_path / 'CamVid'
  splits = layouts.camvid_full(source)
  options = {'source': str(source), 'directory': str(tmp_path / 'data')}
  for i, (_, _, truth) in enumerate(splits['test']):
    expected = np.full_like(truth, 255)
    for raw, train in full.SPEC_11.train_ids.items():
      expected[truth == layouts.CAMVID_32[layouts.CAMVID_NAMES[raw]]] = train
    np.testing.assert_array_equal(full.open_split('test', classes=11, **options)[i]['labels'], expected)
  with pytest.raises(ValueError, match='camvid_full has no 12 classes; there are: 32, 11'):
    full.open_split('test', classes=12, **options)
  config = runs.tiny()
  with config.unlocked():
    config.data.name, config.data.options = 'camvid_full', {'classes': 11}
  assert resolve.spec(config).protocol == 'camvid11full' and resolve.spec(config).num_classes == 11
  with config.unlocked():
    config.data.options = {}
  assert resolve.spec(config).protocol == 'camvid32' and resolve.spec(config).num_classes == 31


def test_coarse_labels_without_the_images_that_have_only_such(tmp_path):
  city, source, data = builder('cityscapes'), tmp_path / 'cityscapes', str(tmp_path / 'data')
  layouts.cityscapes_coarse(source)
  shutil.rmtree(source / 'leftImg8bit' / 'train_extra')
  assert len(city.open_split('train_coarse', source=str(source), directory=data)) == 2
  with pytest.raises(ValueError, match="split 'train_extra' was not among .*leftImg8bit_trainextra.zip"):
    city.open_split('train_extra', directory=data)


SOURCES = pathlib.Path(
  os.environ.get('JSEG_DATA_SOURCES') or pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'
)


@pytest.mark.skipif(
  not (SOURCES / 'isbi_em').is_dir(), reason=f'needs isbi_em in {SOURCES} (set JSEG_DATA_SOURCES)'
)
def test_stated_figures_of_isbi_are_those_of_the_real_labels(tmp_path):
  isbi = builder('isbi')
  found = isbi.scan(str(SOURCES / 'isbi_em'))
  assert {split: found.count(split) for split in found.splits} == {'train': 24, 'val': 6, 'trainval': 30}
  assert not found.problems
  assert [pair.id for pair in found.pairs['val']] == ['24', '25', '26', '27', '28', '29']
  table = labels.spec_table(isbi.SPEC)
  rows = [counts.of_labels(verify.read_pair(pair, table).ids, 2, pair.id) for pair in found.pairs['train']]
  for name, figure in counts.figures(np.stack(rows)).items():
    assert figure == getattr(isbi.SPEC, name), name
