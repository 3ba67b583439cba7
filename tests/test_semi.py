"""Adversarial training: who is updated by what, all forms, devices, resumption, and what is refused."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import runs
from test_learning import copies, first, spread

import jseg
from jseg.data.builders import shapes
from jseg.engine import train
from jseg.engine.meter import NonFiniteError
from jseg.models import unet
from jseg.tasks import adversarial_losses, adversaries, semi
from jseg.typing import AXIS

CLASSES, SIDE = 7, 32
FORMS = {
  'fixed': {},
  'explicit': {'form': 'explicit', 'generator_loss': 'non_saturating'},
  'features': {'generator_loss': 'features', 'features': 'down1'},
  'weak': {'conditional': True, 'form': 'explicit'},
}


def make(dtype=jnp.float32, **options):
  model = unet.Model(
    CLASSES, width=4, depth=2, padding='same', norm='bn', dropout=0.3, axis_name=AXIS, dtype=dtype
  )
  given = {'accumulate': 1, 'ema': 0.0, 'scales': (1.0,), 'flip': False, 'window': (), 'samples': 0}
  return semi.make(
    model=model, tx=optax.sgd(0.05, 0.9), spec=shapes.SPEC, **{**given, 'generator_width': 24, **options}
  )


@functools.cache
def batch():
  """Eight images with masks, one of them only to fill up, and sixteen without."""
  drawn = shapes.open_split('train', size=SIDE, train=24)
  rows = [drawn[i] for i in range(24)]
  labels = np.stack([row['labels'] for row in rows])
  return {
    'image': np.stack([row['image'] for row in rows[:8]]),
    'labels': labels[:8],
    'valid': np.arange(8) != 7,
    'index': np.arange(8, dtype=np.int32),
    'rest_image': np.stack([row['image'] for row in rows[8:]]),
    'rest_tags': (labels[8:, ..., None] == np.arange(CLASSES)).any((1, 2)),
    'rest_valid': np.ones(16, bool),
    'rest_index': np.arange(16, dtype=np.int32),
  }


@functools.cache
def begun(form):
  task = make(**FORMS[form])
  return task, jax.device_get(
    runs.quickly(jax.jit(lambda key: task.init(key, (SIDE, SIDE, 3))), jax.random.key(0))
  )


@functools.cache
def stepped(form, devices, function='train_step'):
  """(state after one update of both or of one of the two, sums)."""
  task, state = begun(form)
  if function == 'train_step':
    step = task.train_step
  else:
    step = functools.partial(getattr(adversaries, function), **task.train_step.keywords)
  return after(step, state, devices)


def after(step, state, devices):
  """(state, sums) after one call of a step on so many devices."""
  run = jax.pmap(step, AXIS, in_axes=(0, 0, None), devices=jax.devices()[:devices])
  state, sums = runs.quickly(run, copies(state, devices), spread(batch(), devices), jax.random.key(3))
  return first(state), first(sums)


def parts(state):
  """The networks' halves of a state: parameters, statistics and optimiser."""
  params = adversaries.apart(state.params)
  statistics = adversaries.states_apart(state.model_state)
  return (
    (params[0], statistics[0], state.opt_state['network']),
    (params[1], statistics[1], state.opt_state['generator']),
  )


@pytest.mark.parametrize(('function', 'moves'), [('update_network', 0), ('update_generator', 1)])
def test_an_update_leaves_the_other_network_bit_for_bit(function, moves):
  before, after = parts(begun('weak')[1]), parts(stepped('weak', 1, function)[0])
  jax.tree.map(np.testing.assert_array_equal, before[1 - moves], after[1 - moves])
  moved = jax.tree.map(lambda a, b: bool((a != b).any()), before[moves], after[moves])
  assert all(jax.tree.leaves(moved[:2])), moved


# Of every form a step is a program of its own, and each takes half a minute to compile.
_LONG = (pytest.mark.slow, pytest.mark.long)
forms = pytest.mark.parametrize(
  'form', [form if form == 'weak' else pytest.param(form, marks=_LONG) for form in FORMS]
)


