"""Values and gradients of the convolutions against the plain XLA form and torch's recorded results."""

import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jseg.ops import conv

_DIMS = ('NHWC', 'HWIO', 'NHWC')
_GOLDENS = pathlib.Path(os.environ.get('JSEG_GOLDENS', pathlib.Path(__file__).parent / 'goldens'))

# x, kernel, stride, padding, dilation: odd sizes, every layout of the kernel gradient, one and many chunks.
CONVS = [
  pytest.param((2, 9, 7, 4), (3, 3, 4, 5), 1, 1, 1, id='3x3'),
  pytest.param((2, 9, 7, 4), (3, 3, 4, 5), 1, 0, 1, id='valid'),
  pytest.param((1, 7, 5, 3), (3, 3, 3, 40), 1, 1, 1, id='few_pixels'),
  pytest.param((1, 9, 8, 3), (3, 3, 3, 40), 1, ((2, 1), (0, 2)), 2, id='few_pixels_dilated'),
  pytest.param((1, 40, 61, 3), (7, 7, 3, 9), 1, 3, 1, id='few_in'),
  pytest.param((1, 40, 61, 9), (3, 3, 9, 2), 1, 1, 1, id='few_out'),
  pytest.param((1, 67, 33, 4), (7, 7, 4, 4), 1, 3, 1, id='7x7_chunks'),
  pytest.param((2, 21, 40, 4), (3, 3, 4, 4), 1, 2, 2, id='dilated'),
  pytest.param((1, 50, 33, 12), (3, 3, 12, 3), 1, 6, 6, id='dilated_few_out'),
  pytest.param((2, 30, 41, 3), (7, 7, 3, 6), 2, 3, 1, id='stride2_stem'),
  pytest.param((2, 11, 8, 3), (3, 3, 3, 6), 2, 1, 1, id='stride2'),
  pytest.param((2, 14, 9, 3), (3, 3, 3, 6), 2, 2, 2, id='stride2_dilated'),
  pytest.param((1, 23, 23, 3), (11, 11, 3, 5), 4, 0, 1, id='stride4_11x11'),
  pytest.param((2, 8, 9, 3), (1, 1, 3, 6), 2, 0, 1, id='1x1_stride2'),
  pytest.param((2, 8, 9, 3), (1, 1, 3, 6), 1, 1, 1, id='1x1_padded'),
  pytest.param((2, 8, 9, 3), (2, 2, 3, 4), 3, 0, 1, id='stride_over_kernel'),
  pytest.param((2, 8, 9, 3), (2, 2, 3, 4), 2, 0, 1, id='stride_of_kernel_odd'),
  pytest.param((2, 40, 50, 3), (5, 1, 3, 4), 1, ((2, 2), (0, 0)), 1, id='5x1'),
  pytest.param((2, 30, 50, 3), (1, 5, 3, 3), 1, ((0, 0), (2, 2)), 1, id='1x5'),
  pytest.param((2, 8, 9, 3), (3, 3, 3, 4), 1, ((0, 2), (1, 0)), 1, id='asymmetric'),
  pytest.param((2, 9, 10, 3), (3, 3, 3, 4), 2, ((0, 1), (2, 1)), 1, id='asymmetric_stride2'),
  pytest.param((2, 9, 10, 3), (2, 2, 3, 4), 1, ((-1, 1), (0, -2)), 1, id='cropping'),
  pytest.param((2, 9, 10, 3), (2, 2, 3, 4), 1, ((3, 0), (1, 4)), 1, id='padding_over_kernel'),
]

