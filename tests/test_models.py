"""Every network of the table: parameters, sizes, gradients, number types; and single facts of single ones."""

import functools
import pathlib
from typing import Any, NamedTuple

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jseg.models
from jseg.models import (
  blocks,
  deconvnet,
  fc_densenet,
  fcn,
  fcn_alexnet,
  fcn_basic,
  fcn_googlenet,
  gfrnet,
  refinenet,
  segnet,
  segnet_basic,
  unet,
)
from jseg.models.encoders import alexnet, densenet, googlenet, resnet, vgg
from jseg.ops import pool

networks = pytest.mark.parametrize('case', cases.NETWORKS, ids=lambda case: case.id)


def image_of(case, size, batch=1):
  return np.random.default_rng(0).standard_normal((batch, *size, case.channels)).astype(np.float32)


def shapes_of(model, image_shape):
  image = jax.ShapeDtypeStruct(image_shape, jnp.float32)
  return jax.eval_shape(functools.partial(model.init_with_output, train=False), jax.random.key(0), image)


def variables_of(model, image):
  """Random variables none of which is zero; numpy's, whose generator needs no compilation."""
  rng = np.random.default_rng(1)

  def value(path, leaf):
    x, kind = rng.standard_normal(leaf.shape).astype(np.float32), path[-1].key
    if kind == 'kernel':
      return x * np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
    return 1 + 0.1 * np.abs(x) if kind in ('scale', 'var') else 0.1 * x

  _, shapes = shapes_of(model, image.shape)
  return jax.tree.map_with_path(value, shapes)


def compiled(function):
  """jit that does not optimise: these networks run in moments and compile in seconds."""
  return jax.jit(function, compiler_options={'xla_backend_optimization_level': 0})


# One case of each wiring: class counts and channels do not matter to the tests that compute, nor do options
# that the tiny form replaces. The last FCN has all layers of the others, which go to the slow set, as does
# what takes long to compile.
WIRINGS = {f'{c.name} {sorted((c.options | c.tiny).items())}': c for c in reversed(cases.NETWORKS)}.values()
SLOW = {
  'deconvnet',
  'decouplednet',
  'decouplednet-layers',
  'gfrnet',
  'gfrnet-sum',
  'segnet-dropout',
  'segnet-port',
  'segnet_basic-dropout',
  'segnet_basic-addition',
  'segnet_basic-single',
  'fcn_basic',
  'fcn_basic-noaddition',
  'fcn_basic-noreduction',
  'fcn_basic-noaddition-noreduction',
  'fcn_basic-bilinear',
  'enet',
  'enet-encoder',
  'pspnet50',
  'pspnet50-semseg',
  'fcdensenet103',
  'linknet',
  'fcdensenet56',
  'fcdensenet67',
  'linknet-port',
  'refinenet50',
  'refinenet50-crp2',
  'fcn32s',
  'fcn16s',
  'fcn8s',
  'fcn8s-11',
  'fcn32s-learned',
  'fcn16s-learned',
  'unet3d',
  'unet3d-port-bn',
  'unet3d-port-gn',
  'unet3d-valid',
  'fcn_alexnet',
  'fcn_alexnet-learned',
  'fcn_googlenet',
  'fcn_googlenet-tv',
  'fcn_resnet50',
  'fcn_resnet50-bare',
}


def marks(case):
  """Of a network in the tests that compute: slow ones are long, too, if another of their file always runs."""
  if case.id not in SLOW:
    return []
  same = [c.id for c in WIRINGS if c.name == case.name]
  always = min(same, key=lambda name: name in SLOW)  # the first one that is quick, or else the first
  return [pytest.mark.slow] if case.id == always else [pytest.mark.slow, pytest.mark.long]


class Tiny(NamedTuple):
  """The small form of a network, a batch for it, variables none of which is zero, and what comes out."""

  model: nn.Module
  image: np.ndarray
  variables: Any
  logits: np.ndarray


