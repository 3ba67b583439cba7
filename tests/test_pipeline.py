"""Batches: order, shards, resumption, padding, failures."""

import itertools
import threading

import numpy as np
import pytest

from jseg.data import pipeline


class Numbers:
  """Examples whose pixels hold their index; sizes by example if given."""

  def __init__(self, count, sizes=None, bad=()):
    self.count, self.sizes, self.bad = count, sizes, bad

  def __len__(self):
    return self.count

  def __getitem__(self, index):
    if not 0 <= index < self.count:
      raise IndexError(index)
    if index in self.bad:
      raise OSError(f'/photos/{index}.png: image file is truncated\nand a second line')
    h, w = self.sizes[index] if self.sizes else (4, 6)
    image = np.full((h, w, 3), index, np.uint8)
    return {'image': image, 'labels': image[..., 0] % 3, 'id': f'n{index}', 'index': index}


def add_noise(example, rng):
  return {**example, 'image': example['image'] + rng.integers(0, 50, example['image'].shape, np.uint8)}


def take(n, source=None, **options):
  options = {'seed': 3, 'batch_size': 4, 'augment': add_noise} | options
  batches = pipeline.train_batches(source or Numbers(10), **options)
  taken = list(itertools.islice(batches, n))
  batches.close()
  return taken


def assert_same(ones, others):
  assert len(ones) == len(others)
  for one, other in zip(ones, others, strict=True):
    assert one.keys() == other.keys()
    for name in one:
      np.testing.assert_array_equal(one[name], other[name])


def test_batch_holds_what_the_contract_says():
  (batch,) = take(1)
  assert {k: (v.dtype, v.shape) for k, v in batch.items()} == {
    'image': (np.uint8, (4, 4, 6, 3)),
    'labels': (np.uint8, (4, 4, 6)),
    'valid': (np.bool_, (4,)),
    'index': (np.int32, (4,)),
  }
  assert batch['valid'].all()
  np.testing.assert_array_equal(batch['labels'][:, 0, 0], batch['index'] % 3)


class Weighted(Numbers):
  def __getitem__(self, index):
    example = super().__getitem__(index)
    return {**example, 'weight': np.full(example['labels'].shape, index + 0.5, np.float32)}


def test_weights_come_along():
  for batch in take(5, source=Weighted(10)):
    assert (batch['weight'].dtype, batch['weight'].shape) == (np.float32, (4, 4, 6))
    np.testing.assert_array_equal(batch['weight'], batch['index'][:, None, None] + np.full((4, 4, 6), 0.5))


def test_weights_are_nothing_where_there_is_only_padding():
  first, last = pipeline.eval_batches(Weighted(3, [(4, 6), (5, 33), (4, 6)]), batch_size=2)
  assert first['weight'].shape == (2, 32, 64)
  for row, (h, w) in enumerate([(4, 6), (5, 33)]):
    assert (first['weight'][row, :h, :w] == row + 0.5).all()
    assert first['weight'][row].sum() == (row + 0.5) * h * w
  assert (last['weight'][0] == 2.5).all() and not last['weight'][1].any()


def test_each_epoch_has_every_example_once_in_another_order():
  order = np.concatenate([b['index'] for b in take(15)])  # 60 rows: six epochs of ten
  epochs = order.reshape(6, 10)
  assert all(sorted(e) == list(range(10)) for e in epochs)
  assert len({tuple(e) for e in epochs}) == 6


def test_augmentation_differs_from_epoch_to_epoch():
  rows = [(i, image) for b in take(15) for i, image in zip(b['index'], b['image'], strict=True) if i == 0]
  assert len(rows) == 6
  assert len({image.tobytes() for _, image in rows}) == 6


@pytest.mark.parametrize('threads', [0, 1, 3])
@pytest.mark.parametrize('start', [0, 1, 7])
def test_start_and_threads_change_nothing(threads, start):
  assert_same(take(9)[start:], take(9 - start, start=start, threads=threads, prefetch=5))


def test_other_seeds_give_other_batches():
  one, other = take(1)[0], take(1, seed=4)[0]
  assert (one['index'] != other['index']).any()


@pytest.mark.parametrize('count', [2, 4])
def test_processes_share_the_same_global_batches(count):
  shares = [take(6, process_index=p, process_count=count, start=1) for p in range(count)]
  joined = [{k: np.concatenate([s[k] for s in step]) for k in step[0]} for step in zip(*shares, strict=True)]
  assert_same(joined, take(6, start=1))


