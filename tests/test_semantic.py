"""The semantic task: void and padding change nothing, and neither does the number of devices."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jseg.engine import parallel, resolve
from jseg.models import fcn_basic, segnet_basic, unet
from jseg.tasks import metrics, semantic
from jseg.typing import AXIS

CLASSES = 4
SPEC = types.SimpleNamespace(class_weights=lambda rule: (1.0, 2.0, 0.5, 3.0))
PROTOCOL = {'scales': (1.0,), 'flip': False, 'window': (), 'samples': 0}


def make(model=None, **options):
  model = model or unet.Model(
    num_classes=CLASSES, axis_name=AXIS, width=4, depth=2, padding='same', norm='bn', dropout=0.25
  )
  chosen = {'accumulate': 1, 'ema': 0.0, **PROTOCOL, **options}
  tx = optax.chain(optax.add_decayed_weights(1e-3), optax.sgd(0.1, momentum=0.9))
  return semantic.make(model=model, tx=tx, spec=SPEC, **chosen)


def batch(seed, rows=8, padded=0):
  """Random images; void spread very unequally over the rows; the last `padded` rows only fill up."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, CLASSES, (rows, 12, 16)).astype(np.uint8)
  for row in range(rows):
    labels[row].reshape(-1)[: row * 20] = 255
  valid = np.arange(rows) < rows - padded
  labels[~valid] = 0  # wrong on purpose: `valid` alone must keep these rows out
  return {
    'image': rng.integers(0, 256, (rows, 12, 16, 3)).astype(np.uint8),
    'labels': labels,
    'valid': valid,
    'index': np.where(valid, np.arange(rows), -1).astype(np.int32),
  }


def spread(tree, devices):
  return jax.tree.map(lambda x: np.reshape(x, (devices, -1, *np.shape(x)[1:])), tree)


def copies(tree, devices):
  return jax.tree.map(lambda x: np.stack([np.asarray(x)] * devices), tree)


def train(task, devices, steps=3):
  step = jax.pmap(task.train_step, AXIS, in_axes=(0, 0, None), devices=jax.devices()[:devices])
  state = copies(jax.device_get(task.init(jax.random.key(0), (12, 16, 3))), devices)
  for i in range(steps):
    state, sums = step(state, spread(batch(i), devices), jax.random.key(7))
  return jax.tree.map(lambda x: np.asarray(x)[0], (state, sums))


def evaluate(task, devices, state):
  step = jax.pmap(task.eval_step, AXIS, devices=jax.devices()[:devices])
  sums = step(copies(state, devices), spread(batch(9, padded=3), devices))
  return np.asarray(sums['confusion'])[0]


def assert_close(a, b, tolerance=1e-5):
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance), a, b)


def test_one_device_equals_eight():
  # With batch norm, dropout, class weights and void spread unequally: three steps, then a padded batch.
  task = make(normalise='weights', class_weights='any', ema=0.9)
  one, sums_one = train(task, 1)
  eight, sums_eight = train(task, 8)
  assert_close(one.params, eight.params)
  assert_close(one.model_state, eight.model_state)
  assert_close(one.ema, eight.ema)
  assert_close(sums_one['loss'], sums_eight['loss'])
  np.testing.assert_array_equal(evaluate(task, 1, one), evaluate(task, 8, one))


def weighted(data):
  """The batch with weights that differ from row to row; where nothing may count they are large."""
  weight = np.random.default_rng(2).uniform(0, 1, data['labels'].shape) * (
    1 + data['index'][:, None, None] % 3
  )
  nothing = (data['labels'] == 255) | ~data['valid'][:, None, None]
  return {**data, 'weight': np.where(nothing, 1e6, weight).astype(np.float32)}


@pytest.mark.parametrize('normalise', ['pixels', 'weights', 'images'])
def test_one_device_equals_eight_with_weights_and_padding_rows(normalise):
  task = make(Deep(), normalise=normalise)
  state = jax.device_get(task.init(jax.random.key(0), (12, 16, 3)))
  data = weighted(batch(4, padded=3))
  kept = {name: x[:5] for name, x in data.items()}  # the same without the rows that only fill up
  results = []
  for rows, devices in ((data, 1), (data, 8), (kept, 1)):
    step = jax.pmap(task.train_step, AXIS, in_axes=(0, 0, None), devices=jax.devices()[:devices])
    after, sums = step(copies(state, devices), spread(rows, devices), jax.random.key(7))
    results.append(jax.tree.map(lambda x: np.asarray(x)[0], (after.params, sums['loss'])))
  assert_close(results[0], results[1])
  assert_close(results[0], results[2])


