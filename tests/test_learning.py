"""Every network learns: two drawn images to a mean IU over 0.9, the same on one device as on eight."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jseg.data import shapes
from jseg.engine import checkpoint
from jseg.models import unet3d
from jseg.tasks import losses, metrics, semantic
from jseg.typing import AXIS

STEPS, CLASSES = 500, 7
SPEC = type('Spec', (), {'class_weights': staticmethod(lambda rule: (1.0,) * CLASSES)})

# One case of each file, in the form of its walking tests. Over volumes there is no task; test below.
# DecoupledNet has a task of its own.
LEFT_OUT = ('unet3d', 'decouplednet')
FIRST = {case.name: case for case in reversed(cases.NETWORKS) if case.name not in LEFT_OUT}
EVERY_DAY = {'segnet_basic'}  # the others' programs take up to minutes to compile


def batch(side):
  """Two images, four times each: a row for each of eight devices."""
  drawn = shapes.Shapes('train', size=side, count=2, seed=0)
  rows = [drawn[i % 2] for i in range(8)]
  return {
    'image': np.stack([row['image'] for row in rows]),
    'labels': np.stack([row['labels'] for row in rows]),
    'valid': np.ones(8, bool),
    'index': np.arange(8, dtype=np.int32),
  }


def spread(tree, devices):
  return jax.tree.map(lambda x: np.reshape(x, (devices, -1, *np.shape(x)[1:])), tree)


def copies(tree, devices):
  return jax.tree.map(lambda x: np.stack([np.asarray(x)] * devices), tree)


def stepper(task, devices):
  return jax.pmap(task.train_step, AXIS, in_axes=(0, 0, None), devices=jax.devices()[:devices])


def first(tree):
  return jax.tree.map(lambda x: np.asarray(x)[0], tree)


@pytest.mark.slow
@pytest.mark.parametrize(
  'case',
  [
    pytest.param(case, id=case.name, marks=[] if case.name in EVERY_DAY else [pytest.mark.long])
    for case in FIRST.values()
  ],
)
def test_learns_two_images(case, tmp_path):
  chosen = {'rate': 3e-3, 'side': 64, 'rtol': 1e-3, **case.tiny, **case.learns}
  rate, side, rtol = (chosen.pop(name) for name in ('rate', 'side', 'rtol'))
  model = case.model(**chosen).clone(num_classes=CLASSES, axis_name=AXIS)
  task = semantic.make(
    model=model, tx=optax.adam(rate), spec=SPEC, accumulate=1, ema=0.0,
    scales=(1.0,), flip=False, window=(), samples=0,
  )  # fmt: skip
  state, data = jax.device_get(task.init(jax.random.key(0), (side, side, 3))), batch(side)
  one, eight, key = stepper(task, 1), stepper(task, 8), jax.random.key(1)

  # Loss, confusion, every layer's gradient and the statistics after a step do not know the devices. (Its
  # parameters hardly would: Adam's first step takes gradients' signs.)
  (_, sums), (_, sums8) = results = [
    jax.tree.map(lambda x: np.asarray(x)[0], step(copies(state, n), spread(data, n), key))
    for step, n in ((one, 1), (eight, 8))
  ]
  for name in sums:
    np.testing.assert_allclose(sums[name], sums8[name], rtol=rtol, atol=1e-5, err_msg=name)
  statistics = [stepped.model_state for stepped, _ in results]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-4), *statistics)

  states = copies(state, 1)
  for _ in range(STEPS):
    states, sums = one(states, spread(data, 1), key)
    mean_iu = task.summarise({'confusion': first(sums['confusion'])})['mean_iu']
    if mean_iu > 0.92:
      break
  assert mean_iu > 0.9

  trained = first(states)
  keeper = checkpoint.Checkpoints(tmp_path)
  keeper.save(int(trained.step), trained, {}, mean_iu)
  keeper.close()
  params, model_state, _ = checkpoint.restore_params(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, params, trained.params)
  jax.tree.map(np.testing.assert_array_equal, model_state, trained.model_state)


@pytest.mark.slow
def test_learns_two_volumes():
  """By the loss and the confusion matrix that images have, a slice a row."""
  side, slices = 32, 4
  drawn = shapes.Shapes('train', size=side, count=2, seed=0)

  def volumes(part):
    """Each image as the first slice, three pixels further down in every next one."""
    return np.stack(
      [[np.roll(row[part], 3 * z, axis=0) for z in range(slices)] for row in (drawn[0], drawn[1])]
    )

  image = volumes('image').astype(np.float32) / 127.5 - 1
  labels = volumes('labels').reshape(-1, side, side)
  model, tx = unet3d.Model(num_classes=CLASSES, width=4, depth=2), optax.adam(1e-2)

  def loss(params, statistics):
    variables = {'params': params, 'batch_stats': statistics}
    (logits, _), changed = model.apply(variables, image, train=True, mutable=['batch_stats'])
    logits = logits.reshape(*labels.shape, CLASSES)
    total, count = losses.cross_entropy(logits, labels, jnp.ones(CLASSES))
    confusion = metrics.MeanIU.from_model_output(logits=logits, labels=labels).confusion
    return total / count, (changed['batch_stats'], confusion)

  @jax.jit
  def step(params, statistics, state):
    gradient, (statistics, confusion) = jax.grad(loss, has_aux=True)(params, statistics)
    updates, state = tx.update(gradient, state, params)
    return optax.apply_updates(params, updates), statistics, state, confusion

  variables = jax.jit(lambda key: model.init(key, image, train=False))(jax.random.key(0))
  params, statistics = variables['params'], variables['batch_stats']
  state = tx.init(params)
  for _ in range(200):
    params, statistics, state, confusion = step(params, statistics, state)
    mean_iu = metrics.scores(np.asarray(confusion))['mean_iu']
    if mean_iu > 0.92:
      break
  assert mean_iu > 0.9