# x, kernel [kh kw cout cin], stride, padding, output padding.
TRANSPOSED = [
  ((2, 1, 2, 5), (7, 7, 4, 5), 1, 0, 0),  # maps smaller than the kernel
  ((1, 3, 2, 5), (3, 4, 3, 5), 1, 2, 1),
  pytest.param((2, 5, 7, 3), (4, 4, 5, 3), 2, 1, 0, id='k4s2p1'),
  pytest.param((2, 5, 7, 3), (3, 3, 5, 3), 2, 1, 1, id='k3s2p1op1'),
  pytest.param((2, 5, 7, 3), (3, 3, 5, 3), 2, 1, 0, id='k3s2p1'),
  pytest.param((2, 5, 7, 3), (2, 2, 5, 3), 2, 0, 0, id='k2s2'),
  pytest.param((2, 5, 7, 3), (2, 2, 5, 3), 2, 0, 1, id='k2s2op1'),
  pytest.param((2, 5, 7, 3), (3, 3, 5, 3), 3, 0, 0, id='k3s3'),
  pytest.param((1, 3, 4, 2), (16, 16, 2, 2), 8, 4, 0, id='k16s8p4'),
  pytest.param((1, 3, 4, 2), (5, 5, 2, 2), 3, 2, 1, id='k5s3p2op1'),
  pytest.param((1, 3, 4, 2), (2, 2, 3, 2), 3, 0, 0, id='k2s3'),
  pytest.param((1, 3, 4, 2), (1, 1, 3, 2), 2, 0, 1, id='k1s2op1'),
  pytest.param((1, 3, 4, 2), (3, 3, 3, 2), 1, 1, 0, id='k3s1p1'),
  pytest.param((1, 6, 5, 2), (3, 3, 3, 2), 1, 2, 0, id='k3s1p2'),
  pytest.param((1, 6, 5, 2), (2, 2, 3, 2), 2, 1, 1, id='k2s2p1op1'),
  pytest.param((1, 1, 1, 2), (7, 7, 3, 2), 1, 0, 0, id='k7s1'),
  pytest.param((1, 3, 4, 2), (2, 4, 3, 2), 2, 0, 0, id='k2x4s2'),
]


def plain(x, kernel, stride, padding, dilation, groups=1):
  pads = ((padding, padding),) * 2 if isinstance(padding, int) else padding
  x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (*pads[0], 0), (*pads[1], 0), (0, 0, 0)))
  return lax.conv_general_dilated(
    x, kernel, (stride, stride), 'VALID',
    rhs_dilation=(dilation, dilation), feature_group_count=groups, dimension_numbers=_DIMS,
  )  # fmt: skip


def plain_transpose(x, kernel, stride, padding, output_padding, dilation=1):
  kh, kw = kernel.shape[:2]
  spans = (dilation * (kh - 1), dilation * (kw - 1))
  pads = tuple((span - padding, span - padding + output_padding) for span in spans)
  flipped = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
  return lax.conv_general_dilated(
    x, flipped, (1, 1), pads, lhs_dilation=(stride, stride), rhs_dilation=(dilation, dilation),
    dimension_numbers=_DIMS,
  )  # fmt: skip


def arrays(*shapes, dtype=jnp.float32):
  rng = np.random.default_rng(0)
  return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def both(f, g, x, kernel):
  """(value, input gradient, kernel gradient) of f and of g for one random cotangent, jitted."""
  y = jax.eval_shape(g, x, kernel)
  (cotangent,) = arrays(y.shape, dtype=y.dtype)

  def run(f):
    def step(x, kernel, cotangent):
      value, pull = jax.vjp(f, x, kernel)
      return value, *pull(cotangent)

    return jax.jit(step)(x, kernel, cotangent)

  return zip(run(f), run(g), strict=True)


def assert_close(a, b, tolerance):
  assert a.shape == b.shape and a.dtype == b.dtype
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  assert np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1e-30)


@pytest.mark.parametrize('values', [conv._VALUES, 500], ids=['whole', 'chunks'])
@pytest.mark.parametrize('x, kernel, stride, padding, dilation', CONVS)
def test_conv_is_the_plain_one(x, kernel, stride, padding, dilation, values, monkeypatch):
  monkeypatch.setattr(conv, '_VALUES', values)  # images this small come in one piece otherwise
  x, kernel = arrays(x, kernel)
  f = lambda x, k: conv.conv2d(x, k, stride=stride, padding=padding, dilation=dilation)  # noqa: E731
  g = lambda x, k: plain(x, k, stride, padding, dilation)  # noqa: E731
  for ours, theirs in both(f, g, x, kernel):
    assert_close(ours, theirs, 3e-6)


