"""Batches of images with masks and without: what is in them, that t decides, tags, and what is refused."""

import contextlib
import importlib
import itertools
import json

import numpy as np
import pytest

from jseg.data import augment, mixture, pipeline, subsets
from jseg.data.builders import shapes
from jseg.engine import resolve

K = 7


def parts(request='strong:1', count=24, seed=0):
  return subsets.divide(shapes.open_split('train', size=32, train=count), shapes.SPEC, request, seed)


def take(source, count, **options):
  given = {'seed': 3, 'batch_size': 4, 'threads': 1, 'prefetch': 2, **options}
  with contextlib.closing(mixture.train_batches(source, **given)) as batches:
    return list(itertools.islice(batches, count))


def test_a_batch_holds_both_parts():
  labelled, rest = parts()
  (batch,) = take(mixture.Mixture(labelled, rest, 6), 1)
  assert batch.keys() == {
    'image', 'labels', 'valid', 'index', 'rest_image', 'rest_tags', 'rest_valid', 'rest_index'
  }  # fmt: skip
  assert batch['image'].shape == (4, 32, 32, 3) and batch['rest_image'].shape == (6, 32, 32, 3)
  for image, tags, index in zip(batch['rest_image'], batch['rest_tags'], batch['rest_index'], strict=True):
    example = shapes.open_split('train', size=32, train=24)[int(rest.indices[index])]
    np.testing.assert_array_equal(image, example['image'])
    np.testing.assert_array_equal(tags, [(example['labels'] == c).any() for c in range(K)])
  assert 'rest_tags' not in take(mixture.Mixture(*parts('labelled:1/4'), 4), 1)[0]


def test_the_first_part_is_what_it_is_alone_and_batch_t_is_of_t():
  labelled, rest = parts()
  flips = augment.Augment(flip=True)
  whole = take(mixture.Mixture(labelled, rest, 6), 5, augment=flips)
  alone = take(labelled, 5, augment=flips)
  later = take(mixture.Mixture(labelled, rest, 6), 2, augment=flips, start=3, threads=2)
  for batch, plain in zip(whole, alone, strict=True):
    for name, value in plain.items():
      np.testing.assert_array_equal(batch[name], value)
  for batch, again in zip(whole[3:], later, strict=True):
    assert batch.keys() == again.keys()
    for name, value in again.items():
      np.testing.assert_array_equal(batch[name], value)


def test_processes_share_both_parts():
  source = mixture.Mixture(*parts(), 6)
  whole = take(source, 2)
  halves = [take(source, 2, process_index=p, process_count=2) for p in range(2)]
  for t in range(2):
    for name in whole[t]:
      np.testing.assert_array_equal(whole[t][name], np.concatenate([half[t][name] for half in halves]))


def test_without_a_mixture_it_is_the_pipeline():
  source = shapes.open_split('train', size=32, train=8)
  given = {'seed': 1, 'batch_size': 2, 'threads': 0}
  with contextlib.closing(pipeline.train_batches(source, **given)) as plain:
    (batch,) = take(source, 1, **given)
    for name, value in next(plain).items():
      np.testing.assert_array_equal(batch[name], value)


def test_bad_mixtures_are_refused():
  labelled, rest = parts()
  nothing = subsets.Subset(labelled, np.arange(0), num_classes=K)
  for given, message in (
    ((nothing, rest, 2), 'no labelled image'),
    ((labelled, nothing, 2), 'nothing is left for the rest; give data.subset less'),
    ((labelled, rest, 0), 'at least 1 is needed'),
  ):
    with pytest.raises(ValueError, match=message):
      mixture.Mixture(*given)
  blank = subsets.Subset(labelled, np.arange(2), num_classes=K, truth='nothing')
  with pytest.raises(ValueError, match='counts as labelled, but all of its mask is void'):
    take(mixture.Mixture(blank, rest, 2), 1)
  larger = subsets.Subset(shapes.open_split('train', size=48, train=4), np.arange(4), num_classes=K)
  with pytest.raises(ValueError, match='masks are 32x32, those without 48x48; set data.crop'):
    take(mixture.Mixture(labelled, larger, 2), 1)


def table_of(source):
  return {
    e['id']: [c for i, c in enumerate(shapes.SPEC.classes) if (e['labels'] == i).any()]
    for e in (source[i] for i in range(len(source)))
  }


