import os
import pathlib

import golden_optim
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import base
from jseg.engine import optimizers

PARAMS = {
  'encoder': {'conv1': {'kernel': jnp.array([1.0, -2.0, -0.0]), 'bias': jnp.array([0.5])}},
  'head': {'kernel': jnp.array([3.0]), 'bias': jnp.array([-1.0])},
}
GRADIENTS = jax.tree.map(lambda p: 0.1 * p + 1, PARAMS)


def after(optim, steps=1, params=PARAMS, gradients=GRADIENTS, total=10):
  optimizer = optimizers.make(optim, total, params)
  state = optimizer.init(params)

  @jax.jit
  def update(state, params):
    updates, state = optimizer.update(gradients, state, params)
    return state, optax.apply_updates(params, updates)

  for _ in range(steps):
    state, params = update(state, params)
  return params


def test_goldens():
  folder = os.environ.get('JSEG_GOLDENS', str(pathlib.Path(__file__).parent / 'goldens'))
  path = pathlib.Path(folder) / 'ops' / 'optim.npz'
  if not path.is_file():
    pytest.skip(f'no {path}; set JSEG_GOLDENS')
  assert golden_optim.check_optim(path) == ['adamw', 'adadelta']


@pytest.mark.parametrize(
  'optim,steps,expected',
  [
    ({'schedule': 'constant'}, (0, 5, 10), (0.1, 0.1, 0.1)),
    ({'schedule': 'poly', 'power': 0.5}, (0, 75, 100, 120), (0.1, 0.05, 0, 0)),
    ({'schedule': 'cosine'}, (0, 50, 100), (0.1, 0.05, 0)),
    ({'schedule': 'exponential', 'gamma': 0.5, 'period': 10}, (0, 9, 10, 25), (0.1, 0.1, 0.05, 0.025)),
    ({'schedule': 'step', 'milestones': (10, 20), 'gamma': 0.1}, (9, 10, 20, 99), (0.1, 0.01, 0.001, 0.001)),
    ({'schedule': 'step'}, (0, 99), (0.1, 0.1)),
    ({'schedule': 'constant', 'warmup': 4}, (0, 1, 4, 9), (0, 0.025, 0.1, 0.1)),
    ({'schedule': 'poly', 'power': 1.0, 'warmup': 10}, (0, 5, 10, 50), (0, 0.0475, 0.09, 0.05)),
  ],
)
def test_schedules(optim, steps, expected):
  rate = optimizers.schedule({'lr': 0.1} | optim, 100)
  np.testing.assert_allclose([rate(s) for s in steps], expected, rtol=1e-5, atol=1e-9)
  np.testing.assert_allclose(jax.jit(jax.vmap(rate))(jnp.array(steps)), expected, rtol=1e-5, atol=1e-9)


def test_decay_is_coupled():
  # Without a gradient Adam's first step is lr long wherever there is decay; decoupled decay's is not.
  zero = jax.tree.map(jnp.zeros_like, PARAMS)
  new = after({'name': 'adam', 'lr': 0.01, 'weight_decay': 0.1}, gradients=zero)
  np.testing.assert_allclose(new['head']['kernel'], 3 - 0.01, rtol=1e-5)
  new = after({'name': 'sgd', 'lr': 0.5, 'weight_decay': 0.1}, gradients=zero)
  np.testing.assert_allclose(new['head']['kernel'], 3 * (1 - 0.05), rtol=1e-6)


def test_rate_change_acts_at_once():
  """Torch's momentum, not Caffe's: the velocity does not carry the old rate."""
  optim = {'lr': 1.0, 'momentum': 0.5, 'schedule': 'step', 'milestones': (1,), 'gamma': 0.1}
  new = after(optim, 2, {'w': jnp.zeros(1)}, {'w': jnp.ones(1)})
  np.testing.assert_allclose(new['w'], -(1.0 + 0.1 * 1.5), rtol=1e-6)


def test_groups_first_match_wins():
  zero = jax.tree.map(jnp.zeros_like, PARAMS)
  groups = (('bias$', 2.0, 0.0), ('^encoder/', 0.5, 1.0))
  new = after({'lr': 0.1, 'momentum': 0.0, 'groups': groups})
  plain = after({'lr': 0.1, 'momentum': 0.0})
  for path, factor in (
    (('encoder', 'conv1', 'bias'), 2),
    (('encoder', 'conv1', 'kernel'), 0.5),
    (('head', 'kernel'), 1),
  ):
    a, b, p = new, plain, PARAMS
    for key in path:
      a, b, p = a[key], b[key], p[key]
    np.testing.assert_allclose(a - p, factor * (b - p), rtol=1e-4)
  new = after({'lr': 0.1, 'weight_decay': 0.5, 'groups': groups}, gradients=zero)
  assert new['head']['bias'] == PARAMS['head']['bias'] and new['head']['kernel'] != PARAMS['head']['kernel']


@pytest.mark.parametrize('name', ['sgd', 'adam', 'rmsprop'])
def test_rate_zero_is_frozen_to_the_bit(name):
  gradients = jax.tree.map(lambda p: p * jnp.nan, PARAMS)
  gradients['head'] = GRADIENTS['head']
  optim = {'name': name, 'weight_decay': 0.1, 'groups': (('^encoder', 0, 1),)}
  new = after(optim, 3, gradients=gradients)
  for key in ('kernel', 'bias'):
    assert new['encoder']['conv1'][key].tobytes() == PARAMS['encoder']['conv1'][key].tobytes()
    assert new['head'][key] != PARAMS['head'][key]


@pytest.mark.parametrize(
  'optim,match',
  [
    ({'name': 'lion'}, 'there are: sgd, adam, rmsprop'),
    ({'schedule': 'exp'}, 'there are: constant, poly, step, exponential, cosine'),
    ({'learning_rate': 1.0}, "option 'learning_rate' is unknown; there are: name, lr, "),
    ({'groups': (('^decoder', 1, 1),)}, "'\\^decoder' matches no parameter; there are: encoder/conv1/bias"),
    ({'groups': (('^encoder', 1),)}, 'takes .regular expression, rate factor, decay factor'),
    ({'groups': (('(', 1, 1),)}, 'takes .regular expression, rate factor, decay factor'),
    ({'lr': -1.0}, 'lr must not be negative'),
    ({'momentum': 1.0}, r'momentum must be in \[0, 1\)'),
    ({'name': 'adam', 'nesterov': True}, 'nesterov is an option of sgd'),
  ],
)
def test_faults_are_named(optim, match):
  with pytest.raises(ValueError, match=match) as error:
    optimizers.make(optim, 10, PARAMS)
  assert '\n' not in str(error.value)


def test_the_config_section_is_the_options():
  section = base.get_config().optim
  assert optimizers._options(section) == optimizers.Options()
  optimizers.make(section, 10, jax.eval_shape(lambda: PARAMS))