@forms
def test_one_device_is_eight(form):
  # In float64: in float32 rounding may turn a ReLU or a maximum, and with it a whole patch of a gradient.
  with jax.enable_x64(True):
    task = make(jnp.float64, **FORMS[form])
    state = jax.tree.map(
      lambda x: np.asarray(x, np.float64 if x.dtype == np.float32 else None), begun(form)[1]
    )
    (one, sums_one), (eight, sums_eight) = (after(task.train_step, state, n) for n in (1, 8))
  assert sums_one.keys() == sums_eight.keys() and np.isfinite(sums_one['loss'][0])
  for (path, a), b in zip(
    jax.tree.leaves_with_path((one, sums_one)), jax.tree.leaves((eight, sums_eight)), strict=True
  ):
    # Scores and losses stay float32, the generator too.
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(np.abs(a).max(), 1e-3), err_msg=str(path))


@forms
def test_the_sums_are_those_of_the_losses(form):
  _, sums = stepped(form, 1)
  known, real, fake = (np.divide(*sums[f'{name}_loss']) for name in ('labelled', 'unlabelled', 'generated'))
  wanted = known + 0.5 * real + 0.5 * fake
  np.testing.assert_allclose(sums['network_loss'][0], wanted, rtol=1e-5)
  np.testing.assert_allclose(sums['loss'][0], wanted + sums['generator_loss'][0], rtol=1e-5)
  assert sums['labelled_loss'][1] == (batch()['labels'][:7] != 255).sum()
  assert sums['unlabelled_loss'][1] == sums['generated_loss'][1] == 16 * SIDE**2
  assert (sums['generator_loss'][0] < 0) == (FORMS[form].get('generator_loss') is None)


@pytest.mark.slow
@pytest.mark.long
def test_matching_features_is_the_gradient_of_the_squared_distance():
  """By finite differences of what is reported, along the step that was taken."""
  task, state = begun('features')
  after, _ = stepped('features', 1, 'update_generator')
  bound = functools.partial(
    adversaries._generator_loss, networks=task.train_step.keywords['networks'],
    options=task.train_step.keywords['options'],
  )  # fmt: skip
  params, others = adversaries.apart(state.params)
  own, theirs = adversaries.states_apart(state.model_state)
  # The step is minus the rate times the gradient.
  step = jax.tree.map(lambda a, b: b - a, others, after.params['generator'])
  loss = jax.pmap(
    lambda g, b, key: bound(g, theirs, params, own, b, key)[1][1], AXIS, in_axes=(0, 0, None),
    devices=jax.devices()[:1],
  )  # fmt: skip
  size = 1e-2 / np.sqrt(sum(float(np.square(x).sum()) for x in jax.tree.leaves(step)))
  ends = [
    float(loss(copies(jax.tree.map(lambda a, d, s=s: a + s * size * d, others, step), 1), spread(batch(), 1),
               jax.random.key(3))[0])
    for s in (-1, 1)
  ]  # fmt: skip
  slope = (ends[1] - ends[0]) / (2 * size)
  squared = sum(float(np.square(x).sum()) for x in jax.tree.leaves(step))
  np.testing.assert_allclose(slope, -squared / 0.05, rtol=0.03)


def test_both_forms_are_one_where_the_fake_score_is_fixed():
  logits = np.random.default_rng(0).normal(0, 30, (2, 3, 4, 5)).astype(np.float32)
  with_zero = np.concatenate([logits, np.zeros_like(logits[..., :1])], -1)
  fixed = adversarial_losses.scores(logits, 'fixed')
  explicit = adversarial_losses.scores(with_zero, 'explicit')
  chance = np.exp(np.float64(with_zero) - np.float64(with_zero).max(-1, keepdims=True))
  chance /= chance.sum(-1, keepdims=True)
  for loss, wanted in (
    (adversarial_losses.real, chance[..., :-1].sum(-1)),
    (adversarial_losses.fake, chance[..., -1]),
  ):
    np.testing.assert_array_equal(loss(fixed), loss(explicit))
    np.testing.assert_allclose(loss(fixed), -np.log(wanted), rtol=1e-4, atol=1e-5)
  tags = np.array([[True, False, True, False, False], [True] * 5])
  named = adversarial_losses.tagged(fixed, tags)
  np.testing.assert_allclose(named[0], -np.log(chance[0][..., [0, 2]].sum(-1)), rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(named[1], adversarial_losses.real(fixed)[1], rtol=1e-4, atol=1e-5)
  with pytest.raises(ValueError, match="form 'both' is unknown; there are: fixed, explicit"):
    adversarial_losses.scores(logits, 'both')


def test_a_pixel_is_never_predicted_fake():
  task, state = begun('explicit')
  params = jax.tree.map(np.copy, state.params)
  params['score']['bias'][-1] = 1e4
  found = jax.jit(task.predict_step)(state.replace(params=params), batch()['image'])['predictions']
  assert params['score']['bias'].shape == (CLASSES + 1,) and found.max() < CLASSES


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'form': 'both'}, "task.form 'both' is unknown; there are: fixed, explicit"),
    ({'generator_loss': 'none'}, "generator_loss 'none' is unknown; there are: saturating"),
    ({'features': 'down1'}, "'features', and is '' for the others"),
    ({'generator_loss': 'features'}, "task.features is ''"),
    ({'accumulate': 2}, 'it takes 1, 0, at least 1 and 4'),
    ({'unlabelled_weight': -1.0}, 'none below 0'),
  ],
)
def test_unknown_options_are_named(options, message):
  with pytest.raises(ValueError, match=message):
    make(**options)


