"""Our networks and operators against recorded numbers of others' implementations.

The fixtures in tests/goldens (or in the folder that JSEG_GOLDENS names) hold sampled outputs of public
reference implementations; each .json names repository, commit, class and arguments in its `source`. Weights
and inputs are rebuilt from names by golden_rule.py. A file is checked by the row under its stem, below;
sizes, batch, classes and channels are read from the file.
"""

import functools
import json
import os
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import golden_rule
import golden_tasks
import golden_training
import jax
import numpy as np
import pytest
from flax import linen as nn

from jseg.convert import (
  caffe_segnet,
  torch_enet,
  torch_fcn,
  torch_linknet,
  torch_resnet,
  torch_tiramisu,
  torch_unet,
  torch_vgg,
)
from jseg.models import blocks, enet, fc_densenet, fcn, linknet, segnet, segnet_basic, unet
from jseg.models.encoders import resnet, vgg
from jseg.ops import conv, normalise, pool, resize

FOLDER = pathlib.Path(os.environ.get('JSEG_GOLDENS') or pathlib.Path(__file__).parent / 'goldens')
NO_ROW = 'no row yet: belongs to a later issue'

Arrays = Mapping[str, np.ndarray]
Place = str | tuple[str, ...] | None  # a key of `out`, the path of a module whose output it is, or neither


# --- networks ---------------------------------------------------------------------------------------------


def _plain(name: str, logits: jax.Array) -> jax.Array:
  return nn.softmax(logits) if name == 'prob' else logits


def _log_softmax(name: str, logits: jax.Array) -> jax.Array:
  return nn.log_softmax(logits) if name == 'out' else logits


class Network(NamedTuple):
  """How a reference network maps to ours."""

  build: Callable[[Arrays], nn.Module]  # from the reference's arrays
  convert: Callable[[Arrays], dict[str, Any]]
  tap: Callable[[str], Place] = lambda name: name
  outliers: int = 0
  out: Callable[[str, jax.Array], jax.Array] = _plain  # from the name of an output and our logits


def _onera_tap(name: str) -> Place:
  kind, i, j, decoder = re.fullmatch(r'(conv|bn)(\d)(\d)(d?)', name).groups()
  if decoder:
    return ({'conv': 'decode', 'bn': 'decode_norm'}[kind] + f'{i}_{j}',)
  return ('encoder', {'conv': 'conv', 'bn': 'norm'}[kind] + f'{i}_{j}')


def _caffe_segnet_tap(name: str) -> Place:
  i, j, decoder = re.fullmatch(r'conv(\d)_(\d)(_D)?', name).groups()
  return (f'decode{i}_{j}',) if decoder else ('encoder', f'conv{i}_{j}')


def _basic_tap(name: str) -> Place:
  kind, i = re.fullmatch(r'conv(_decode)?(\d)', name).groups()
  return (('decode' if kind else 'encode') + i,)


def _jvanvugt_tap(name: str) -> Place:
  kind, level, *rest = name.split('.')
  if kind == 'down_path':
    return f'down{level}'
  return f'up{3 - int(level)}' if not rest else (f'up{3 - int(level)}_conv',)


def _milesial_tap(name: str) -> Place:
  if name in ('inc', 'outc'):
    return {'inc': 'down0', 'outc': ('score',)}[name]
  return name if name.startswith('down') else f'up{4 - int(name[2:])}'


def _jvanvugt(arrays: Arrays) -> nn.Module:
  return unet.Model(
    num_classes=len(arrays['last.bias']),
    width=len(arrays['down_path.0.block.0.bias']),
    depth=sum(name.endswith('block.0.bias') and name.startswith('down_path') for name in arrays),
    border='none',
  )


def _fcn(arrays: Arrays, *, at_once: bool = False) -> nn.Module:
  stride = {0: 32, 1: 16, 2: 8}[sum(f'score_pool{i}.weight' in arrays for i in (3, 4))]
  classes = len(arrays['score_fr.bias'])
  return fcn.Model(num_classes=classes, stride=stride, at_once=at_once, deconv='learned')


def _fcn_tap(name: str) -> Place:
  return (name,) if name in ('fc6', 'fc7') else name  # recorded before their ReLU


