"""Normalisation: statistics, running variance, gradients, devices; dropout masks over devices."""

import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jseg.models import blocks
from jseg.ops import batch_norm

_GOLDENS = pathlib.Path(os.environ.get('JSEG_GOLDENS', pathlib.Path(__file__).parent / 'goldens'))


def normal(*shape, dtype=jnp.float32, seed=0):
  return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def variables(scale, bias, mean, var):
  return {
    'params': {'bn': {'scale': scale, 'bias': bias}},
    'batch_stats': {'bn': {'mean': mean, 'var': var}},
  }


@pytest.mark.parametrize('case', ['bn_a', 'bn_b'])
def test_norm_is_torch_batch_norm(case):
  path = _GOLDENS / 'ops' / 'norm_act.npz'
  if not path.exists():
    pytest.skip(f'no {path}; set JSEG_GOLDENS')
  data = np.load(path)
  options = json.loads(str(data['meta']))['cases'][case]
  get = lambda name: data[f'{case}/{name}']  # noqa: E731
  norm = blocks.Norm(momentum=1 - options['momentum_torch'], eps=options['eps'])
  given = variables(*(jnp.asarray(get(name)) for name in ('scale', 'bias', 'mean', 'var')))
  x = get('x').transpose(0, 2, 3, 1)
  y = norm.apply(given, x, train=False)
  np.testing.assert_allclose(y, get('y_eval').transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-5)
  y, after = norm.apply(given, x, train=True, mutable=['batch_stats'])
  np.testing.assert_allclose(y, get('y_train').transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(after['batch_stats']['bn']['mean'], get('mean_after'), rtol=1e-6)
  np.testing.assert_allclose(after['batch_stats']['bn']['var'], get('var_after'), rtol=1e-6)


def test_names_are_those_of_flax():
  x = normal(2, 3, 4, 5)
  ours = blocks.Norm().init(jax.random.key(0), x, train=False)
  theirs = nn.BatchNorm(use_running_average=True).init(jax.random.key(0), x)
  assert jax.tree.map(jnp.shape, {k: v['bn'] for k, v in ours.items()}) == jax.tree.map(jnp.shape, theirs)


@pytest.mark.parametrize('mean', [0.0, 300.0])
def test_gradients_are_those_of_autodiff(mean):
  x, scale, bias, weight = normal(3, 7, 6, 4) + mean, normal(4), normal(4, seed=1), normal(3, 7, 6, 4, seed=2)

  def ours(x, scale, bias):
    y, *_ = batch_norm.normalise(x, scale, bias, eps=1e-3, axis_name=None)
    return (y**2 * weight).sum()

  def written_out(x, scale, bias):
    centred = x - x.mean((0, 1, 2), keepdims=True)
    var = (centred**2).mean((0, 1, 2), keepdims=True)
    y = centred * jax.lax.rsqrt(var + 1e-3) * scale[None, None, None] + bias[None, None, None]
    return (y**2 * weight).sum()

  for a, b in zip(
    jax.grad(ours, (0, 1, 2))(x, scale, bias), jax.grad(written_out, (0, 1, 2))(x, scale, bias), strict=True
  ):
    assert np.abs(a - b).max() <= 2e-5 * np.abs(b).max()


def test_second_derivative():
  x, scale, bias = normal(2, 3, 3, 2), normal(2), normal(2, seed=1)

  def penalty(f):
    return jax.grad(lambda x: (jax.grad(lambda x: (f(x) ** 3).sum())(x) ** 2).sum())(x)

  def plain(x):
    centred = x - x.mean((0, 1, 2), keepdims=True)
    var = (centred**2).mean((0, 1, 2), keepdims=True)
    return centred * jax.lax.rsqrt(var + 1e-3) * scale[None, None, None] + bias[None, None, None]

  a = penalty(lambda x: batch_norm.normalise(x, scale, bias, eps=1e-3, axis_name=None)[0])
  b = penalty(plain)
  assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max()


def test_many_devices_are_one():
  devices = jax.device_count()
  if devices < 2:
    pytest.skip('one device; tests/conftest.py makes more')
  x, weight = normal(devices * 2, 3, 5, 4) * 3 + 7, normal(devices * 2, 3, 5, 4, seed=1)
  one, many = blocks.Norm(), blocks.Norm(axis_name='batch')
  given = one.init(jax.random.key(0), x, train=False)
  given['params']['bn'] = {'scale': normal(4), 'bias': normal(4, seed=2)}

  def step(norm, params, x, weight):
    def loss(params, x):
      y, state = norm.apply({**given, 'params': params}, x, train=True, mutable=['batch_stats'])
      return (y * y * weight).sum(), (y, state)

    (_, (y, state)), (grads, dx) = jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)
    return y, state, grads, dx

  def device_step(params, x, weight):
    y, state, grads, dx = step(many, params, x, weight)
    return y, state, jax.lax.psum(grads, 'batch'), dx

  split = lambda a: a.reshape(devices, -1, *a.shape[1:])  # noqa: E731
  y, state, grads, dx = step(one, given['params'], x, weight)
  ys, states, all_grads, dxs = jax.pmap(device_step, axis_name='batch', in_axes=(None, 0, 0))(
    given['params'], split(x), split(weight)
  )
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)  # noqa: E731
  close(ys.reshape(y.shape), y)
  close(dxs.reshape(dx.shape), dx)
  for number in (0, devices - 1):
    jax.tree.map(lambda a, b, i=number: close(a[i], b), (states, all_grads), (state, grads))