def test_a_mean_of_device_means_would_be_noticed():
  # The rows of `batch` are unequal enough for a mean of per-device means to differ by far more than 1e-5.
  counts = [(batch(0)['labels'][i] != 255).sum() for i in range(8)]
  assert max(counts) > 2 * min(counts)


def test_padding_rows_are_not_counted():
  task = make()
  state = jax.device_get(task.init(jax.random.key(0), (12, 16, 3)))
  whole = batch(9, padded=3)
  assert evaluate(task, 1, state).sum() == (whole['labels'][:5] != 255).sum()


def test_void_pixels_change_no_parameter():
  # Without batch statistics an image's void pixels reach nothing but their own logits' neighbours; with a
  # 1x1 network they reach nothing at all, so the images' void pixels may be anything.
  class Pointwise(segnet_basic.nn.Module):
    num_classes: int = CLASSES

    @segnet_basic.nn.compact
    def __call__(self, image, *, train):
      return segnet_basic.nn.Dense(self.num_classes)(image), {}

  task = make(Pointwise())
  data = batch(1)
  noisy = dict(data, image=np.where((data['labels'] == 255)[..., None], 255 - data['image'], data['image']))
  step = jax.pmap(task.train_step, AXIS, in_axes=(0, 0, None), devices=jax.devices()[:1])
  state = copies(jax.device_get(task.init(jax.random.key(0), (12, 16, 3))), 1)
  results = [step(state, spread(b, 1), jax.random.key(0))[0].params for b in (data, noisy)]
  jax.tree.map(np.testing.assert_array_equal, *results)


@pytest.mark.slow
def test_micro_batches_add_up_to_the_whole():
  model = unet.Model(num_classes=CLASSES, axis_name=AXIS, width=4, depth=2, padding='same', dropout=0.0)
  whole, sums = train(make(model), 2)
  parts, part_sums = train(make(model, accumulate=4), 2)
  assert_close(whole.params, parts.params)
  assert_close(sums['loss'], part_sums['loss'])


@pytest.mark.slow
def test_ema_follows_the_parameters_and_evaluation_uses_it():
  task = make(ema=0.5)
  state, _ = train(task, 1, steps=1)
  first = jax.device_get(task.init(jax.random.key(0), (12, 16, 3)).params)
  assert_close(state.ema, jax.tree.map(lambda a, b: 0.5 * a + 0.5 * b, first, state.params))
  image = batch(0)['image']
  changed = state.replace(params=jax.tree.map(np.zeros_like, state.params))
  np.testing.assert_array_equal(
    task.predict_step(state, image)['predictions'], task.predict_step(changed, image)['predictions']
  )


