"""Every network learns: two drawn images to a mean IU over 0.9, the same on one device as on eight."""

import cases
import jax
import numpy as np
import optax
import pytest

from jseg.data import shapes
from jseg.tasks import semantic
from jseg.typing import AXIS

SIZE, STEPS = 64, 400
SPEC = type('Spec', (), {'class_weights': staticmethod(lambda rule: (1.0,) * 7)})

# One case of each file, in the form of its walking tests; those over volumes have no task yet.
FIRST = {case.name: case for case in reversed(cases.NETWORKS) if case.name != 'unet3d'}


def batch():
  """Two images, four times each: a row for each of eight devices."""
  drawn = shapes.Shapes('train', size=SIZE, count=2, seed=0)
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


def compiled(task, state, data, devices):
  step = jax.pmap(task.train_step, AXIS, in_axes=(0, 0, None), devices=jax.devices()[:devices])
  lowered = step.lower(copies(state, devices), spread(data, devices), jax.random.key(1))
  return lowered.compile()


@pytest.mark.slow
@pytest.mark.parametrize('case', FIRST.values(), ids=lambda case: case.name)
def test_learns(case, tmp_path):
  import time

  t = time.time()
  model = case.model(**{**case.tiny, **case.learns}).clone(num_classes=7, axis_name=AXIS)
  task = semantic.make(
    model=model,
    tx=optax.adam(3e-3),
    spec=SPEC,
    accumulate=1,
    ema=0.0,
    scales=(1.0,),
    flip=False,
    window=(),
    samples=0,
  )
  state = jax.device_get(task.init(jax.random.key(0), (SIZE, SIZE, 3)))
  data = batch()
  eight = compiled(task, state, data, 8)
  t1 = time.time()
  states = copies(state, 8)
  for i in range(STEPS):
    states, sums = eight(states, spread(data, 8), jax.random.key(1))
    if i % 20 == 0:
      c = np.asarray(sums['confusion'])[0]
      m = task.summarise({'confusion': c})['mean_iu']
      print(
        case.name,
        i,
        float(sums['loss'][0][0] / sums['loss'][1][0]),
        m,
        f'{time.time() - t1:.0f}s, compile {t1 - t:.0f}',
      )
      if m > 0.9:
        break
  assert m > 0.9
