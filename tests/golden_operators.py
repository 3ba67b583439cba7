"""Recorded operators of torch, Caffe and Lasagne against ours."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import golden_detection
import golden_tasks
import jax
import numpy as np
from flax import linen as nn

from jseg.models import blocks
from jseg.ops import conv, conv3d, normalise, pool, resize

Arrays = Mapping[str, np.ndarray]


class Case(NamedTuple):
  """One case of an operators' file: its name, arguments and arrays, NC... layouts as torch has them."""

  name: str
  options: dict[str, Any]
  arrays: Arrays
  path: pathlib.Path

  def __getitem__(self, key: str) -> np.ndarray:
    """An array as it is stored."""
    return self.arrays[key]

  def map(self, key: str) -> np.ndarray:
    """An array with channels last."""
    return np.moveaxis(self.arrays[key], 1, -1)


def close(got: Any, want: np.ndarray, *, tolerance: float = 1e-5) -> None:
  """Equal shapes, and values within the tolerance relative to the largest."""
  np.testing.assert_allclose(
    np.asarray(got), want, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(want).max()))
  )


def check_maxpool_unpool(case: Case) -> None:
  x, size, options = case.map('x'), case['x'].shape[2:], case.options
  y, index = pool.max_pool_argmax(x, **options)
  np.testing.assert_array_equal(y, case.map('y'))
  np.testing.assert_array_equal(index, case.map('idx'))
  np.testing.assert_array_equal(pool.max_pool(x, **options), case.map('y'))
  np.testing.assert_array_equal(pool.unpool(y, index, size), case.map('up'))
  if 'up_rand' in case.arrays:
    up = pool.unpool(case.map('up_rand_in'), index, size)
    np.testing.assert_array_equal(up, case.map('up_rand'))
  if (options['kernel'], options['stride'], options['padding']) == (2, 2, 0):
    y, place = pool.max_pool_2x2(x, ceil_mode=options['ceil_mode'])
    np.testing.assert_array_equal(y, case.map('y'))
    np.testing.assert_array_equal(pool.flat_index(place, size), case.map('idx'))
    np.testing.assert_array_equal(pool.unpool_2x2(y, place, size), case.map('up'))


def check_pool_misc(case: Case) -> None:
  x, options = case.map('x'), dict(case.options)
  if case.name.startswith('adaptive'):
    y = pool.adaptive_avg_pool(x, (options['bins'],) * 2)
  else:
    op = {'avg': pool.avg_pool, 'max': pool.max_pool, 'lrn': normalise.lrn}[case.name.split('_')[0]]
    y = op(x, **options)
  close(y, case.map('y'))


def check_resize(case: Case) -> None:
  options = {k: v for k, v in case.options.items() if k == 'align_corners'}
  if 'scale_factor' in case.options:
    options['scale'] = case.options['scale_factor']
  op = {'nearest': resize.nearest, 'bicubic': resize.bicubic}.get(case.options['mode'], resize.bilinear)
  close(op(case.map('x'), case['y'].shape[2:], **options), case.map('y'))


def check_conv_deconv(case: Case) -> None:
  options, x = case.options, case.map('x')
  kind = options['op'].split()[0]
  if 'kernel' in case.arrays:
    side = case['kernel'].shape[0]
    close(resize.bilinear_kernel(side), case['kernel'])
    y = resize.bilinear_upsample(x, stride=options['stride'], kernel_size=side)
    if options['crop_size'] is not None:
      (h, w), offset = options['crop_size'], options['crop_offset']
      y = y[:, offset : offset + h, offset : offset + w]
  else:
    op = {
      'conv2d': conv.conv2d, 'conv_transpose2d': conv.conv_transpose2d,
      'conv3d': conv3d.conv3d, 'conv_transpose3d': conv3d.conv_transpose3d,
    }[kind]  # fmt: skip
    named = {key: value for key, value in options.items() if key != 'op'}
    if isinstance(options.get('padding'), list):
      named['padding'] = tuple((p, p) for p in options['padding'])
    w = case['w']  # OI... of a convolution, IO... of a transposed one: ours have both at the end, swapped
    y = op(x, w.transpose(*range(2, w.ndim), 1, 0), **named)
  close(y + case.arrays.get('b', np.zeros(1, np.float32)), case.map('y'))


def check_norm_act(case: Case) -> None:
  if case.name.startswith('bn_'):
    _check_batch_norm(case)
    return
  x = case.map('x')
  channels = x.shape[-1]
  if case.name.startswith('prelu'):  # torch's single slope is ours for every channel
    slope = np.broadcast_to(case['a'], channels)
    y = blocks.PReLU().apply({'params': {'slope': slope}}, x)
  elif case.name == 'group_norm':
    layer = blocks.Norm('gn', eps=case.options['eps'], groups=case.options['groups'])
    y = layer.apply({'params': {'gn': {'scale': case['scale'], 'bias': case['bias']}}}, x, train=False)
  elif case.name == 'instance_norm':  # each image by itself: Norm's kind 'batch' at test, new as it is
    layer = blocks.Norm('batch', eps=case.options['eps'])
    y = layer.apply(layer.init(jax.random.key(0), x, train=False), x, train=False)
  else:
    y = {
      'leaky_relu': lambda: nn.leaky_relu(x, case.options['slope']),
      'elu': lambda: nn.elu(x),
      'log_softmax_c': lambda: nn.log_softmax(x),
    }[case.name]()
  close(y, case.map('y'))


def _check_batch_norm(case: Case) -> None:
  layer = blocks.Norm(momentum=1 - case.options['momentum_torch'], eps=case.options['eps'])
  variables = {
    'params': {'bn': {'scale': case['scale'], 'bias': case['bias']}},
    'batch_stats': {'bn': {'mean': case['mean'], 'var': case['var']}},
  }
  x = case.map('x')
  close(layer.apply(variables, x, train=False), case.map('y_eval'))
  y, state = layer.apply(variables, x, train=True, mutable=['batch_stats'])
  close(y, case.map('y_train'))
  close(state['batch_stats']['bn']['mean'], case['mean_after'])
  close(state['batch_stats']['bn']['var'], case['var_after'])


# Stem of an ops/*.npz file -> what checks one of its cases.
OPERATORS: dict[str, Callable[[Case], None]] = {
  'boxes': golden_detection.check_boxes,
  'confusion_miou': golden_tasks.check_confusion,
  'conv_deconv': check_conv_deconv,
  'gan_losses': golden_tasks.check_gan_losses,
  'losses': golden_tasks.check_losses,
  'maxpool_unpool': check_maxpool_unpool,
  'norm_act': check_norm_act,
  'optim': golden_tasks.check_optim,
  'pool_misc': check_pool_misc,
  'resize': check_resize,
  'roi_align': golden_detection.check_roi_align,
}
