"""The summary: exact counts, strides and receptive fields, known figures, one-line errors."""

import json
import re
import subprocess
import sys

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from test_house import REPO
from test_models import variables_of

from configs import fcn8s_camvid, segnet_camvid, unet_shapes
from jseg.engine import layers, receptive, reports, spans
from jseg.models import blocks, unet
from jseg.models.encoders import resnet
from jseg.ops import pool, resize


class Small(nn.Module):
  """A convolution, a grouped and dilated one, a transposed one, a dense layer, and a layer called twice."""

  @nn.compact
  def __call__(self, image, *, train):
    x = blocks.Conv(4, stride=2, padding=1, name='conv')(image)
    x = blocks.Norm('bn', name='norm')(x, train=train)
    x = blocks.Conv(6, (3, 1), padding=((2, 2), (0, 0)), dilation=2, groups=2, name='grouped')(x)
    out = {'grouped': x}
    x = blocks.ConvTranspose(5, (3, 3), 2, 1, 1, use_bias=False, name='up')(x)
    x = nn.Dense(3, name='dense')(x)
    twice = blocks.Conv(3, (1, 1), name='twice')
    return twice(twice(x)), out


class Chain(nn.Module):
  """Windows one after the other: (size, stride, whether a convolution; otherwise a maximum)."""

  windows: tuple[tuple[int, int, bool], ...]

  @nn.compact
  def __call__(self, image, *, train):
    x = image
    for size, stride, convolve in self.windows:
      if convolve:
        x = blocks.Conv(2, (size, size), stride, size // 2)(x)
      else:
        x = pool.max_pool(x, kernel=size, stride=stride, padding=0)
    return x, {}


def test_small_layers_by_hand():
  found = layers.summarise(Small(), (2, 10, 12, 3))
  rows = {layer['path']: layer for layer in found['layers']}
  assert list(rows) == ['conv', 'norm/bn', 'grouped', 'up', 'dense', 'twice']
  pixels = 2 * 5 * 6
  assert {path: row['flops'] for path, row in rows.items()} == {
    'conv': 2 * 9 * 3 * 4 * pixels,
    'norm/bn': 0,
    'grouped': 2 * 3 * 2 * 6 * pixels,
    'up': 2 * 9 * 6 * 5 * pixels,
    'dense': 2 * 5 * 3 * 4 * pixels,
    'twice': 2 * 2 * 3 * 3 * 4 * pixels,
  }
  assert [row['parameters'] for row in rows.values()] == [112, 8, 42, 270, 18, 12]
  assert [row['statistics'] for row in rows.values()] == [0, 8, 0, 0, 0, 0]
  assert [row['shape'] for row in rows.values()][2:4] == [(2, 5, 6, 6), (2, 10, 12, 5)]
  assert rows['grouped']['kind'] == 'Conv 3x1 d2 g2'
  assert rows['up']['kind'] == 'ConvTranspose 3x3 /2'
  assert found['parts']['twice'] == {'parameters': 12, 'statistics': 0, 'flops': rows['twice']['flops']}
  assert found['flops'] == sum(row['flops'] for row in rows.values())
  # 3 rows; taps 4 rows apart to both sides; two rows of stride 2 in a row of the upsampled map.
  assert [rows[path]['field'] for path in ('conv', 'grouped', 'up')] == [3, 11, 13]
  assert [rows[path]['stride'] for path in ('conv', 'grouped', 'up')] == [2, 2, 1]
  assert found['output_stride'] == 2 and found['coarse_field'] == 11 and found['field'] == 13


@pytest.mark.parametrize(
  'case', {case.name: case for case in cases.NETWORKS}.values(), ids=lambda case: case.id
)
def test_every_parameter_is_in_a_layer(case):
  size = case.sizes[-1] if case.sizes else (188,) * len(case.small)
  found = layers.summarise(case.model(), (1, *size, case.channels))
  assert found['parameters'] == case.parameters
  assert sum(part['parameters'] for part in found['parts'].values()) == case.parameters
  assert sum(part['flops'] for part in found['parts'].values()) == found['flops'] > 0
  assert 1 <= found['output_stride'] <= 64 and found['coarse_field']


def model_of(name, num_classes=21, **options):
  case = next(case for case in cases.NETWORKS if case.name == name)
  return case.model(**options).clone(num_classes=num_classes)


@pytest.mark.parametrize(
  'model,size,gflop,published',
  [
    pytest.param(model_of('segnet', 12), (360, 640), 284.83, 286.03, id='segnet'),
    pytest.param(model_of('enet', 12), (360, 640), 3.395, 3.83, id='enet'),
    # At a height that 32 divides: 360 is filled up to 384.
    pytest.param(model_of('linknet', 12), (384, 640), 20.28, 21.2 * 384 / 360, id='linknet'),
    # 2 x 72.0, multiply-adds counted from the layer table.
    pytest.param(
      model_of('fc_densenet', 11, growth=16, down=(5,) * 5, bottom=5), (360, 480), 144.0, None,
      id='fcdensenet67', marks=pytest.mark.slow,
    ),
  ],
)  # fmt: skip
def test_flops_are_the_known_ones(model, size, gflop, published):
  """The papers of ENet (table 1) and of LinkNet count a little more than convolutions."""
  found = layers.summarise(model, (1, *size, 3))['flops'] / 1e9
  assert found == pytest.approx(gflop, rel=1e-3)
  assert published is None or 0 < 1 - found / published < 0.12


def conv(size, stride=1):
  return size, stride, True


def max_pool(size, stride):
  return size, stride, False


def bottlenecks(counts, first_strides):
  """ResNet's residual branches; the stride of a stage is in its first 1x1, as in the paper, or in its 3x3."""
  chain = [conv(7, 2), max_pool(3, 2)]
  for stage, count in enumerate(counts):
    for block in range(count):
      stride = 2 if stage and not block else 1
      chain += [conv(1, stride if first_strides else 1), conv(3, 1 if first_strides else stride), conv(1)]
  return tuple(chain)


@pytest.mark.parametrize(
  'chain,field,stride',
  [
    pytest.param(
      (
        conv(11, 4), max_pool(3, 2), conv(5), max_pool(3, 2), conv(3), conv(3), conv(3), max_pool(3, 2),
        conv(6),
      ), 355, 32, id='alexnet fc6',
    ),
    pytest.param(
      sum(([conv(3)] * n + [max_pool(2, 2)] for n in (2, 2, 3, 3, 3)), []), 212, 32, id='vgg16 pool5'
    ),
    pytest.param(bottlenecks((3, 4, 6, 3), True), 483, 32, id='resnet50'),
    pytest.param(bottlenecks((3, 4, 23, 3), True), 1027, 32, id='resnet101'),
    pytest.param(bottlenecks((3, 4, 6, 3), False), 427, 32, id='resnet50, stride in the 3x3'),
  ],
)  # fmt: skip
def test_fields_are_the_known_ones(chain, field, stride):
  found = layers.summarise(Chain(tuple(chain)), (1, 512, 512, 3))
  assert (found['field'], found['maps']['logits']['stride']) == (field, stride)


def test_fields_of_our_networks():
  fcn = layers.summarise(model_of('fcn', stride=8), (1, 64, 64, 3))
  maps = {name: (entry['field'], entry['stride']) for name, entry in fcn['maps'].items()}
  assert maps['pool4'] == (100, 16) and maps['pool5'] == (212, 32) and maps['fc7'] == (404, 32)
  assert fcn['output_stride'] == 32 and fcn['coarse_field'] == 404 and fcn['score_stride'] == 8
  whole = layers.summarise(resnet.Classifier(depth=50), (1, 64, 64, 3))
  assert whole['maps']['stage4'] == {'shape': (1, 2, 2, 2048), 'stride': 32, 'field': 427}
  assert whole['maps']['avgpool']['field'] is None
  assert layers.summarise(model_of('unet'), (1, 64, 64, 3))['maps']['down4']['field'] == 140


@pytest.mark.parametrize('options', [dict(padding='same'), dict(border='none')], ids=str)
def test_fields_are_what_the_computation_shows(options):
  """A row of NaN in the image, anywhere, reaches exactly the rows of the logits whose span holds it."""
  model = unet.Model(num_classes=2, width=2, depth=3, dropout=0.0, **options)
  rows = 100
  images = np.zeros((rows, rows, 44, 1), np.float32)
  images[np.arange(rows), np.arange(rows)] = np.nan
  variables = variables_of(model, images[:1])
  compiled = jax.jit(
    model.apply, static_argnames='train', compiler_options={'xla_backend_optimization_level': 0}
  )
  logits, _ = compiled(variables, images, train=False)
  reached = np.isnan(np.asarray(logits)).any((2, 3))  # [row of the image, row of the logits]
  jaxpr = jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False)[0])(variables, images[:1])
  given = np.arange(rows, dtype=np.int32).reshape(1, -1, 1, 1)
  values = [*[None] * len(jax.tree.leaves(variables)), spans.Span(given, -given)]
  (span,) = receptive._run(jaxpr.jaxpr, jaxpr.consts, values)
  first, last = span.first.reshape(-1), -span.last.reshape(-1)
  np.testing.assert_array_equal(first, reached.argmax(0))
  np.testing.assert_array_equal(last, rows - 1 - reached[::-1].argmax(0))