@pytest.mark.parametrize('x, kernel, stride, padding, output_padding', TRANSPOSED)
def test_transposed_conv_is_the_plain_one(x, kernel, stride, padding, output_padding):
  x, kernel = arrays(x, kernel)
  f = lambda x, k: conv.conv_transpose2d(  # noqa: E731
    x, k, stride=stride, padding=padding, output_padding=output_padding
  )
  g = lambda x, k: plain_transpose(x, k, stride, padding, output_padding)  # noqa: E731
  for ours, theirs in both(f, g, x, kernel):
    assert_close(ours, theirs, 3e-6)


@pytest.mark.parametrize(
  ('stride', 'padding', 'output_padding', 'dilation', 'groups'),
  [(2, 1, 0, 1, 3), (2, 1, 1, 1, 2), (1, 2, 0, 2, 1), (2, 3, 1, 2, 1), (3, 5, 2, 3, 6), (1, 3, 0, 1, 2)],
)
def test_grouped_and_dilated_transposed_conv(stride, padding, output_padding, dilation, groups):
  x, kernel = arrays((2, 5, 7, 6), (3, 2, 4, 6))
  options = {'stride': stride, 'padding': padding, 'output_padding': output_padding, 'dilation': dilation}
  f = lambda x, k: conv.conv_transpose2d(x, k, **options, groups=groups)  # noqa: E731

  def apart(x, kernel):  # torch: the first of the groups of inputs makes the first of the groups of outputs
    pairs = zip(jnp.split(x, groups, 3), jnp.split(kernel, groups, 3), strict=True)
    return jnp.concatenate([padded(*pair) for pair in pairs], axis=3)

  def padded(x, kernel):  # no negative paddings: XLA's CPU convolution reads beyond the edges
    y = plain_transpose(x, kernel, stride, 0, 0, dilation)
    ends = (-padding, output_padding - padding, 0)
    return lax.pad(y, jnp.zeros((), y.dtype), ((0, 0, 0), ends, ends, (0, 0, 0)))

  for ours, theirs in both(f, apart, x, kernel):
    assert_close(ours, theirs, 3e-6)


def test_groups():
  x, kernel = arrays((2, 9, 8, 6), (3, 3, 2, 9))
  f = lambda x, k: conv.conv2d(x, k, padding=1, groups=3)  # noqa: E731
  for ours, theirs in both(f, lambda x, k: plain(x, k, 1, 1, 1, 3), x, kernel):
    assert_close(ours, theirs, 3e-6)


@pytest.mark.parametrize('x, kernel, stride, padding, dilation', CONVS[:6])
def test_float64_stays_float64(x, kernel, stride, padding, dilation):
  with jax.enable_x64(True):
    x, kernel = arrays(x, kernel, dtype=jnp.float64)
    f = lambda x, k: conv.conv2d(x, k, stride=stride, padding=padding, dilation=dilation)  # noqa: E731
    for ours, theirs in both(f, lambda x, k: plain(x, k, stride, padding, dilation), x, kernel):
      assert ours.dtype == jnp.float64
      assert_close(ours, theirs, 1e-13)


@pytest.mark.parametrize('stride, chunks', [(1, True), (2, True), (1, False)])
def test_bfloat16_accumulates_in_float32(stride, chunks, monkeypatch):
  monkeypatch.setattr(conv, '_VALUES', 500 if chunks else conv._VALUES)
  x, kernel = (
    arrays((2, 60, 61, 4), (3, 3, 4, 4), dtype=jnp.bfloat16)
    if chunks
    else arrays((1, 5, 6, 3), (3, 3, 3, 64), dtype=jnp.bfloat16)
  )
  f = lambda x, k: conv.conv2d(x, k, stride=stride, padding=1)  # noqa: E731
  exact = lambda x, k: plain(x.astype(jnp.float32), k.astype(jnp.float32), stride, 1, 1).astype(x.dtype)  # noqa: E731
  for ours, theirs in both(f, exact, x, kernel):
    assert ours.dtype == jnp.bfloat16
    assert_close(ours, theirs, 2**-7)  # one rounding of the result
  x, kernel = arrays((1, 4, 5, 3), (4, 4, 2, 3), dtype=jnp.bfloat16)
  assert conv.conv_transpose2d(x, kernel, stride=2, padding=1).dtype == jnp.bfloat16
  x, kernel = arrays((1, 1, 2, 64), (7, 7, 3, 64), dtype=jnp.bfloat16)
  exact = plain_transpose(x.astype(jnp.float32), kernel.astype(jnp.float32), 1, 0, 0).astype(x.dtype)
  assert_close(conv.conv_transpose2d(x, kernel, stride=1), exact, 2**-7)