def _vgg(arrays: Arrays) -> nn.Module:
  norm = 'bn' if 'features.1.running_mean' in arrays else 'none'
  return vgg.Classifier(num_classes=len(arrays['classifier.6.bias']), norm=norm)


def _vgg_tap(pools: tuple[int, ...]) -> Callable[[str], Place]:
  """torchvision numbers its layers; `pools` are the numbers of the five pools."""
  names = {f'features.{number}': f'pool{i}' for i, number in enumerate(pools, start=1)}
  return {**names, 'avgpool': 'avgpool'}.__getitem__


def _resnet(arrays: Arrays) -> nn.Module:
  return resnet.Classifier(num_classes=len(arrays['fc.bias']), depth=torch_resnet.depth(arrays))


def _resnet_tap(name: str) -> Place:
  if name in ('conv1', 'bn1'):
    return ('encoder', name.replace('bn', 'norm'))
  return {'maxpool': 'pool', 'avgpool': 'avgpool', 'fc': None}.get(name, name.replace('layer', 'stage'))


def _linknet_tap(name: str) -> Place:
  """Of either form; theirs counts decoders from 0 in Lua, and a decoder's output comes before the sum."""
  if match := re.fullmatch(r'(?:trunk\.layer|encoder)(\d)', name):
    return f'encode{match[1]}'
  if match := re.fullmatch(r'dec\.(\d)', name):
    return (f'decode{int(match[1]) + 1}',)
  if match := re.fullmatch(r'decoder(\d)', name):
    return (f'decode{match[1]}',)
  if match := re.fullmatch(r'd(\d)', name):
    return f'decode{match[1]}'
  return {
    'conv1': ('encoder', 'conv1'), 'bn1': ('encoder', 'norm1'), 'maxpool': None, 'tp_conv1': None,
    'conv2': None, 'tp_conv2': ('score',),
  }[name]  # fmt: skip


def _linknet_port(arrays: Arrays) -> nn.Module:
  classes = len(arrays['tp_conv2.bias'])
  return linknet.Model(num_classes=classes, sum_relu=False, decoder_bias=False, decoder_eps=1e-5)


def _fc_densenet(arrays: Arrays) -> nn.Module:
  down = sum(name.startswith('transDownBlocks') and name.endswith('conv.bias') for name in arrays)
  return fc_densenet.Model(
    num_classes=len(arrays['finalConv.bias']),
    growth=len(arrays['bottleneck.bottleneck.layers.0.conv.bias']),
    down=tuple(torch_tiramisu.layers(arrays, f'denseBlocksDown.{i}') for i in range(down)),
    bottom=torch_tiramisu.layers(arrays, 'bottleneck.bottleneck'),
    width=len(arrays['firstconv.bias']),
    norm='bn',
    bn_eps=1e-5,
  )


def _tiramisu_tap(name: str) -> Place:
  kind, _, i = name.partition('.')
  if kind in ('firstconv', 'finalConv', 'bottleneck'):
    return {'firstconv': ('first',), 'finalConv': ('score',), 'bottleneck': 'bottom'}[kind]
  # Theirs has five pools; transitions are recorded with what is joined to them.
  return {
    'denseBlocksDown': f'down{int(i) + 1}', 'denseBlocksUp': f'up{5 - int(i)}',
    'transDownBlocks': None, 'transUpBlocks': None,
  }[kind]  # fmt: skip


def _enet_tap(name: str) -> Place:
  if name in ('encoder_logits', 'init_act'):
    return {'encoder_logits': name, 'init_act': 'initial'}[name]
  stage, _, i = name[3:].partition('.')
  if i:
    return None  # a bottleneck's output is a pair; the stages' outputs are compared
  return f'stage{stage}'


