"""Compares our optimisers and the poly schedule with a file of Torch's numbers (goldens/ops/optim.npz)."""

import json

import jax.numpy as jnp
import numpy as np
import optax

from jseg.engine import optimizers

# Torch's names for our options where they differ, and its defaults that differ from ours.
_NAMES = {'alpha': 'rho'}
_DEFAULTS = {'sgd': {'momentum': 0.0}, 'adam': {}, 'rmsprop': {'momentum': 0.0}}


def check_optim(path) -> list[str]:
  """Asserts that every case we offer agrees; returns the names of the others (decoupled decay, Adadelta)."""
  data = np.load(path)
  skipped = []
  for case, arguments in json.loads(str(data['meta']))['cases'].items():
    arrays = {name.removeprefix(f'{case}/'): data[name] for name in data if name.startswith(f'{case}/')}
    if not check_case(case, arguments, arrays):
      skipped.append(case)
  return skipped


def check_case(case, arguments, arrays) -> bool:
  """Asserts that a case agrees; False where we offer no such optimiser."""
  name = case.split('_')[0]
  if name == 'poly':
    optim = {'lr': arguments['base'], 'schedule': 'poly', 'power': arguments['power']}
    rate = optimizers.schedule(optim, arguments['max_iter'])
    np.testing.assert_allclose(rate(arrays['it']), arrays['lr'], rtol=2e-6, atol=1e-9, err_msg=case)
  elif name in _DEFAULTS:
    ours = {_NAMES.get(key, key): value for key, value in arguments.items()}
    optim = {'name': name} | _DEFAULTS[name] | ours
    _check_steps(optim, arrays['p0'], arrays['g'], arrays['p'], case)
  else:
    return False
  return True


def _check_steps(optim, p, gradients, expected, case):
  params = {'w': jnp.asarray(p)}
  optimizer = optimizers.make(optim, len(gradients), params)
  state = optimizer.init(params)
  for gradient, after in zip(gradients, expected, strict=True):
    updates, state = optimizer.update({'w': jnp.asarray(gradient)}, state, params)
    params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params['w'], after, rtol=2e-6, atol=2e-7, err_msg=case)