def test_one_value_a_channel_keeps_the_biased_variance():
  norm = blocks.Norm(momentum=0.0)
  x = normal(1, 1, 1, 3)
  y, after = norm.apply(norm.init(jax.random.key(0), x, train=False), x, train=True, mutable=['batch_stats'])
  np.testing.assert_array_equal(y, np.zeros_like(y))
  np.testing.assert_array_equal(after['batch_stats']['bn']['var'], np.zeros(3))


def test_frozen_trains_with_running_statistics_and_leaves_them():
  norm = blocks.Norm('frozen')
  x = normal(2, 3, 4, 5)
  given = variables(normal(5), normal(5, seed=1), normal(5, seed=2), normal(5, seed=3) ** 2)
  y, after = norm.apply(given, x, train=True, mutable=['batch_stats'])
  np.testing.assert_array_equal(y, norm.apply(given, x, train=False))
  jax.tree.map(np.testing.assert_array_equal, after['batch_stats'], given['batch_stats'])


def test_batch_kind_tests_each_image_by_itself():
  norm = blocks.Norm('batch')
  x = normal(3, 4, 5, 2)
  given = norm.init(jax.random.key(0), x, train=False)
  together = norm.apply(given, x, train=False)
  alone = [norm.apply(given, x[i : i + 1], train=True, mutable=['batch_stats'])[0] for i in range(3)]
  np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(('channels', 'groups'), [(6, 3), (6, 6), (2, 1)])
def test_group_norm_of_volumes(channels, groups):
  norm = blocks.Norm('gn', groups=3 if channels == 6 and groups == 3 else 6)
  x = normal(2, 3, 4, 5, channels) * 2 + 5
  scale, bias = normal(channels, seed=1), normal(channels, seed=2)
  y = norm.apply({'params': {'gn': {'scale': scale, 'bias': bias}}}, x, train=True)
  parts = np.asarray(x, np.float64).reshape(2, 60, groups, -1)
  parts = parts - parts.mean((1, 3), keepdims=True)
  parts = parts / np.sqrt((parts**2).mean((1, 3), keepdims=True) + 1e-5)
  np.testing.assert_allclose(y, parts.reshape(x.shape) * scale + bias, rtol=1e-4, atol=1e-4)


def test_group_norm_refuses_channels_that_do_not_divide():
  with pytest.raises(ValueError, match='give a multiple of 4'):
    blocks.Norm('gn', groups=4).init(jax.random.key(0), normal(1, 2, 2, 6), train=True)


def test_bfloat16_keeps_float32_statistics():
  norm = blocks.Norm(dtype=jnp.bfloat16, momentum=0.0)
  x = (normal(4, 32, 32, 3) + 40).astype(jnp.bfloat16)
  y, after = norm.apply(norm.init(jax.random.key(0), x, train=False), x, train=True, mutable=['batch_stats'])
  assert y.dtype == jnp.bfloat16
  exact = np.asarray(x, np.float64)
  np.testing.assert_allclose(after['batch_stats']['bn']['mean'], exact.mean((0, 1, 2)), rtol=1e-6)
  np.testing.assert_allclose(after['batch_stats']['bn']['var'], exact.var((0, 1, 2), ddof=1), rtol=1e-5)


def test_none_is_the_identity_and_unknown_kinds_say_what_there_is():
  x = normal(1, 2, 2, 3)
  assert blocks.Norm('none').init(jax.random.key(0), x, train=True) == {}
  with pytest.raises(
    ValueError, match="'instance' is unknown; there are: bn, frozen, fixed, batch, gn, none"
  ):
    blocks.Norm('instance').init(jax.random.key(0), x, train=True)


def test_dropout_mask_does_not_depend_on_the_device_count():
  devices = jax.device_count()
  x = jnp.ones((2 * devices, 4, 4, 3))
  one = blocks.Dropout(0.5).apply({}, x, train=True, rngs={'dropout': jax.random.key(3)})
  many = jax.pmap(
    lambda x, key: blocks.Dropout(0.5, 'batch').apply({}, x, train=True, rngs={'dropout': key}),
    axis_name='batch',
    in_axes=(0, None),
  )(x.reshape(devices, 2, *x.shape[1:]), jax.random.key(3))
  np.testing.assert_array_equal(many.reshape(x.shape), one)