@pytest.fixture(
  scope='module',
  params=[pytest.param(c, id=c.id, marks=marks(c)) for c in WIRINGS],
)
def tiny(request):
  case = request.param
  model, image = case.model(**case.tiny).clone(num_classes=3), image_of(case, case.small, batch=2)
  variables = variables_of(model, image)
  logits, _ = compiled(functools.partial(model.apply, train=False))(variables, image)
  return Tiny(model, image, variables, np.asarray(logits))


# Mask R-CNN's files have tests of their own: tests/test_mask_rcnn.py.
_DETECTOR = {'mask_rcnn', 'rcnn_heads', 'fpn'}


def test_every_file_has_a_case():
  for folder, table in (('', cases.NETWORKS), ('encoders', cases.ENCODERS)):
    path = pathlib.Path(jseg.models.__file__).parent / folder
    files = {file.stem for file in path.glob('*.py')} - {'__init__', 'blocks'} - _DETECTOR
    assert files == {case.name for case in table}


@networks
def test_parameter_count_and_sizes(case):
  model = case.model()
  size = case.sizes[-1] if case.sizes else (188, 204, 188)[: len(case.small)]
  _, variables = shapes_of(model, (1, *size, case.channels))
  assert cases.count(variables['params']) == case.parameters, case.source
  assert {a.dtype for a in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
  for size in case.sizes:
    (logits, out), _ = shapes_of(model, (2, *size, case.channels))
    assert logits.shape == (2, *size, case.num_classes)
    assert logits.dtype == jnp.float32
    assert out
    assert all(a.shape[0] == 2 and a.ndim == logits.ndim for a in out.values())


@pytest.mark.parametrize(
  ('case', 'size'),
  [pytest.param(c, s, id=f'{c.id}-{"x".join(map(str, s))}') for c in cases.NETWORKS for s in c.refused],
)
def test_too_small_an_image_is_refused_with_a_legal_size(case, size):
  with pytest.raises(ValueError, match='give at least') as caught:
    shapes_of(case.model(), (1, *size, case.channels))
  side = int(str(caught.value).split('x')[-1])
  sides = [side] * len(size)
  shapes_of(case.model(), (1, *sides, case.channels))
  with pytest.raises(ValueError, match='give at least'):
    shapes_of(case.model(), (1, side - 1, *sides[1:], case.channels))


def test_gradient_reaches_every_parameter(tiny):
  model, image, variables, _ = tiny

  # With batch statistics a bias before normalisation has none, so the running ones it is.
  def loss(params):
    logits, out = model.apply({**variables, 'params': params}, image, train=False)
    scores = [logits, *(x for x in out.values() if x.shape[-1] == logits.shape[-1])]  # auxiliary ones, too
    return sum((x * jnp.cos(jnp.arange(x.size).reshape(x.shape))).sum() for x in scores)

  grads = compiled(jax.grad(loss))(variables['params'])
  for path, grad in jax.tree.leaves_with_path(grads):
    assert np.isfinite(grad).all() and np.any(grad != 0), jax.tree_util.keystr(path)


def test_bfloat16_keeps_parameters_and_logits_float32(tiny):
  model, image, variables, logits = tiny
  half = model.clone(dtype=jnp.bfloat16)
  (low, out), shapes = shapes_of(half, image.shape)
  assert low.dtype == jnp.float32
  assert {a.dtype for a in jax.tree.leaves(shapes)} == {jnp.dtype(jnp.float32)}
  assert jnp.dtype(jnp.bfloat16) in {a.dtype for a in out.values()}
  low, _ = compiled(functools.partial(half.apply, train=False))(variables, image)
  error = np.abs(np.asarray(low) - logits).mean() / logits.std()
  assert 1e-6 < error < 0.1, error


@pytest.mark.slow
def test_jit_changes_nothing(tiny):
  model, image, variables, logits = tiny
  plain, _ = model.apply(variables, image, train=False)
  np.testing.assert_allclose(plain, logits, rtol=1e-4, atol=1e-4 * logits.std())


def drops(model):
  """Whether any of the network's dropout rates is not zero."""
  return bool(np.any(vars(model)['dropout'])) if 'dropout' in vars(model) else False


def test_training_mode_moves_all_statistics_and_drops_by_key(tiny):
  model, image, variables, _ = tiny
  apply = compiled(functools.partial(model.apply, train=True, mutable=['batch_stats']))
  (once, _), state = apply(variables, image, rngs={'dropout': jax.random.key(0)})
  (again, _), _ = apply(variables, image, rngs={'dropout': jax.random.key(1)})
  assert np.isfinite(once).all()
  stats = variables['batch_stats'] if 'batch_stats' in variables else {}
  assert np.any(once != again) == drops(model)
  if stats:
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), stats, state['batch_stats'])
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize('case', cases.ENCODERS, ids=lambda case: case.id)
def test_encoder(case):
  (logits, _), variables = shapes_of(case.classifier, (2, 65, 83, 3))
  assert cases.count(variables['params']) == case.parameters, case.source
  assert logits.shape == (2, 1000)