def test_sizes_and_maps_that_do_not_exist_are_named():
  with pytest.raises(ValueError, match=r'sides that 16 divides, not 40x33; set data.crop=\(32, 32\)'):
    jax.eval_shape(lambda key: make().init(key, (40, 33, 3)), jax.random.key(0))
  task = make(generator_loss='features', features='fc7')
  with pytest.raises(ValueError, match="features 'fc7' is unknown; the network's maps are: down0, "):
    jax.eval_shape(lambda key: task.init(key, (32, 32, 3)), jax.random.key(0))


def test_without_images_or_tags_it_says_what_to_set():
  for form, gone, message in (
    ('fixed', ('rest_image',), 'needs images without masks: set data.rest_batch_size'),
    ('weak', ('rest_tags',), 'needs tags of the images without masks'),
  ):
    task, state = begun(form)
    less = {name: value for name, value in batch().items() if name not in gone}
    with pytest.raises(ValueError, match=message):
      jax.eval_shape(task.train_step, state, less, jax.random.key(0))


def config_of(name, **changes):
  config = importlib.import_module(f'configs.{name}').get_config('quick')
  config.model.width, config.model.depth = 4, 2
  config.data.options.size, config.data.crop, config.data.options.train = 32, (32, 32), 64
  config.eval.overlays, config.optim.schedule = 1, 'constant'
  for key, value in changes.items():
    config.update_from_flattened_dict({key: value})
  return config


def test_a_run_resumes_bit_for_bit_and_predicts(tmp_path):
  scores = train.train(config_of('gan_semi_shapes', **{'train.steps': 4}), tmp_path / 'whole')
  assert 0 <= scores['mean_iu'] <= 1
  for steps in (2, 4):
    train.train(config_of('gan_semi_shapes', **{'train.steps': steps}), tmp_path / 'cut')
  runs.assert_same(tmp_path / 'whole', tmp_path / 'cut')
  line = runs.scalars(tmp_path / 'whole')[-1]
  assert {'loss', 'network_loss', 'generator_loss', 'unlabelled_loss', 'mean_iu'} <= line.keys()
  assert jseg.load(tmp_path / 'whole', 'latest').predict(np.zeros((21, 30, 3), np.uint8)).shape == (21, 30)
  # The network's weights go by their own names: a supervised run may start from them, or they from it.
  supervised = {'init_from': str(tmp_path / 'whole'), 'train.steps': 1}
  train.train(config_of('gan_supervised_shapes', **supervised), tmp_path / 'after')


def test_a_generator_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
  plain = adversaries.generated

  def broken(*args, **kwargs):
    images, state = plain(*args, **kwargs)
    return images * jnp.nan, state

  monkeypatch.setattr(adversaries, 'generated', broken)
  with pytest.raises(NonFiniteError, match='loss is nan at step 1 .*nothing of it was saved') as caught:
    train.train(config_of('gan_semi_shapes'), tmp_path / 'run')
  assert '\n' not in str(caught.value) and not list((tmp_path / 'run' / 'checkpoints').glob('[0-9]*'))


def test_pictures_are_of_the_images_size_and_of_each_class():
  task, state = begun('weak')
  found = task.pictures(state, (SIDE, SIDE, 3))
  assert len(found) == CLASSES and {x.shape for x in found.values()} == {(SIDE, SIDE, 3)}
  assert {x.dtype for x in found.values()} == {np.dtype(np.uint8)}
  again = task.pictures(state, (SIDE, SIDE, 3))
  jax.tree.map(np.testing.assert_array_equal, found, again)