@pytest.mark.parametrize('size', [1, 5, 8, 9])
@pytest.mark.parametrize('count', [1, 2])
def test_evaluation_sees_every_example_once(size, count):
  source = Numbers(size)
  shares = [
    list(pipeline.eval_batches(source, batch_size=4, process_index=p, process_count=count))
    for p in range(count)
  ]
  assert {len(s) for s in shares} == {-(-size // 4)}
  rows = [
    (int(i), bool(v), image, truth)
    for batch in itertools.chain(*shares)
    for i, v, image, truth in zip(*(batch[k] for k in ('index', 'valid', 'image', 'labels')), strict=True)
  ]
  assert sorted(i for i, v, _, _ in rows if v) == list(range(size))
  for i, v, image, truth in rows:
    assert v == (i >= 0)
    assert (image == max(i, 0)).all()
    assert (truth == (i % 3 if v else 255)).all()
    assert image.shape == (4, 6, 3)


def test_evaluation_is_in_order_and_padded_at_the_end():
  batches = list(pipeline.eval_batches(Numbers(5), batch_size=4))
  assert [b['index'].tolist() for b in batches] == [[0, 1, 2, 3], [4, -1, -1, -1]]


def test_any_sizes_one_at_a_time():
  sizes = [(4, 6), (5, 5), (7, 2)]
  batches = list(pipeline.eval_batches(Numbers(3, sizes), batch_size=1))
  assert [b['labels'].shape for b in batches] == [(1, *s) for s in sizes]


def test_training_sizes_that_differ_in_a_batch_are_named():
  with pytest.raises(ValueError, match=r'n\d is .*x.*, n\d is .*x.* set data.crop') as error:
    take(1, source=Numbers(4, [(4, 6), (5, 5)] * 2), augment=None)
  assert '\n' not in str(error.value)


def test_evaluation_fills_sizes_that_differ():
  sizes = [(40, 6), (5, 33), (7, 2), (7, 2), (9, 9)]
  batches = list(pipeline.eval_batches(Numbers(5, sizes), batch_size=2))
  assert [b['image'].shape for b in batches] == [(2, 64, 64, 3), (2, 7, 2, 3), (2, 9, 9, 3)]
  for batch in batches:
    for i, image, truth in zip(batch['index'], batch['image'], batch['labels'], strict=True):
      if i < 0:
        continue
      h, w = sizes[i]
      assert (truth[:h, :w] == i % 3).all() and (truth == 255).sum() == truth.size - h * w
      assert (image == i).all()  # the mean colour of an image of one colour


def test_processes_fill_to_the_same_size():
  sizes = [(40, 6), (40, 6), (5, 33), (5, 33)]
  everywhere = np.array(sizes, np.int32)
  shares = [
    list(
      pipeline.eval_batches(
        Numbers(4, sizes), batch_size=4, process_index=p, process_count=2, gather=lambda _: everywhere
      )
    )
    for p in range(2)
  ]
  assert [share[0]['image'].shape for share in shares] == [(2, 64, 64, 3)] * 2


@pytest.mark.parametrize('threads', [0, 2])
def test_a_bad_file_surfaces_on_one_line(threads):
  with pytest.raises(ValueError, match=r'example 2 cannot be read: /photos/2.png: .* truncated$') as error:
    list(pipeline.eval_batches(Numbers(8, bad=(2,)), batch_size=2, threads=threads))
  assert '\n' not in str(error.value)
  with pytest.raises(ValueError, match='/photos/2.png'):
    take(4, source=Numbers(4, bad=(2,)), threads=threads)


def test_a_failing_augmentation_names_its_example():
  def fail(example, rng):
    raise TypeError('no such thing')

  with pytest.raises(ValueError, match=r'data: n\d cannot be augmented: no such thing'):
    take(1, augment=fail)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'batch_size': 3, 'process_count': 2}, 'batch of 3 cannot be shared by 2 processes'),
    ({'batch_size': 0}, 'batch of 0'),
    ({'process_index': 1}, 'process 1 of 1'),
    ({'seed': -1}, 'seed -1'),
    ({'start': -1}, 'batch -1'),
    ({'threads': -1}, '-1 threads'),
    ({'prefetch': 0}, '0 examples ahead'),
  ],
)
def test_numbers_that_do_not_fit_fail_at_once(options, message):
  with pytest.raises(ValueError, match=message):
    pipeline.train_batches(Numbers(10), **({'seed': 3, 'batch_size': 4} | options))


def test_an_empty_split_fails_at_once():
  with pytest.raises(ValueError, match='no examples'):
    pipeline.train_batches(Numbers(0), seed=0, batch_size=1)
  with pytest.raises(ValueError, match='no examples'):
    pipeline.eval_batches(Numbers(0), batch_size=1)


def test_closing_ends_the_threads():
  batches = pipeline.train_batches(Numbers(10), seed=0, batch_size=2)
  next(batches)
  readers = [t for t in threading.enumerate() if t.name.startswith('grain-prefetch')]
  assert readers
  batches.close()
  for thread in readers:
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_ids_of_a_batch():
  assert pipeline.ids(Numbers(5), np.array([4, 0, -1])) == ['n4', 'n0']