@pytest.mark.parametrize(
  ('encoder', 'name', 'shape'),
  [
    (vgg.Encoder(width=2), 'stage5', (1, 4, 6, 16)),
    (alexnet.Encoder(width=2, first_padding=6), 'conv4', (1, 4, 6, 24)),
    (densenet.Encoder(growth=4), 'pool', (1, 16, 24, 8)),
    (googlenet.Encoder(width=8), 'inception4a', (1, 4, 6, 64)),
    (googlenet.Encoder('torchvision', width=8), 'pool4', (1, 2, 3, 104)),
    (resnet.Encoder(18, width=4), 'pool', (1, 16, 24, 4)),
    (resnet.Encoder(50, width=4), 'pool', (1, 16, 24, 4)),
    (resnet.Encoder(50, width=4, stem='deep', output_stride=8), 'pool', (1, 16, 24, 8)),
    (resnet.Encoder(18, width=4, output_stride=16), 'pool', (1, 16, 24, 4)),
  ],
)
def test_features_have_the_stated_strides_and_channels(encoder, name, shape):
  (features, out), _ = shapes_of(encoder, (1, 64, 96, 3))
  assert [f.shape for f in features] == [
    (1, 64 // stride, 96 // stride, channels)
    for stride, channels in zip(encoder.strides, encoder.channels, strict=True)
  ]
  assert out[name].shape == shape


@pytest.mark.slow
@pytest.mark.parametrize('output_stride', [16, 8])
def test_dilation_sees_what_strides_would(output_stride):
  """Where the strides were, every second pixel of the dilated map is a pixel of the strided one."""
  image = np.random.default_rng(0).standard_normal((1, 33, 49, 3)).astype(np.float32)
  strided = resnet.Encoder(50, width=2)
  variables = variables_of(strided, image)
  coarse, fine = (
    np.asarray(compiled(functools.partial(m.apply, train=False))(variables, image)[0][-1])
    for m in (strided, strided.clone(output_stride=output_stride, contract_dilation=True))
  )
  step = 32 // output_stride
  np.testing.assert_allclose(fine[:, ::step, ::step], coarse, rtol=1e-4, atol=1e-4 * coarse.std())


def test_contracted_dilation_is_the_one_before_in_a_stages_first_block():
  image = jnp.zeros((1, 33, 33, 3))
  found = {}

  def note(call, args, kwargs, context):
    if isinstance(context.module, blocks.Conv):
      found['/'.join(context.module.path)] = context.module.dilation
    return call(*args, **kwargs)

  encoder = resnet.Encoder(18, width=2, output_stride=8, contract_dilation=True)
  with nn.intercept_methods(note):
    shapes_of(encoder, image.shape)
  dilations = [found[f'stage{i}_{j}/conv1'] for i in (1, 2, 3, 4) for j in (1, 2)]
  assert dilations == [1, 1, 1, 1, 1, 2, 2, 4]


@pytest.mark.slow
def test_remat_changes_no_value_and_no_gradient():
  plain = resnet.Encoder(18, width=2)
  image = np.random.default_rng(0).standard_normal((2, 33, 33, 3)).astype(np.float32)
  variables = variables_of(plain, image)

  def loss(params, encoder):
    (features, _), state = encoder.apply(
      {**variables, 'params': params}, image, train=True, mutable=['batch_stats']
    )
    return jnp.square(features[-1]).sum(), state

  results = [
    compiled(jax.value_and_grad(functools.partial(loss, encoder=e), has_aux=True))(variables['params'])
    for e in (plain, plain.clone(remat=True))
  ]

  def close(a, b):  # sums in another order: to float32's rounding of the array's largest value
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * max(1.0, np.abs(b).max()))

  jax.tree.map(close, *results)