class Mixed(nn.Module):
  """What else a network may do with a map; each is one of `maps`."""

  @nn.compact
  def __call__(self, image, *, train):
    tall = image.shape[1] // 4
    x = pool.avg_pool(image, kernel=4, stride=4)
    maps = {
      'bilinear': resize.bilinear(x, (4 * tall, x.shape[2])),
      'nearest': resize.nearest(x, (2 * tall, x.shape[2])),
      'flipped': x[:, ::-1],
      'taken': x[:, 3:-1:2],
      'halves': jnp.concatenate(jnp.split(x, 2, axis=1)[::-1], axis=1),
      'half': pool.adaptive_avg_pool(x, (2, 2)),
      'pyramid': resize.bilinear(pool.adaptive_avg_pool(x, (2, 2)), x.shape[1:3]),
      'one': pool.adaptive_avg_pool(x, (1, 1)),
      'sum': x + jnp.cumsum(x, axis=1),
      'padded': jnp.concatenate([x, jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]], axis=-1),
      'constant': jnp.ones((1, 4, 4, 1)) * nn.Dense(1)(jnp.ones(1)),
    }
    return x, maps


def test_fields_of_operations():
  maps = layers.summarise(Mixed(), (1, 64, 8, 3))['maps']
  fields = {name: entry['field'] for name, entry in maps.items()}
  assert fields == {
    'logits': 4, 'bilinear': 8, 'nearest': 4, 'flipped': 4, 'taken': 4, 'halves': 4,
    'half': None, 'pyramid': None, 'one': None, 'sum': None, 'padded': 8, 'constant': 0,
  }  # fmt: skip
  strides = {name: maps[name]['stride'] for name in ('logits', 'bilinear', 'nearest', 'taken')}
  assert strides == {'logits': 4, 'bilinear': 1, 'nearest': 2, 'taken': 8}


