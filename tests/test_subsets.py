"""Parts of a split by seed: which images, what they tell, and that everyone gets the same."""

import numpy as np
import pytest
import runs
from scipy.sparse import csgraph, csr_array

from jseg.data import pipeline, spec, subsets
from jseg.data.builders import camvid, shapes
from jseg.engine import resolve, train

NAMES = ('background', 'a', 'b', 'c', 'd')


def pcg64(seed, count):
  """The raw stream by its definition (O'Neill 2014, PCG XSL RR 128/64), from numpy's seed sequence."""
  words = [int(w) for w in np.random.SeedSequence(seed).generate_state(4, np.uint64)]
  start, sequence = words[0] << 64 | words[1], words[2] << 64 | words[3]
  increment = (sequence << 1 | 1) % 2**128
  state = 0

  def step(state):
    return (state * 47026247687942121848144207491837523525 + increment) % 2**128

  state = step((step(state) + start) % 2**128)
  out = []
  for _ in range(count):
    state = step(state)
    mixed, turn = (state >> 64 ^ state) % 2**64, state >> 122
    out.append((mixed >> turn | mixed << (64 - turn)) % 2**64)
  return out


@pytest.mark.parametrize('seed', [0, 7])
def test_the_order_is_that_of_the_published_generator(seed):
  numbers = pcg64(seed, 40)
  order = sorted(range(40), key=numbers.__getitem__)
  assert subsets.labelled(40, '1/8', seed).tolist() == sorted(order[:5])
  assert subsets.labelled(40, '0.5', seed).tolist() == sorted(order[:20])


def test_the_order_stays_what_it_was():
  assert subsets.labelled(367, '1/32', 0).tolist() == GOLDEN


GOLDEN = [3, 11, 20, 92, 111, 113, 150, 196, 269, 333, 340, 365]


@pytest.mark.parametrize(
  ('size', 'counts'),
  [  # VOC's trainaug and Cityscapes, as lists of others have them for 1/16, 1/8, 1/4, 1/2
    (10582, (662, 1323, 2646, 5291)),
    (2975, (186, 372, 744, 1488)),
  ],
)
def test_shares_have_the_usual_sizes_and_contain_each_other(size, counts):
  before = set()
  for share, count in zip(('1/16', '1/8', '1/4', '1/2'), counts, strict=True):
    chosen = subsets.labelled(size, share, 3)
    assert len(set(chosen)) == len(chosen) == count and chosen.max() < size
    assert before < set(chosen.tolist())
    before = set(chosen.tolist())
  assert set(subsets.labelled(size, '1/2', 4).tolist()) != before


def matched(contains, masks):
  """How many of `masks` slots a column can get a row of their own, by another library's matching."""
  slots = np.repeat(contains, masks, axis=1)
  return int((csgraph.maximum_bipartite_matching(csr_array(slots), perm_type='row') >= 0).sum())


def random_table(seed):
  """Counts [n 6] of scarce and common classes; background everywhere."""
  rng = np.random.default_rng(seed)
  size = int(rng.integers(6, 30))
  occurs = rng.random((size, 4)) < rng.uniform(0.05, 0.9, 4)
  return np.concatenate([np.ones((size, 1)), occurs, np.ones((size, 1))], axis=1).astype(np.int64)


def test_every_class_gets_images_of_its_own_whenever_that_can_be():
  possible = impossible = 0
  for seed in range(150):
    table = random_table(seed)
    contains, before = table[:, 1:5] > 0, set()
    for masks in range(1, 8):
      if matched(contains, masks) == 4 * masks:
        chosen = subsets.strong(table, masks, seed, NAMES)
        assert len(set(chosen.tolist())) == 4 * masks and (np.diff(chosen) > 0).all()
        assert matched(contains[chosen], masks) == 4 * masks
        assert before < set(chosen.tolist())  # those of fewer masks are among them
        before, possible = set(chosen.tolist()), possible + 1
      else:
        with pytest.raises(ValueError, match='masks a class are too many: ') as error:
          subsets.strong(table, masks, seed, NAMES)
        # What the message says is a proof: these classes together occur in too few images.
        said = str(error.value).split(': ')[1]
        short = [NAMES.index(name) for name in said.split(' occur')[0].split(', ')]
        within = int((table[:, short] > 0).any(1).sum())
        assert f' in {within} images' in said and within < masks * len(short)
        impossible += 1
        break
  assert possible > 100 and impossible > 100


def test_seeds_differ_and_repeat():
  table = random_table(1)
  table[:, 1:5] = 1
  first, again, other = (subsets.strong(table, 2, seed, NAMES).tolist() for seed in (0, 0, 1))
  assert first == again != other


def source(**options):
  return shapes.open_split('train', size=32, train=24, **options)