@pytest.mark.parametrize(
  ('encoder', 'size', 'message'),
  [
    (vgg.Encoder(width=2), (64, 31), 'at least 32'),
    (vgg.Encoder(depth=11), (64, 64), '16, 19'),
    (alexnet.Encoder(width=2), (38, 64), 'at least 39'),
    (alexnet.Encoder('torchvision', width=2), (64, 62), 'at least 63'),
    (alexnet.Encoder('zfnet'), (64, 64), 'caffenet, alexnet, torchvision'),
    (densenet.Encoder(growth=4), (64, 28), 'at least 29'),
    (densenet.Encoder(depth=100), (64, 64), '121, 161, 169, 201'),
    (googlenet.Encoder(width=8), (30, 64), 'at least 31'),
    (googlenet.Encoder('torchvision', width=8), (14, 64), 'at least 15'),
    (googlenet.Encoder('v2'), (64, 64), 'caffe, torchvision'),
    (resnet.Encoder(depth=20), (64, 64), '18, 34, 50, 101, 152, 269'),
    (resnet.Encoder(output_stride=4), (64, 64), '32, 16, 8'),
    (resnet.Encoder(stem='conv3'), (64, 64), 'conv7, deep, caffe'),
    (resnet.Encoder(strided='5x5'), (64, 64), '3x3, 1x1'),
    (resnet.Encoder(stem='caffe'), (4, 64), 'at least 5x5'),
  ],
)
def test_encoders_refuse_what_they_cannot_take(encoder, size, message):
  with pytest.raises(ValueError, match=message):
    shapes_of(encoder, (1, *size, 3))


def test_fc_densenet_blocks_have_the_channels_of_the_table():
  # Section 4.2 of the layer tables: what the blocks of FC-DenseNet103 hold, and what the last one sees.
  (_, out), variables = shapes_of(fc_densenet.Model(num_classes=11), (1, 45, 70, 3))
  assert [out[f'down{i}'].shape[-1] for i in range(1, 6)] == [112, 192, 304, 464, 656]
  assert variables['params']['bottom_15']['conv']['kernel'].shape[2] == 896 - 16
  assert [variables['params'][f'up{i}_1']['conv']['kernel'].shape[2] for i in (5, 4, 3, 2, 1)] == [
    1088 - 12 * 16, 816 - 10 * 16, 576 - 7 * 16, 384 - 5 * 16, 256 - 4 * 16
  ]  # fmt: skip
  assert out['up1'].shape == (1, 45, 70, 256)


def test_unet_sides():
  # Figure 1 of the paper: 572 -> 388; and by hand 188 -> 184 92 88 44 40 20 16 8 | 4 | 8 4, 8 4, 8 4, 8 4.
  assert unet.output_side(572, 5) == 388
  assert unet.output_side(188, 5) == 4
  assert unet.output_side(187, 5) == 0
  assert unet.output_side(5, 1) == 1
  assert unet.tile(388, 5) == (388, 92)
  assert unet.tile(389, 5) == (404, 92)
  for depth in range(1, 6):
    for side in (1, 7, 50, 121):
      covered, margin = unet.tile(side, depth)
      assert side <= covered < side + 2 ** (depth - 1) + 4
      assert unet.output_side(covered + 2 * margin, depth) == covered