@pytest.mark.slow
def test_statistics_step_gives_the_batch_alone():
  model = segnet_basic.Model(num_classes=CLASSES, axis_name=AXIS, width=4)
  task = make(model, preprocess='bgr')
  state = jax.device_get(task.init(jax.random.key(0), (12, 16, 3)))
  step = jax.pmap(task.statistics_step, AXIS, in_axes=(0, 0, None), devices=jax.devices()[:2])
  found = step(copies(state, 2), spread(batch(0), 2), jax.random.key(0))
  _, out = model.clone(axis_name=None).apply(
    {'params': state.params, **state.model_state},
    jnp.asarray(batch(0)['image'][..., ::-1], jnp.float32),
    train=True,
    mutable=['batch_stats', 'intermediates'],
    capture_intermediates=lambda module, _: module.name == 'encode1',
  )
  before_norm = np.asarray(out['intermediates']['encode1']['__call__'][0])
  mean = np.asarray(found['batch_stats']['encode1_norm']['bn']['mean'])[0]
  np.testing.assert_allclose(mean, before_norm.mean((0, 1, 2)), rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_samples_are_passes_with_dropout_and_running_statistics():
  model = segnet_basic.Model(num_classes=CLASSES, axis_name=AXIS, width=4, dropout=0.5)
  task = make(model, preprocess='bgr', samples=3)
  state = jax.device_get(task.init(jax.random.key(0), (12, 16, 3)))
  rng = np.random.default_rng(0)
  state = state.replace(
    model_state=jax.tree.map(lambda a: (1 + rng.random(a.shape)).astype(a.dtype), state.model_state)
  )
  image = batch(0, rows=3)['image']
  found = jax.jit(task.predict_step)(state, image)

  variables = {'params': state.params, **state.model_state}
  one = jax.jit(functools.partial(model.clone(axis_name=None, norm='frozen').apply, train=True))
  passes = np.stack(
    [
      [
        jax.nn.softmax(
          one(variables, x[None], rngs={'dropout': jax.random.fold_in(jax.random.key(0), t)})[0]
        )[0]
        for x in image[..., ::-1].astype(np.float32)
      ]
      for t in range(3)
    ]
  )
  assert passes.std(0).max() > 1e-3
  np.testing.assert_allclose(found['uncertainty'], passes.var(0).mean(-1), rtol=1e-3, atol=1e-6)
  np.testing.assert_array_equal(found['predictions'], passes.mean(0).argmax(-1))
  assert found['uncertainty'].dtype == jnp.float32
  # The same again, for an image by itself, and on any number of devices.
  alone = jax.jit(task.predict_step)(state, image[1:2])
  np.testing.assert_allclose(alone['uncertainty'][0], found['uncertainty'][1], rtol=1e-4, atol=1e-7)
  np.testing.assert_array_equal(evaluate(task, 1, state), evaluate(task, 4, state))


@pytest.mark.parametrize(
  'norm', ['none', *(pytest.param(n, marks=pytest.mark.slow) for n in ('batch', 'bn', 'frozen'))]
)
def test_samples_normalise_as_a_test_does(norm):
  # Dropout that drops nothing: the stochastic passes are the plain one.
  model = unet.Model(
    num_classes=CLASSES, axis_name=AXIS, width=2, depth=2, padding='same', norm=norm, dropout=1e-9
  )
  plain, drawn = make(model), make(model, samples=2)
  state = jax.device_get(plain.init(jax.random.key(0), (12, 16, 3)))
  image = batch(0, rows=3)['image']
  scores = [
    jax.jit(functools.partial(semantic._scores, **task.predict_step.keywords))(state, image)
    for task in (plain, drawn)
  ]
  np.testing.assert_allclose(scores[1][0], jax.nn.softmax(scores[0][0]), atol=1e-5)
  assert scores[1][1]['uncertainty'].shape == (3, 12, 16) and scores[1][1]['uncertainty'].max() < 1e-9


@pytest.mark.slow
def test_overfits_two_images():
  task = make(
    unet.Model(num_classes=CLASSES, axis_name=AXIS, width=8, depth=3, padding='same', norm='bn', dropout=0.0)
  )
  rng = np.random.default_rng(0)
  labels = np.kron(rng.integers(0, CLASSES, (2, 3, 4)), np.ones((4, 4))).astype(np.uint8)
  image = (labels[..., None] * 60 + rng.integers(0, 40, (*labels.shape, 3))).astype(np.uint8)
  data = {'image': image, 'labels': labels, 'valid': np.ones(2, bool), 'index': np.arange(2, dtype=np.int32)}
  step = jax.pmap(task.train_step, AXIS, in_axes=(0, 0, None), devices=jax.devices()[:1])
  state = copies(jax.device_get(task.init(jax.random.key(0), (12, 16, 3))), 1)
  for _ in range(60):
    state, sums = step(state, spread(data, 1), jax.random.key(0))
  found = jax.tree.map(lambda x: np.asarray(x)[0], sums)
  assert task.summarise({'loss': tuple(found['loss']), 'confusion': found['confusion']})['mean_iu'] > 0.9


class Deep(segnet_basic.nn.Module):
  """Scores at the image's size, others there, and others at half of it."""

  num_classes: int = CLASSES

  @segnet_basic.nn.compact
  def __call__(self, image, *, train):
    dense = segnet_basic.nn.Dense
    logits, aux = dense(self.num_classes, name='main')(image), dense(self.num_classes, name='side')(image)
    return logits, {'aux': aux, 'small': aux[:, ::2, ::2], 'features': image}


def loss_by_hand(state, data, factors, step=1):
  """The weighted sum of mean cross-entropies in numpy, from {module of Deep: factor}."""
  image, labels = data['image'][:, ::step, ::step] / 127.5 - 1, data['labels'][:, ::step, ::step]
  total, own = 0.0, data['weight'][:, ::step, ::step] if 'weight' in data else np.ones(labels.shape)
  for name, factor in factors.items():
    scores = image @ state.params[name]['kernel'] + state.params[name]['bias']
    log_share = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    known = labels != 255
    weights = np.asarray(SPEC.class_weights(''))[labels[known]] * own[known]
    total -= factor * (weights * log_share[known, labels[known]]).sum() / known.sum()
  return total


@pytest.mark.parametrize('change', [dict, weighted])
@pytest.mark.parametrize(
  ('chosen', 'factors', 'step'),
  [
    ((('logits', 1.0),), {'main': 1.0}, 1),
    ((('logits', 1.0), ('aux', 0.4)), {'main': 1.0, 'side': 0.4}, 1),
    ((('small', 2.0),), {'side': 2.0}, 2),  # against every second label
  ],
)
def test_losses_are_taken_on_the_maps_they_name(chosen, factors, step, change):
  task = make(Deep(), losses=chosen)
  state = jax.device_get(task.init(jax.random.key(0), (12, 16, 3)))
  data = change(batch(4))
  train_step = jax.pmap(task.train_step, AXIS, in_axes=(0, 0, None), devices=jax.devices()[:2])
  _, sums = train_step(copies(state, 2), spread(data, 2), jax.random.key(7))
  total, count = (float(np.asarray(x)[0]) for x in sums['loss'])
  np.testing.assert_allclose(total / count, loss_by_hand(state, data, factors, step), rtol=1e-5)


@pytest.mark.parametrize(
  ('chosen', 'message'),
  [
    ((('features', 1.0),), 'task.losses names features; .* are: logits, aux, small'),
    ((('logits', 1.0), ('small', 1.0)), 'several sizes'),
    ((), 'task.losses names nothing'),
  ],
)
def test_maps_that_no_loss_can_be_taken_on_are_refused(chosen, message):
  task = make(Deep(), losses=chosen)
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(lambda key: task.init(key, (12, 16, 3)), jax.random.key(0))


@pytest.mark.parametrize(
  'options,message',
  [
    ({'preprocess': 'rgb'}, "task.preprocess 'rgb' is unknown; there are: unit"),
    ({'normalise': 'mean'}, 'task.normalise'),
    ({'label_smoothing': 1.0}, r'must lie in \[0, 1\)'),
    ({'scales': ()}, 'eval.scales'),
    ({'window': (5,)}, 'eval.window'),
    ({'samples': -1}, 'eval.samples is -1'),
    ({'samples': 2, 'model': segnet_basic.Model(num_classes=CLASSES)}, 'drops nothing; give it a dropout'),
    ({'samples': 2, 'model': fcn_basic.Model(num_classes=CLASSES)}, 'drops nothing; give it a dropout'),
  ],
)
def test_bad_options_are_named(options, message):
  with pytest.raises(ValueError, match=message):
    make(**options)


def test_an_unknown_option_names_what_exists():
  with pytest.raises(ValueError, match="no option 'normalize' .*did you mean normalise"):
    resolve.construct(
      semantic.make, "task 'semantic'", {'normalize': 'pixels'}, model=None, tx=None, spec=None,
      accumulate=1, ema=0.0, **PROTOCOL,
    )  # fmt: skip


def test_unreplicate_copies():
  replicated = parallel.replicate({'a': np.arange(3.0)})
  host = parallel.unreplicate(replicated)
  host['a'][0] = 5  # writable, and not a view of the device's buffer
  assert float(np.asarray(replicated['a'])[0, 0]) == 0


def test_names_are_in_table_order():
  assert set(metrics.NAMES) == set(metrics.scores(np.eye(2)))
