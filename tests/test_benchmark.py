"""The benchmark door: what it reports, what it refuses, and the torch twins where torch is installed."""

import functools
import sys

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from test_models import variables_of

from configs import unet_shapes
from jseg import benchmark
from jseg.convert import torch_twins
from jseg.engine import resolve


def tiny() -> ConfigDict:
  config = unet_shapes.get_config('quick')
  config.model.width, config.model.depth = 4, 2
  return config


def test_reports_every_part_and_leaves_the_config_alone():
  config = tiny()
  before = config.to_json()
  report = benchmark.measure(
    config, what=('train', 'eval', 'data'), batch_size=jax.device_count(), size=(16, 24), repeats=2
  )
  assert config.to_json() == before
  assert report['size'] == (16, 24) and report['devices'] == jax.device_count()
  for part in ('train', 'eval', 'data'):
    figures = report[part]
    assert 0 < figures['min_ms'] <= figures['median_ms']
    assert figures['images_per_s'] > 0
  for part in ('train', 'eval'):
    assert report[part]['compile_s'] > 0 and report[part]['memory_mib'] > 0
  assert np.isfinite(report['train']['loss'])
  lines = benchmark.table(report).splitlines()
  assert [line.split()[0] for line in lines[2:]] == ['train', 'eval', 'data']
  assert 'torch' not in lines[1]


def test_figures_are_of_the_median_and_the_ratio_is_ours_to_theirs():
  figures = benchmark._figures({'': [30.0, 10.0, 20.0], 'torch_': [50.0, 40.0, 60.0]}, batch_size=4)
  assert figures['min_ms'] == 10 and figures['median_ms'] == 20
  assert figures['images_per_s'] == pytest.approx(200)
  assert figures['ratio'] == pytest.approx(0.4)


@pytest.mark.parametrize(
  'options, message',
  [
    (dict(what=('train', 'tarin')), '--what names tarin; there are: train, eval, data'),
    (dict(repeats=0), '--repeats is 0; it must be at least 1'),
    (dict(size=(16,)), '--size is 16; it must be height,width'),
    (dict(batch_size=jax.device_count() * 2 + 1), '--batch_size is .*, which does not divide among'),
  ],
)
def test_refuses_what_it_cannot_measure(options, message):
  if jax.device_count() == 1 and 'batch_size' in options:
    pytest.skip('every batch divides among one device')
  with pytest.raises(ValueError, match=message):
    benchmark.measure(tiny(), **options)


def test_without_torch_it_says_so_and_goes_on(monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, 'torch', None)
  report = benchmark.measure(
    tiny(), what=('eval',), batch_size=jax.device_count(), size=(16, 16), repeats=1, reference='torch'
  )
  assert 'torch is not installed' in capsys.readouterr().err
  assert 'ratio' not in report['eval']


def test_networks_without_a_twin_are_named():
  with pytest.raises(
    ValueError, match="'resnet' has no torch twin; there are: deconvnet, enet, fc_densenet, .*, unet"
  ):
    torch_twins.make('resnet', 3, 11, {})


@pytest.mark.parametrize(
  'model',
  [
    dict(name='unet', width=4, depth=3, padding='same', norm='bn', dropout=0.0),
    dict(name='unet', width=4, depth=3, dropout=0.0),
    dict(name='segnet_basic', width=8),
  ],
)
def test_twins_compute_the_same_loss(model):
  pytest.importorskip('torch')
  config = tiny()
  config.unlock()
  config.model = ConfigDict(model)
  report = benchmark.measure(
    config.lock(), what=('train',), batch_size=jax.device_count(), size=(33, 42), repeats=1, reference='torch'
  )
  assert report['train']['loss'] == pytest.approx(report['train']['torch_loss'], rel=1e-5)
  assert report['train']['ratio'] > 0