def test_unet_mirrors_as_often_as_it_takes():
  row = np.array([10.0, 20.0, 30.0]).reshape(1, 1, 3, 1)
  wide = unet.mirror(row, 4, (6, 10))
  assert wide.shape == (1, 6, 10, 1)
  expected = [10, 20, 30, 20, 10, 20, 30, 20, 10, 20]
  for y in range(6):
    assert list(wide[0, y, :, 0]) == expected


def test_unet_border_is_mirroring_and_cutting():
  bare, whole = (unet.Model(num_classes=2, width=2, depth=3, border=b) for b in ('none', 'mirror'))
  image = np.random.default_rng(0).standard_normal((1, 9, 30, 2)).astype(np.float32)
  side, margin = unet.tile(9, 3)
  wide, _ = unet.tile(30, 3)
  padded = np.pad(image, ((0, 0), (margin, margin + side - 9), (0, 0), (0, 0)), mode='reflect')
  padded = np.pad(padded, ((0, 0), (0, 0), (margin, margin + wide - 30), (0, 0)), mode='reflect')
  variables = variables_of(whole, image)
  logits = logits_of(whole, variables['params'], image)
  assert logits.shape == (1, 9, 30, 2)
  np.testing.assert_allclose(logits, logits_of(bare, variables['params'], padded)[:, :9, :30], atol=1e-5)