NETWORKS = {
  'enet_lua': Network(
    lambda a: enet.Model(num_classes=len(a['full.bias']), encoder_head=True), torch_enet.lua, _enet_tap, 4
  ),
  'fcdensenet56': Network(_fc_densenet, torch_tiramisu.fc_densenet, _tiramisu_tap, out=_log_softmax),
  'fcdensenet67': Network(_fc_densenet, torch_tiramisu.fc_densenet, _tiramisu_tap, out=_log_softmax),
  'fcdensenet103': Network(_fc_densenet, torch_tiramisu.fc_densenet, _tiramisu_tap, out=_log_softmax),
  'linknet': Network(_linknet_port, torch_linknet.port, _linknet_tap, out=_log_softmax),
  'linknet_lua': Network(
    lambda a: linknet.Model(num_classes=len(a['head3.bias'])), torch_linknet.lua, _linknet_tap
  ),
  'resnet18': Network(_resnet, torch_resnet.classifier, _resnet_tap),
  'resnet50': Network(_resnet, torch_resnet.classifier, _resnet_tap),
  'resnet101': Network(_resnet, torch_resnet.classifier, _resnet_tap),
  'fcn32s_vgg16': Network(_fcn, torch_fcn.fcn, _fcn_tap),
  'fcn16s_vgg16': Network(_fcn, torch_fcn.fcn, _fcn_tap),
  'fcn8s_vgg16': Network(_fcn, torch_fcn.fcn, _fcn_tap),
  'fcn8s_atonce_vgg16': Network(functools.partial(_fcn, at_once=True), torch_fcn.fcn, _fcn_tap),
  'segnet': Network(
    lambda a: segnet.Model(num_classes=len(a['conv11d.bias'])),
    caffe_segnet.segnet_onera,
    _onera_tap,
    outliers=4,
  ),
  'segnet_caffe': Network(
    lambda a: segnet.Model(num_classes=len(a['conv1_1_D.bias'])),
    caffe_segnet.segnet,
    _caffe_segnet_tap,
    outliers=4,
  ),
  'segnet_basic': Network(
    lambda a: segnet_basic.Model(num_classes=len(a['conv_classifier.bias'])),
    caffe_segnet.segnet_basic,
    _basic_tap,
    outliers=4,
  ),
  'unet': Network(_jvanvugt, torch_unet.jvanvugt, _jvanvugt_tap),
  'unet_572': Network(_jvanvugt, torch_unet.jvanvugt, _jvanvugt_tap),
  'unet_bn_padded': Network(
    lambda a: unet.Model(num_classes=len(a['outc.conv.bias']), padding='same', norm='bn'),
    torch_unet.milesial,
    _milesial_tap,
  ),
  'vgg16': Network(_vgg, torch_vgg.classifier, _vgg_tap((4, 9, 16, 23, 30))),
  'vgg16_bn': Network(_vgg, torch_vgg.classifier, _vgg_tap((6, 13, 23, 33, 43))),
}


def _is_slow(path: pathlib.Path) -> bool:
  """Whether parameters times pixels say seconds rather than moments."""
  if path.suffix != '.json' or path.stem not in NETWORKS:
    return False
  golden = golden_rule.load(path)
  return golden['trainable_params'] * sum(np.prod(e['shape'][2:]) for e in golden['input'].values()) > 1.5e12


def files(pattern: str) -> list[Any]:
  """The fixtures as test parameters."""
  return [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if _is_slow(path) else [])
    for path in sorted(FOLDER.glob(pattern))
  ]


def test_the_folder_has_fixtures():
  assert files('*.json') and files('ops/*.npz'), f'{FOLDER} holds no fixtures'


@pytest.mark.parametrize('path', files('*.json'))
def test_network(path: pathlib.Path):
  if path.stem not in NETWORKS:
    pytest.skip(f'{path.stem}: {NO_ROW}')
  row, golden = NETWORKS[path.stem], golden_rule.load(path)
  arrays = golden_rule.state_dict(golden)
  model, variables = row.build(arrays), row.convert(arrays)
  (image,) = golden_rule.inputs(golden).values()
  assert sum(a.size for a in jax.tree.leaves(variables['params'])) == golden['trainable_params']
  (logits, out), state = jax.jit(
    lambda v, x: model.apply(v, x, train=False, capture_intermediates=True, mutable=['intermediates'])
  )(variables, image.transpose(0, 2, 3, 1))
  maps = {}
  scores = [logits.shape[i] for i in (0, logits.ndim - 1, *range(1, logits.ndim - 1))]
  for name, recorded in golden['output'].items():
    if recorded['shape'] == scores:  # the others are maps on the way, like the taps
      maps[name] = row.out(name, logits)
  for name in [*golden['output'], *golden.get('taps', {})]:
    if name in maps:
      continue
    place = row.tap(name)
    if isinstance(place, str):
      maps[name] = out[place]
    elif place is not None:
      node = state['intermediates']
      for key in place:
        node = node[key]
      maps[name] = node['__call__'][0]
  assert len(maps) > len(golden['output']), 'no tap was compared'
  results = [
    golden_rule.compare(golden, value, output=name, layout='NHWC', outliers=row.outliers)
    for name, value in maps.items()
  ]
  assert all(result['ok'] for result in results), [result for result in results if not result['ok']]


