"""ops/recompute: the same values and gradients, on one device and on two, for less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jseg.models import fc_densenet
from jseg.ops import recompute
from jseg.typing import AXIS


def wide(weights, x, key):
  """As large inside as it is small outside; integers and keys have no gradient."""
  inner = jnp.tanh(x[:, None] * weights['a'] + jnp.arange(4096.0) * weights['b'])
  return inner.mean(1) + jax.random.normal(key, x.shape), {'count': weights['n'] + 1}


def chain(layer, depth):
  def loss(weights, x, key):
    for i in range(depth):
      x = layer(weights, x, jax.random.fold_in(key, i))[0]
    return jnp.square(x).sum()

  return loss


def arguments(n=64):
  weights = {'a': jnp.float32(0.7), 'b': jnp.float32(1e-3), 'n': jnp.int32(3)}
  return weights, jnp.linspace(-1.0, 1.0, n), jax.random.key(2)


def gradients(layer, depth=3):
  return jax.jit(jax.value_and_grad(chain(layer, depth), argnums=(0, 1), allow_int=True))


def test_values_and_gradients_are_those_of_the_plain_function():
  plain, again = (gradients(f)(*arguments()) for f in (wide, recompute.recomputed(wide, None)))
  np.testing.assert_allclose(plain[0], again[0], rtol=1e-6)
  for name in ('a', 'b'):
    np.testing.assert_allclose(plain[1][0][name], again[1][0][name], rtol=1e-5)
  assert again[1][0]['n'].dtype == jax.dtypes.float0
  np.testing.assert_allclose(plain[1][1], again[1][1], rtol=1e-5)


def test_nothing_inside_is_kept():
  plans = [
    gradients(f, 12).lower(*arguments()).compile().memory_analysis().temp_size_in_bytes
    for f in (wide, jax.checkpoint(wide), recompute.recomputed(wide, None))
  ]
  one_layer = 64 * 4096 * 4
  assert plans[0] > 8 * one_layer
  assert plans[2] < 4 * one_layer, f'jax.checkpoint: {plans[1] / one_layer:.1f} layers'


def test_sums_over_devices_agree_and_a_nan_on_one_of_them_is_one_on_all():
  def summed(weights, x, key):
    return jax.lax.psum(wide(weights, x, key)[0], AXIS), {}

  weights, x, key = arguments(8)
  xs = jnp.stack([x, 2 * x])
  devices = jax.devices()[:2]
  both = [
    jax.pmap(jax.value_and_grad(chain(f, 2), argnums=1), AXIS, in_axes=(None, 0, None), devices=devices)
    for f in (summed, recompute.recomputed(summed, AXIS))
  ]  # fmt: skip
  weights = {'a': weights['a'], 'b': weights['b'], 'n': 3.0}
  plain, again = (np.asarray(f(weights, xs, key)[1]) for f in both)
  np.testing.assert_allclose(plain, again, rtol=1e-5)
  broken = np.asarray(both[1](weights, xs.at[1, 0].set(np.nan), key)[1])
  assert np.isnan(broken).all()


@pytest.mark.slow
def test_dropout_keeps_and_drops_the_same():
  image = np.random.default_rng(0).standard_normal((2, 16, 16, 3)).astype(np.float32)
  plain = fc_densenet.Model(3, growth=4, down=(2, 2), bottom=2, width=4, dropout=0.3)
  variables = plain.init({'params': jax.random.key(0), 'dropout': jax.random.key(1)}, image, train=True)

  def loss(params, model):
    (logits, _), state = model.apply(
      {**variables, 'params': params}, image, train=True,
      mutable=['batch_stats'], rngs={'dropout': jax.random.key(4)},
    )  # fmt: skip
    return jnp.square(logits).sum(), state

  results = [
    jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)(variables['params'], m)
    for m in (plain, plain.clone(remat=True))
  ]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), *results)
