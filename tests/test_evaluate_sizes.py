"""Evaluation of images of several sizes: batches of any size count what single images count."""

import jax
import numpy as np
import pytest
import runs
from flax import linen as nn

from jseg.data.builders import shapes
from jseg.engine import evaluate, parallel, resolve

SIZES = [(32, 32), (48, 32), (24, 40), (32, 32), (17, 23), (48, 32), (31, 64), (32, 32), (20, 20)]


class Pointwise(nn.Module):
  """A network that sees one pixel, so that what is filled up changes no other pixel."""

  @nn.compact
  def __call__(self, image, *, train):
    return nn.Dense(shapes.SPEC.num_classes)(image), {}


class Mixed:
  """Drawn images cut to several sizes."""

  def __init__(self, sizes):
    self.sizes, self._whole = sizes, shapes.open_split('val', size=64, val=len(sizes))

  def __len__(self):
    return len(self.sizes)

  def __getitem__(self, index):
    example, (h, w) = self._whole[index], self.sizes[index]
    return {**example, 'image': example['image'][:h, :w], 'labels': example['labels'][:h, :w]}


@pytest.fixture(autouse=True)
def pointwise(monkeypatch):
  monkeypatch.setattr(resolve, 'model', lambda config, num_classes: Pointwise())


def evaluated(source, batch_size):
  """(what an evaluation found, its protocol, the confusion matrix of the images one by one)."""
  config = runs.tiny(**{'eval.batch_size': batch_size})
  task = resolve.task(config, shapes.SPEC, (32, 32, 3))
  state = task.init(jax.random.key(0), (32, 32, 3))
  evaluator = evaluate.Evaluator(config, task, source, shapes.SPEC)
  result = evaluator(parallel.replicate(state))
  k = shapes.SPEC.num_classes
  alone = np.zeros((k, k), np.int64)
  for i in range(len(source)):
    example = source[i]
    found = np.asarray(task.predict_step(state, example['image'][None])['predictions'][0])
    counted = example['labels'] != 255
    np.add.at(alone, (example['labels'][counted], found[counted]), 1)
  return result, evaluator.protocol(), alone


@pytest.mark.parametrize('batch_size', [8, 16])
def test_filled_batches_count_what_single_images_count(batch_size):
  result, protocol, alone = evaluated(Mixed(SIZES), batch_size)
  np.testing.assert_array_equal(result.sums['confusion'], alone)
  assert (alone.sum(0) > 0).sum() > 1  # the network does not say one class everywhere
  assert result.images == len(SIZES)
  assert protocol['sizes'] == f'filled up within batches of {batch_size}'


def test_one_size_is_left_as_it_is():
  result, protocol, alone = evaluated(Mixed([(17, 23)] * 9), 8)
  np.testing.assert_array_equal(result.sums['confusion'], alone)
  assert protocol['sizes'] == 'as they are'


@pytest.mark.parametrize('compiled', [jax.jit, parallel.pmapped])
def test_programs_of_many_sizes_are_let_go(compiled):
  """Kept for ever they crash a process that predicts some hundred photos of different sizes."""
  compilations = []

  def total(state, x):
    compilations.append(x.shape)
    return state + x.sum()

  step, shape = parallel.for_sizes(compiled(total), most=3), (8,) if compiled is parallel.pmapped else ()
  client = jax.devices()[0].client
  jax.clear_caches()
  before = len(client.live_executables())
  for n in (*range(1, 8), 7, 6, 7):
    found = np.asarray(step(np.ones(shape, np.float32), np.ones((*shape, n), np.float32)))
    np.testing.assert_array_equal(found, np.full(shape, n + 1, np.float32))
  assert len(client.live_executables()) - before <= 4
  assert len(compilations) == 8  # of one to seven; six once more


def test_every_size_of_photos_and_batches_goes_through_it():
  from jseg.engine import predictor

  config = runs.tiny()
  task = resolve.task(config, shapes.SPEC, (32, 32, 3))
  state = task.init(jax.random.key(0), (32, 32, 3))
  for step in (
    predictor._of(config, shapes.SPEC, task, state)._step,
    evaluate.Evaluator(config, task, Mixed(SIZES), shapes.SPEC)._step,
  ):
    assert step.__qualname__ == 'for_sizes.<locals>.call'