def test_tags_from_a_table():
  source = shapes.open_split('train', size=32, train=4)
  table = table_of(source)
  hidden = subsets.Subset(source, np.arange(4), num_classes=K, truth='nothing')
  for of in (source, hidden):
    tagged = mixture.Tagged(of, table, shapes.SPEC.classes)
    for i in range(4):
      words = [c for c, here in zip(shapes.SPEC.classes, tagged[i]['tags'], strict=True) if here]
      assert words == table[source[i]['id']] and (tagged[i]['labels'] == of[i]['labels']).all()
  partly = mixture.Tagged(source, {}, shapes.SPEC.classes)
  assert [c for c, here in zip(shapes.SPEC.classes, partly[0]['tags'], strict=True) if here] == table[
    'train_00000'
  ]
  with pytest.raises(ValueError, match='train_00001 has neither mask nor tags'):
    mixture.Tagged(hidden, {}, shapes.SPEC.classes)[1]


def test_tags_that_contradict_are_refused():
  source = shapes.open_split('train', size=32, train=1)
  words = table_of(source)['train_00000']
  other = next(c for c in shapes.SPEC.classes if c not in words)
  for table, message in (
    (
      {'train_00000': ['zebra']},
      "train_00000 is tagged with 'zebra', which is no class; there are: background",
    ),
    ({'train_00000': []}, 'tagged with nothing'),
    ({'train_00000': words[:-1]}, f"contradict its mask: it has '{words[-1]}', which they do not name"),
  ):
    with pytest.raises(ValueError, match=message):
      mixture.Tagged(source, table, shapes.SPEC.classes)[0]

  class Known:  # a mask without void pixels: what is not on it is not there
    def __len__(self):
      return 1

    def __getitem__(self, index):
      return {**source[index], 'labels': np.where(source[index]['labels'] == 255, 0, source[index]['labels'])}

  known = mixture.Tagged(Known(), {'train_00000': [*words, other]}, shapes.SPEC.classes)
  with pytest.raises(ValueError, match=f"it has no '{other}', which they name"):
    known[0]


def test_tag_files(tmp_path):
  path = tmp_path / 'tags.json'
  path.write_text(json.dumps({'a': ['disc']}))
  assert mixture.read_tags(str(path)) == {'a': ['disc']}
  for content, message in (('[1]', 'is not {id:'), ('{"a": "disc"}', 'is not {id:'), ('{', 'cannot be read')):
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
      mixture.read_tags(str(path))
  with pytest.raises(ValueError, match='cannot be read'):
    mixture.read_tags(str(tmp_path / 'none.json'))


def config_of(**changes):
  config = importlib.import_module('configs.gan_semi_shapes').get_config('quick')
  for key, value in changes.items():
    config.update_from_flattened_dict({key: value})
  return config


def test_configs_that_contradict_themselves_are_refused(tmp_path):
  for changes, message in (
    ({'data.subset': ''}, 'there is no rest; set data.subset'),
    ({'data.truth': 'masks'}, "data.truth 'masks' is unknown; there are: labels, tags"),
    ({'data.truth': 'tags'}, 'no image has a mask to keep'),
    ({'data.tags': 'x.json', 'data.rest_batch_size': 0}, 'no image without a mask is used'),
    ({'data.rest_batch_size': 3}, 'does not divide among 8 devices'),
    ({'data.tags': str(tmp_path / 'x.json')}, 'cannot be read'),
  ):
    with pytest.raises(ValueError, match=message):
      resolve.train_source(config_of(**changes))


def test_truth_of_tags_alone(tmp_path):
  plain = {'data.truth': 'tags', 'data.subset': '', 'data.rest_batch_size': 0}
  source = resolve.train_source(config_of(**plain))
  shown = shapes.open_split('train', size=64, train=32)
  assert len(source) == 32 and (source[3]['labels'] == 255).all()
  np.testing.assert_array_equal(source[3]['tags'], [(shown[3]['labels'] == c).any() for c in range(K)])
  path = tmp_path / 'tags.json'
  path.write_text(json.dumps({f'train_{i:05d}': ['star'] for i in range(32)}))
  told = resolve.train_source(config_of(**plain, **{'data.tags': str(path)}))
  assert (told[3]['labels'] == 255).all() and np.flatnonzero(told[3]['tags']).tolist() == [0, 6]