@pytest.mark.parametrize(
  'name,options',
  [
    ('segnet', dict(width=4)),
    ('fcn', dict(width=2, dropout=0.0, at_once=True)),
    ('fcn', dict(width=2, dropout=0.0, stride=16, deconv='learned')),
    ('fc_densenet', dict(growth=2, down=(2, 1), bottom=1, width=4, dropout=0.0)),
    ('enet', dict(width=8, dropout=(0.0, 0.0))),
    ('linknet', dict(width=8)),
    ('linknet', dict(width=8, sum_relu=False, decoder_bias=False, decoder_eps=1e-5)),
    ('fcn_alexnet', dict(width=2, dropout=0.0)),
    ('fcn_alexnet', dict(width=2, dropout=0.0, form='alexnet', deconv='learned')),
    ('fcn_googlenet', dict(width=8)),
    ('fcn_googlenet', dict(width=8, form='torchvision', deconv='learned')),
    ('fcn_resnet', dict(width=4, depth=18, dropout=0.0)),
    ('fcn_resnet', dict(width=4, depth=50, dropout=0.0, aux=False, remat=True)),
    ('fcn_basic', dict(width=8)),
    ('fcn_basic', dict(width=8, reduction=False)),
    ('fcn_basic', dict(width=8, upsample='bilinear', addition=False)),
    ('gfrnet', dict(width=4, dropout=0.0)),
    ('gfrnet', dict(width=4, dropout=0.0, gate='sum')),
    ('deconvnet', dict(width=2)),
  ],
  ids=str,
)
def test_twins_compute_the_same_logits(name, options):
  """In training mode, by the statistics of the batch, from random parameters."""
  torch = pytest.importorskip('torch')
  model = resolve.module('model', name).Model(num_classes=3, **options)
  image = np.random.default_rng(0).standard_normal((2, 45, 70, 3)).astype(np.float32)
  variables = variables_of(model, image)
  apply = jax.jit(functools.partial(model.apply, train=True, mutable=['batch_stats']))
  (ours, _), _ = apply(variables, image)
  twin = torch_twins.twin(
    torch_twins.make(name, 3, 3, options), lr=0.1, momentum=0.9, weight_decay=0.0, class_weights=(1.0,) * 3
  )
  twin.load(variables['params'])
  with torch.no_grad():
    theirs = twin._maps(image)['logits'].permute(0, 2, 3, 1).numpy()
  assert ours.std() > 0
  np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3 * float(ours.std()))


@pytest.mark.parametrize(
  'name,num_classes,options,parameters',
  [
    # Summed from the authors' layers: without PSPNet's auxiliary head, which adds 2,365,205 at 21 classes.
    ('pspnet', 11, dict(depth=50, aux=False), 46_711_243),
    ('pspnet', 21, dict(depth=50), 46_716_373 + 2_365_205),
    ('refinenet', 21, dict(depth=50), 99_060_309),
  ],
)
def test_twins_are_the_published_networks(name, num_classes, options, parameters):
  torch = pytest.importorskip('torch')
  with torch.device('meta'):
    module = torch_twins.make(name, 3, num_classes, options)
  assert sum(p.numel() for p in module.parameters()) == parameters


@pytest.mark.parametrize(
  'name,options,losses',
  [
    ('pspnet', dict(width=4, dropout=0.0), (('logits', 1.0), ('aux', 0.4))),
    ('refinenet', dict(depth=50, width=4, dropout=0.0), (('score', 1.0),)),
  ],
)
def test_twins_learn_from_the_maps_named(name, options, losses):
  torch = pytest.importorskip('torch')
  torch.manual_seed(0)
  rng = np.random.default_rng(0)
  image, labels = rng.standard_normal((2, 33, 42, 3)).astype(np.float32), np.zeros((2, 33, 42), np.uint8)
  labels[:, 20:], labels[:, :, :3] = 1, 255
  module = torch_twins.make(name, 3, 2, options)
  twin = torch_twins.twin(
    module, lr=0.01, momentum=0.9, weight_decay=0.0, class_weights=(1.0, 1.0), losses=losses
  )
  steps = [twin.train_step(image, labels) for _ in range(8)]
  assert min(steps[4:]) < 0.9 * steps[0]
  counts = twin.eval_step(image, labels)
  assert counts.shape == (2, 2) and counts.sum() == (labels != 255).sum()