@pytest.mark.slow
def test_second_derivative():
  x, kernel = arrays((1, 7, 6, 2), (3, 3, 2, 3))

  def penalty(f, x, kernel):  # the gradient penalty of a critic: grad of |grad|^2
    first = jax.grad(lambda x, k: (f(x, k) ** 3).sum(), argnums=(0, 1))
    return sum((g**2).sum() for g in first(x, kernel))

  for stride in (1, 2):
    f = lambda x, k, s=stride: conv.conv2d(x, k, stride=s, padding=1)  # noqa: E731
    g = lambda x, k, s=stride: plain(x, k, s, 1, 1)  # noqa: E731
    ours = jax.grad(lambda x, k, f=f: penalty(f, x, k), argnums=(0, 1))(x, kernel)
    theirs = jax.grad(lambda x, k, g=g: penalty(g, x, k), argnums=(0, 1))(x, kernel)
    for a, b in zip(ours, theirs, strict=True):
      assert_close(a, b, 1e-5)


def test_pmap_and_remat(monkeypatch):
  monkeypatch.setattr(conv, '_VALUES', 500)
  count = min(2, jax.device_count())
  x, kernel = arrays((count, 1, 40, 33, 4), (3, 3, 4, 4))

  def loss(f, kernel, x):
    return (f(x, kernel) ** 2).sum()

  ours = jax.checkpoint(lambda x, k: conv.conv2d(x, k, padding=1))
  step = jax.pmap(
    lambda k, x: lax.psum(jax.grad(lambda k: loss(ours, k, x))(k), 'batch'),
    axis_name='batch',
    in_axes=(None, 0),
  )
  whole = jax.grad(lambda k: loss(lambda x, k: plain(x, k, 1, 1, 1), k, x.reshape(-1, *x.shape[2:])))(kernel)
  assert_close(step(kernel, x)[0], whole, 3e-6)


def _golden_cases():
  path = _GOLDENS / 'ops' / 'conv_deconv.npz'
  if not path.exists():
    return [pytest.param('', marks=pytest.mark.skip(reason=f'no goldens at {path}; set JSEG_GOLDENS'))]
  cases = json.loads(str(np.load(path)['meta']))['cases']
  return [name for name, options in cases.items() if options['op'] in ('conv2d', 'conv_transpose2d')]


@pytest.mark.parametrize('name', _golden_cases())
def test_recorded_torch_results(name):
  data = np.load(_GOLDENS / 'ops' / 'conv_deconv.npz')
  options = json.loads(str(data['meta']))['cases'][name]
  x, w = data[f'{name}/x'].transpose(0, 2, 3, 1), data[f'{name}/w']
  bias = data[f'{name}/b'] if f'{name}/b' in data else 0
  if options['op'] == 'conv2d':
    pads = options['padding']
    pads = pads if isinstance(pads, int) else tuple((p, p) for p in pads)
    y = conv.conv2d(
      x, w.transpose(2, 3, 1, 0), stride=options.get('stride', 1), padding=pads,
      dilation=options.get('dilation', 1), groups=options.get('groups', 1),
    )  # fmt: skip
  else:
    y = conv.conv_transpose2d(
      x, w.transpose(2, 3, 1, 0), stride=options['stride'], padding=options['padding'],
      output_padding=options['output_padding'], dilation=options['dilation'], groups=options['groups'],
    )  # fmt: skip
  np.testing.assert_allclose(
    np.asarray(y) + bias, data[f'{name}/y'].transpose(0, 2, 3, 1), rtol=1e-5, atol=2e-5
  )