class Rematerialised(nn.Module):
  remat: bool = True

  @nn.compact
  def __call__(self, image, *, train):
    layer = blocks.Conv(2, padding=1)
    x = nn.remat(lambda module, x: module(x))(layer, image) if self.remat else layer(image)
    return x, {}


def test_memory_options_change_nothing():
  with_it, without = (layers.summarise(Rematerialised(remat), (1, 8, 8, 3)) for remat in (True, False))
  assert with_it == without and with_it['field'] == 3


def test_the_report_of_a_config_is_json_and_reads_well():
  report = reports.summarise(segnet_camvid.get_config(), size=(36, 48), batch_size=2)
  assert json.loads(json.dumps(report))['parameters'] == 29_449_355
  assert report['size'] == (36, 48) and report['classes'] == 11
  assert report['flops'] == 2 * reports.summarise(segnet_camvid.get_config(), size=(36, 48))['flops']
  lines = reports.text(report).splitlines()
  assert any(
    line.split() == ['all', '29,449,355', '15,872', f'{report["flops"] / 1e9:.2f}'] for line in lines
  )
  assert any(line.startswith('encoder/conv1_1  ') and ' 36x48x64 ' in line for line in lines)
  assert 'output stride 32, there the field is 212' in lines[-2]


def test_sizes_come_from_the_config():
  config = fcn8s_camvid.get_config()
  assert reports.summarise(config)['size'] == (360, 480)
  config.data.crop = (224, 192)
  assert reports.summarise(config)['size'] == (224, 192)
  with pytest.raises(ValueError, match='--batch_size is 0; it must be at least 1'):
    reports.summarise(unet_shapes.get_config(), batch_size=0)


def test_the_table_has_each_network_once():
  patterns = [str(REPO / 'configs' / f'{name}.py') for name in ('unet_[cs]*', 'unet_shapes', '__init__')]
  head, _, *rows = reports.markdown(patterns, size=(48, 64)).splitlines()
  assert 'GFLOP at 48x64' in head
  assert [row.split('|')[1].strip() for row in rows] == ['unet_camvid', 'unet_shapes']
  assert '31,038,283' in rows[0] and "`padding='same'`" in rows[0]
  with pytest.raises(ValueError, match='--table names nothing.py, but there is no such file'):
    reports.markdown(['nothing.py'])


@pytest.mark.parametrize(
  'flags,message',
  [
    ('', 'name one of --config'),
    ('--config=configs/unet_shapes.py --table=configs/unet_shapes.py', 'name one of --config'),
    ('--config=configs/unet_shapes.py --size=36', '--size is 36; it must be height,width in pixels'),
    ('--config=configs/unet_shapes.py --size=0,9', '--size is 0,9; it must be height,width in pixels'),
    ('--config=configs/unet_shapes.py --size=4,4', 'too small for a U-Net .* give at least 8x8'),
    ('--config=configs/unet_shapes.py --config.model.name=unett', r'did you mean unet\?'),
    ('--config=configs/unet_shapes.py --table', 'table'),
    ('configs/unet_shapes.py', "unexpected argument 'configs/unet_shapes.py'"),
  ],
)
def test_bad_flags_are_one_line(flags, message):
  done = subprocess.run(
    [sys.executable, '-m', 'jseg.summary', *flags.split()], cwd=REPO, text=True, capture_output=True
  )
  assert done.returncode == 2 and 'Traceback' not in done.stderr, done.stderr
  line = done.stderr.strip().splitlines()[-1]
  assert line.startswith('jseg.summary: error: '), line
  assert re.search(message, line), line