def test_strong_and_weak_images_are_the_split():
  whole = source()
  parts = dict(zip(('strong', 'weak'), subsets.divide(whole, shapes.SPEC, 'strong:2', 5), strict=True))
  assert len(parts['strong']) == 2 * 6
  assert sorted([*parts['strong'].indices, *parts['weak'].indices]) == list(range(24))
  for kind, part in parts.items():
    assert len(part.indices) == len(part)
    for i in range(len(part)):
      example, original = part[i], whole[int(part.indices[i])]
      assert (example['id'], example['index']) == (original['id'], i)
      np.testing.assert_array_equal(example['image'], original['image'])
      present = [bool((original['labels'] == c).any()) for c in range(7)]
      if kind == 'strong':
        np.testing.assert_array_equal(example['labels'], original['labels'])
      else:
        assert example.keys() == {'image', 'labels', 'id', 'index', 'tags'}
        assert (example['labels'] == 255).all() and example['tags'].tolist() == present
      row = [int((original['labels'] == c).sum()) for c in (*range(7), 255)]
      assert part.counts[i].tolist() == row


def test_labelled_images_and_the_rest():
  whole = source()
  some, others = subsets.divide(whole, shapes.SPEC, 'labelled:1/8', 0)
  assert len(some) == 3 and sorted([*some.indices, *others.indices]) == list(range(24))
  assert others[0].keys() == {'image', 'labels', 'id', 'index'} and (others[0]['labels'] == 255).all()
  for index in (-1, 3):
    with pytest.raises(IndexError):
      some[index]


def test_batches_of_a_subset_name_its_own_examples():
  part = subsets.divide(source(), shapes.SPEC, 'strong:1', 2)[0]
  batches = pipeline.train_batches(part, seed=0, batch_size=4, threads=0)
  seen = []
  for _ in range(3):
    batch = next(batches)
    names = pipeline.ids(part, batch['index'])
    for image, truth, name in zip(batch['image'], batch['labels'], names, strict=True):
      original = source()[int(name.split('_')[1])]
      np.testing.assert_array_equal(image, original['image'])
      np.testing.assert_array_equal(truth, original['labels'])
    seen += names
  batches.close()
  assert sorted(set(seen)) == [f'train_{i:05d}' for i in part.indices] and len(seen) == 12


@pytest.mark.parametrize(
  ('request_', 'message'),
  [
    ('10', "data.subset '10' is unknown; there are: strong:K .* and labelled:F "),
    ('strong:1/2', 'is unknown'),
    ('labelled:5', 'is unknown'),
    ('strong:0', '0 masks a class are too few; 1 is the least'),
    ('strong:5', '5 masks a class are too many: .* in 24 images, and none serves two classes; at most 4 are'),
    ('weak:4', 'is unknown'),
    ('labelled:8/8', 'a share of 8/8 is out of range; it must be above 0 and below 1'),
    ('labelled:0/8', 'a share of 0/8 is out of range'),
    ('labelled:1/0', 'a share of 1/0 is out of range'),
    ('labelled:1.5', 'a share of 1.5 is out of range'),
  ],
)
def test_what_cannot_be_is_one_line(request_, message):
  with pytest.raises(ValueError, match=message) as error:
    subsets.divide(Everywhere(), shapes.SPEC, request_, 0)
  assert '\n' not in str(error.value)


class Everywhere:
  """24 images that contain every class."""

  counts = np.ones((24, 8), np.int64)

  def __len__(self):
    return 24

  def __getitem__(self, index):
    raise AssertionError('nothing has to be read to choose')


def test_a_negative_seed_is_refused():
  with pytest.raises(ValueError, match='data.subset_seed is -1; it must be at least 0'):
    subsets.divide(Everywhere(), shapes.SPEC, 'labelled:1/2', -1)


def test_without_background_every_class_is_foreground():
  part, rest = subsets.divide(Plenty(), camvid.SPEC, 'strong:3', 0)
  assert (len(part), len(rest)) == (3 * 11, 60 - 3 * 11)
  part, rest = subsets.divide(Everywhere(), shapes.SPEC, 'strong:4', 0)
  assert (len(part), len(rest)) == (24, 0)


class Plenty(Everywhere):
  counts = np.ones((60, 12), np.int64)

  def __len__(self):
    return 60


def test_a_run_trains_on_the_subset_and_is_measured_on_all(tmp_path):
  config = runs.tiny(
    steps=1, **{'data.options.train': 24, 'data.subset': 'labelled:1/3', 'data.subset_seed': 3}
  )
  part = resolve.train_source(config)
  assert isinstance(part, spec.Counted) and part.indices.tolist() == subsets.labelled(24, '1/3', 3).tolist()
  assert len(resolve.source(config, 'train')) == 24
  config.eval.split = 'train'
  train.train(config, tmp_path)
  result = (tmp_path / 'results' / 'train-1.json').read_text()
  assert '"images": 24' in result