@pytest.mark.parametrize('path', files('train/*.json'))
@pytest.mark.slow
def test_training_step(path: pathlib.Path):
  if path.stem not in NETWORKS:
    pytest.skip(f'train/{path.stem}: {NO_ROW}')
  row = NETWORKS[path.stem]
  golden_training.check_step(golden_rule.load(path), row.build, row.convert, row.out, row.outliers)


@pytest.mark.parametrize('path', files('maskrcnn/*.npz'))
def test_detection_stage(path: pathlib.Path):
  pytest.skip(f'maskrcnn/{path.stem}: {NO_ROW}')


# --- operators --------------------------------------------------------------------------------------------


class Case(NamedTuple):
  """One case of an operators' file: its name, arguments and arrays, NC... layouts as torch has them."""

  name: str
  options: dict[str, Any]
  arrays: Arrays

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
  if kind.endswith('3d'):
    pytest.skip(f'{case.name}: {kind} is no operator of jseg yet')
  if (
    kind == 'conv_transpose2d' and 'groups' in options and (options['groups'] > 1 or options['dilation'] > 1)
  ):
    pytest.skip(f'{case.name}: grouped and dilated transposed convolutions are no operators of jseg yet')
  if 'kernel' in case.arrays:
    side = case['kernel'].shape[0]
    close(resize.bilinear_kernel(side), case['kernel'])
    y = resize.bilinear_upsample(x, stride=options['stride'], kernel_size=side)
    if options['crop_size'] is not None:
      (h, w), offset = options['crop_size'], options['crop_offset']
      y = y[:, offset : offset + h, offset : offset + w]
  elif kind == 'conv_transpose2d':
    named = {key: options[key] for key in ('stride', 'padding', 'output_padding')}
    y = conv.conv_transpose2d(x, case['w'].transpose(2, 3, 1, 0), **named)
  else:
    named = {key: options[key] for key in ('stride', 'padding', 'dilation', 'groups') if key in options}
    if isinstance(named['padding'], list):
      named['padding'] = tuple((p, p) for p in named['padding'])
    y = conv.conv2d(x, case['w'].transpose(2, 3, 1, 0), **named)
  close(y + case.arrays.get('b', np.zeros(1, np.float32)), case.map('y'))


def check_norm_act(case: Case) -> None:
  if case.name.startswith('bn_'):
    _check_batch_norm(case)
  elif case.name in ('leaky_relu', 'elu', 'log_softmax_c'):
    pytest.skip(f'{case.name}: jax.nn has it, jseg has none of its own')
  else:
    pytest.skip(f'{case.name}: no operator of jseg yet')


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
  'confusion_miou': golden_tasks.check_confusion,
  'conv_deconv': check_conv_deconv,
  'losses': golden_tasks.check_losses,
  'maxpool_unpool': check_maxpool_unpool,
  'norm_act': check_norm_act,
  'optim': golden_tasks.check_optim,
  'pool_misc': check_pool_misc,
  'resize': check_resize,
}


def cases() -> list[Any]:
  """All cases of all operators' files."""
  found = []
  for path in sorted(FOLDER.glob('ops/*.npz')):
    with np.load(path) as file:
      names = json.loads(str(file['meta']))['cases']
    found += [pytest.param(path, name, id=f'{path.stem}-{name}') for name in names]
  return found


@pytest.mark.parametrize(('path', 'name'), cases())
def test_operator(path: pathlib.Path, name: str):
  if path.stem not in OPERATORS:
    pytest.skip(f'ops/{path.stem}: {NO_ROW}')
  with np.load(path) as file:
    options = json.loads(str(file['meta']))['cases'][name]
    arrays = {key.removeprefix(f'{name}/'): file[key] for key in file.files if key.startswith(f'{name}/')}
  OPERATORS[path.stem](Case(name, options, arrays))