def test_unet_join():
  skip = np.arange(1.0, 13.0).reshape(1, 3, 4, 1)
  up = -np.ones((1, 2, 1, 1))
  cropped = unet.join(skip, up, crop=True)  # one row too many: the last goes; three columns: one, two
  np.testing.assert_array_equal(cropped[..., 0], [[[2], [6]]])
  np.testing.assert_array_equal(cropped[..., 1], [[[-1], [-1]]])
  filled = unet.join(skip, up, crop=False)
  np.testing.assert_array_equal(filled[..., 0], skip[..., 0])
  np.testing.assert_array_equal(filled[0, ..., 1], [[0, -1, 0, 0], [0, -1, 0, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize(
  ('options', 'allowed'),
  [
    ({'padding': 'full'}, 'valid, same'),
    ({'border': 'zero'}, 'mirror, none'),
    ({'upsample': 'cubic', 'padding': 'same'}, 'deconv, bilinear'),
    ({'upsample': 'bilinear'}, "padding='same'"),
  ],
)
def test_unet_refuses_unknown_options(options, allowed):
  with pytest.raises(ValueError, match=allowed):
    shapes_of(unet.Model(num_classes=2, **options), (1, 64, 64, 3))


@pytest.mark.parametrize(
  ('options', 'allowed'),
  [
    ({'stride': 4}, '32, 16, 8'),
    ({'stride': 16, 'at_once': True}, 'stride=8'),
    ({'deconv': 'nearest'}, 'bilinear, learned'),
  ],
)
def test_fcn_refuses_unknown_options(options, allowed):
  with pytest.raises(ValueError, match=allowed):
    shapes_of(fcn.Model(num_classes=2, **options), (1, 64, 64, 3))


@pytest.mark.parametrize(
  ('encoder', 'side'),
  [
    (alexnet.Encoder(width=2), 39),
    (alexnet.Encoder('torchvision', width=2), 63),
    (densenet.Encoder(growth=4), 29),
    (googlenet.Encoder(width=8), 31),
    (googlenet.Encoder('torchvision', width=8), 15),
  ],
)
def test_encoders_take_the_smallest_side_they_name(encoder, side):
  (features, _), _ = shapes_of(encoder, (1, side, side, 3))
  assert features[-1].shape[1:3] == (1, 1)


def test_refinenet_refuses_an_unknown_order():
  with pytest.raises(ValueError, match='pool_conv, conv_pool'):
    shapes_of(refinenet.Model(num_classes=2, crp_order='conv'), (1, 64, 64, 3))


def test_refinenet_scores_are_a_quarter_of_the_image():
  (logits, out), _ = shapes_of(refinenet.Model(num_classes=2, depth=50, width=2), (1, 90, 119, 3))
  assert logits.shape == (1, 90, 119, 2)
  assert out['score'].shape == (1, 23, 30, 2) and out['score'].dtype == jnp.float32
  assert [out[f'refine{i}'].shape[1:] for i in (4, 3, 2, 1)] == [
    (3, 4, 16), (6, 8, 8), (12, 15, 8), (23, 30, 8)
  ]  # fmt: skip


def test_fcn_crops_follow_from_its_paddings():
  # By hand. conv1_1 pads by 100 (its output begins at image pixel -99), a cell of the map at stride s has its
  # centre at s * i + (s - 1) / 2 - 99; fc6 moves by 3 cells of stride 32; a transposed convolution of kernel
  # 2 s has its centre at s * i + (2 s - 1) / 2.
  def up(stride, u):
    return stride * u + (2 * stride - 1) / 2

  def centre(stride, i):
    return stride * i + (stride - 1) / 2 - 99

  score = centre(32, 3)  # image position of cell 0 of score_fr
  assert fcn._CROP[32] == up(32, 0) - score
  assert fcn._CROP[16] == up(16, up(2, 0)) - score
  assert fcn._CROP[8] == up(8, up(2, up(2, 0))) - score
  assert centre(16, fcn._CROP_POOL4) == up(16, 0) - fcn._CROP[16]
  assert centre(8, fcn._CROP_POOL3) == up(8, 0) - fcn._CROP[8]


def test_fcn_crops_of_the_other_encoders_follow_from_their_paddings():
  # By hand, where cell 0 has its centre in the image: the first convolution's; one cell further in the map
  # before each pool of 3x3, none of which pads; two and a half cells further by fc6 of 6x6. A filter of side
  # 63 has its centre at 31.
  alex = (11 - 1) / 2 - 100 + 4 + 8 + 16 + 2.5 * 32
  assert fcn_alexnet._CROP == 31 - alex
  google = (7 - 1) / 2 - 100 + 2 + 4 + 8 + 16
  assert fcn_googlenet._CROP == 31 - google


@pytest.mark.parametrize(
  ('model', 'allowed'),
  [
    (fcn_alexnet.Model(num_classes=2, form='torchvision'), 'caffenet, alexnet'),
    (fcn_alexnet.Model(num_classes=2, deconv='nearest'), 'bilinear, learned'),
    (fcn_googlenet.Model(num_classes=2, deconv='nearest'), 'bilinear, learned'),
  ],
)
def test_fcns_refuse_unknown_options(model, allowed):
  with pytest.raises(ValueError, match=allowed):
    shapes_of(model, (1, 64, 64, 3))


def logits_of(model, params, image):
  return compiled(functools.partial(model.apply, train=False))({'params': params}, image)[0]


@pytest.mark.parametrize('stride', [16, pytest.param(8, marks=pytest.mark.slow)])
def test_fcn_learned_upsampling_begins_as_the_frozen_one(stride):
  image = np.random.default_rng(0).standard_normal((1, 21, 40, 3)).astype(np.float32)
  frozen = fcn.Model(num_classes=3, stride=stride, width=1)
  learned = frozen.clone(deconv='learned')

  def initial_scores(key):
    params = learned.init(key, image, train=False)['params']
    return {name: value for name, value in params.items() if 'score' in name}

  initial = compiled(initial_scores)(jax.random.key(0))
  assert not any(np.any(a) for name in initial if name.startswith('score') for a in initial[name].values())
  params = dict(variables_of(frozen, image)['params'])
  logits = np.asarray(logits_of(frozen, params, image))
  assert logits.std() > 0
  params |= {name: value for name, value in initial.items() if name.startswith('upscore')}
  np.testing.assert_allclose(logits_of(learned, params, image), logits, atol=1e-5 * np.abs(logits).max())


def test_fcn_at_once_scales_the_skips():
  image = np.random.default_rng(0).standard_normal((1, 21, 40, 3)).astype(np.float32)
  plain = fcn.Model(num_classes=3, width=1)
  params = variables_of(plain, image)['params']
  scaled = {name: dict(params[name]) for name in ('score_pool4', 'score_pool3')}
  scaled['score_pool4']['kernel'] = scaled['score_pool4']['kernel'] * 100
  scaled['score_pool3']['kernel'] = scaled['score_pool3']['kernel'] * 10000
  logits = np.asarray(logits_of(plain, params, image))
  at_once = logits_of(plain.clone(at_once=True), {**params, **scaled}, image)
  np.testing.assert_allclose(at_once, logits, atol=1e-4 * np.abs(logits).max())


def test_segnet_decodes_to_the_sizes_before_the_pools():
  # Section 2.1 of the layer tables: 360x480 pools to 23x30 and 12x15, and comes back the same way.
  (_, out), _ = shapes_of(segnet.Model(num_classes=11, width=2), (1, 360, 480, 3))
  assert [out[f'pool{i}'].shape[1:3] for i in (3, 4, 5)] == [(45, 60), (23, 30), (12, 15)]
  assert [out[f'decode{i}'].shape[1:3] for i in (5, 4, 3, 2)] == [(23, 30), (45, 60), (90, 120), (180, 240)]


@pytest.mark.parametrize(
  ('model', 'allowed'),
  [
    (gfrnet.Model(num_classes=2, gate='max'), 'product, sum'),
    (segnet_basic.Model(num_classes=2, filters='two'), 'multi, single'),
    (fcn_basic.Model(num_classes=2, upsample='nearest'), 'learned, bilinear'),
  ],
)
def test_unknown_decoder_options_are_refused(model, allowed):
  with pytest.raises(ValueError, match=allowed):
    shapes_of(model, (1, 64, 64, 3))


def test_deconvnet_sizes():
  # The paper's 224x224 makes one vector of the last pool's 7x7; 193 is the smallest side that does.
  for size, vectors in (((224, 224), (1, 1)), ((193, 225), (1, 2)), ((20, 257), (1, 3))):
    (logits, out), _ = shapes_of(deconvnet.Model(num_classes=3, width=1), (1, *size, 3))
    assert logits.shape == (1, *size, 3)
    assert out['fc7'].shape[1:3] == vectors
    assert out['fc6_deconv'].shape == out['pool5'].shape
    assert [out[f'deconv{i}'].shape[1:3] for i in (5, 4, 3, 2)] == [
      out[f'pool{i}'].shape[1:3] for i in (4, 3, 2, 1)
    ]


def test_gfrnet_scores_every_stage_at_the_images_size():
  (_, out), _ = shapes_of(gfrnet.Model(num_classes=11, width=2, dtype=jnp.bfloat16), (2, 90, 121, 3))
  for i in range(1, 6):
    assert out[f'pred_{i}'].shape == (2, 90, 121, 11) and out[f'pred_{i}'].dtype == jnp.float32
  # Section 9.2 of the layer tables, at a quarter of its size.
  assert [out[f'gate_{i}'].shape[1:3] for i in (5, 4, 3, 2, 1)] == [
    (6, 8), (12, 16), (23, 31), (45, 61), (90, 121)
  ]  # fmt: skip


def test_fcn_basic_learned_upsampling_begins_as_the_fixed_one():
  image = np.random.default_rng(0).standard_normal((1, 21, 40, 3)).astype(np.float32)
  fixed = fcn_basic.Model(num_classes=3, width=2, upsample='bilinear')
  learned = fixed.clone(upsample='learned')
  initial = jax.eval_shape(lambda key: learned.init(key, image, train=False), jax.random.key(0))['params']
  kernel = fcn_basic._doubling(jax.random.key(0), initial['upsample1']['kernel'].shape)
  variables = variables_of(fixed, image)
  params = variables['params'] | {name: {'kernel': kernel} for name in initial if name.startswith('upsample')}
  logits, _ = compiled(functools.partial(fixed.apply, train=False))(variables, image)
  found, _ = compiled(functools.partial(learned.apply, train=False))({**variables, 'params': params}, image)
  np.testing.assert_allclose(found, logits, atol=1e-5 * np.abs(logits).max())


def test_fcn_basic_adds_the_pooled_maps():
  (_, out), variables = shapes_of(fcn_basic.Model(num_classes=11, reduction=False), (1, 360, 480, 3))
  assert [out[f'decode{i}'].shape for i in (4, 3, 2, 1)] == [
    (1, 45, 60, 64), (1, 90, 120, 64), (1, 180, 240, 64), (1, 360, 480, 64)
  ]  # fmt: skip
  assert variables['params']['upsample1']['kernel'].shape == (8, 8, 64, 64)
  image = np.random.default_rng(0).standard_normal((1, 16, 24, 3)).astype(np.float32)
  model = fcn_basic.Model(num_classes=3, width=2, reduction=False)
  variables = variables_of(model, image)
  variables['params']['upsample4']['kernel'] = np.zeros((8, 8, 2, 2), np.float32)
  (_, out), _ = model.apply(variables, image, train=False, mutable=[])
  np.testing.assert_array_equal(out['decode4'], pool.max_pool_2x2(out['encode3'])[0])


def test_segnet_basic_addition_and_single_channels():
  image = np.random.default_rng(0).standard_normal((1, 17, 24, 3)).astype(np.float32)
  model = segnet_basic.Model(num_classes=3, width=2, addition=True)
  variables = variables_of(model, image)
  for leaf in variables['params']['decode1_norm']['bn'].values():
    leaf[...] = 0
  (_, out), _ = model.apply(variables, image, train=False, mutable=[])
  np.testing.assert_array_equal(out['decode1'], out['encode1'])
  # A single-channel filter makes nothing of the other maps.
  single = model.clone(addition=False, filters='single')
  variables = variables_of(single, image)
  variables['params']['decode1']['kernel'][..., 1] = 0
  variables['params']['decode1']['bias'][1] = 0
  (_, out), _ = single.apply(variables, image, train=False, mutable=[])
  assert np.ptp(out['decode1'][..., 1]) == 0 and np.ptp(out['decode1'][..., 0]) > 0


@pytest.mark.slow
@pytest.mark.parametrize('module', [segnet, segnet_basic], ids=['segnet', 'segnet_basic'])
def test_dropout_lies_in_the_middle(module):
  # Bayesian SegNet's places; with the running statistics, so that what is not dropped stays as it is.
  image = np.random.default_rng(0).standard_normal((1, 64, 96, 3)).astype(np.float32)
  model = module.Model(num_classes=3, width=4, dropout=0.5, norm='frozen')
  variables = variables_of(model, image)
  apply = compiled(functools.partial(model.apply, train=True))
  (_, one), (_, two) = (apply(variables, image, rngs={'dropout': jax.random.key(i)}) for i in (0, 1))
  kept = {name for name in one if np.array_equal(one[name], two[name])}
  plain = {name: np.mean(value == 0) for name, value in one.items()}
  if module is segnet:
    assert kept == {'pool1', 'pool2'}
    assert all(plain[name] > 0.45 for name in ('pool3', 'pool4', 'pool5')), plain
    assert all(plain[name] > 0.62 for name in ('decode5', 'decode4', 'decode3')), plain
    assert all(plain[name] < 0.6 for name in ('decode2', 'decode1')), plain
  else:
    assert kept == {'encode1', 'encode2', 'encode3'}
    assert all(0.4 < plain[name] < 0.6 for name in ('decode4', 'decode3')), plain
    assert all(plain[name] == 0 for name in ('decode2', 'decode1')), plain
