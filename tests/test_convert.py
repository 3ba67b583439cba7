"""Others' weights become ours: whose they are, jseg.convert's folder, and a run that starts from either."""

import contextlib
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import types

import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import runs
import weight_files as wf
from golden_networks import NETWORKS
from test_convert_files import npz

import jseg
from jseg.convert import converted, files, sources
from jseg.engine import resolve, train, weights
from jseg.models import unet
from jseg.models.encoders import resnet
from jseg.ops import preprocess

GOLDENS = pathlib.Path(__file__).parent / 'goldens'


def shrunk(stem, divide, *, classes=None, channels=3):
  """A golden's arrays with fewer features: divide(features) of them; other classes and image channels."""
  golden = golden_rule.load(GOLDENS / f'{stem}.json')
  last = golden['tensors'][-1][1][0]  # the last bias counts the classes

  def sides(shape):
    out = [classes if classes and n == last else channels if n == 3 else divide(n) for n in shape[:2]]
    return [*out, *shape[2:]]

  return {row[0]: golden_rule.tensor(row[0], sides(row[1]), *row[2:]) for row in golden['tensors']}


def milesial(classes=7, channels=3):
  """A narrow U-Net of milesial's, width 2."""
  arrays = shrunk('unet_bn_padded', lambda n: n // 32, channels=channels)
  for leaf in ('weight', 'bias'):
    name, shape = f'outc.conv.{leaf}', arrays[f'outc.conv.{leaf}'].shape[1:]
    arrays[name] = golden_rule.normal(name, (classes, *([2, 1, 1] if leaf == 'weight' else shape)))
  return arrays


def tiny(**changes):
  return runs.tiny(steps=1, **{'model.depth': 5, 'model.width': 2, **changes})


def with_model(**model):
  """A tiny run's config with this model section."""
  config = runs.tiny()
  with config.unlocked():
    config.model = model
  return config


def fresh(config, channels=3):
  """(state of a config as if initialised, its entry kernels) for 16-pixel images; nothing is compiled."""
  shape = (16, 16, channels)
  task = resolve.task(config, resolve.spec(config), shape)
  template = jax.eval_shape(lambda key: task.init(key, shape), jax.random.key(0))
  rng = np.random.default_rng(1)
  state = jax.tree.map(lambda leaf: rng.uniform(size=leaf.shape).astype(leaf.dtype), template)
  return state, weights.entry_kernels(task, shape, template)


def flat(state):
  return weights.paths.flatten({'params': state.params, 'model_state': state.model_state})


def of_fewest_values(stem):
  """A golden's names with a few values each, no two arrays alike."""
  golden, arrays = golden_rule.load(GOLDENS / f'{stem}.json'), {}
  for number, (name, shape, *_) in enumerate(golden['tensors']):
    # A matrix may be the 7x7 or 6x6 kernel of a fully connected layer.
    small = (4, 1764) if len(shape) == 2 else (*(min(n, 8) for n in shape[:2]), *shape[2:])
    arrays[name] = np.broadcast_to(np.float32(number), small)
  return arrays


@pytest.mark.parametrize('stem', NETWORKS)
def test_every_network_has_one_source(stem):
  arrays = of_fewest_values(stem)
  source, variables = sources.convert(arrays)
  wanted = converted.flatten(NETWORKS[stem].convert(arrays))
  found = converted.flatten(variables)
  assert found.keys() == wanted.keys() and source.fills
  for name, array in wanted.items():
    np.testing.assert_array_equal(found[name], array)
  for name in source.names:
    assert sources.convert(arrays, name)[0].names == source.names


@pytest.mark.parametrize('stem', ['maskrcnn_e2e', 'keypointrcnn_e2e'])
def test_detectors_have_one_source(stem):
  """Under the names of today and under those of torchvision's stored weights, which are older."""
  arrays = of_fewest_values(stem)
  source, variables = sources.convert(arrays)
  assert f'torchvision/{stem.removesuffix("_e2e")}_resnet50_fpn' in source.names
  older = {}
  for name, array in arrays.items():
    name = re.sub(r'^(backbone\.fpn\.\w+_blocks\.\d)\.0\.|^(rpn\.head\.conv)\.0\.0\.', r'\1\2.', name)
    name = re.sub(r'mask_head\.(\d)\.0', lambda match: f'mask_head.mask_fcn{int(match[1]) + 1}', name)
    older[name] = array
  assert older.keys() != arrays.keys()
  jax.tree.map(np.testing.assert_array_equal, sources.convert(older)[1], variables)


def test_sources_are_told_apart():
  names = [name for source in sources.table() for name in source.names]
  assert len(names) == len(set(names)) and all(name in sources.listing() for name in names)
  assert {source.preprocess for source in sources.table()} <= {'', *preprocess.RULES}
  with pytest.raises(
    ValueError, match="source 'torchvision/resnet51' is unknown; there are: torchvision/resnet18"
  ):
    sources.convert({}, 'torchvision/resnet51')
  for arrays in ({}, {'x.weight': np.zeros((2, 2))}):
    with pytest.raises(ValueError, match='are those of no source; .* there are: torchvision/resnet18'):
      sources.convert(arrays)
    for name in names:
      with pytest.raises(ValueError):
        sources.convert(arrays, name)
  with pytest.raises(ValueError, match='these are the names of ResNet-50'):
    sources.convert(of_fewest_values('resnet50'), 'torchvision/resnet101')
  with pytest.raises(ValueError, match='these are the names of VGG16 with normalisation'):
    sources.convert(of_fewest_values('vgg16_bn'), 'torchvision/vgg16')
  with pytest.raises(ValueError, match='these are the names of FCN-32s'):
    sources.convert(of_fewest_values('fcn32s_vgg16'), 'caffe/fcn8s')


def test_two_that_fit_are_asked_about(monkeypatch):
  twice = (*sources.table(), sources.Source(('me/resnet50',), 'x', '', sources.torch_resnet.classifier))
  monkeypatch.setattr(sources, 'table', lambda: twice)
  with pytest.raises(
    ValueError, match=r'fit several sources \(torchvision/resnet50, me/resnet50\): choose by'
  ):
    sources.convert(of_fewest_values('resnet50'))


def test_what_is_missing_is_listed_in_part():
  arrays = of_fewest_values('segnet_basic')
  del arrays['conv1.bias']
  with pytest.raises(ValueError, match='missing: conv1.bias$'):
    sources.convert(arrays, 'caffe/segnet_basic')
  with pytest.raises(ValueError, match='missing: bn11.bias, .* and 144 more; unknown: conv1.weight, '):
    sources.convert(arrays, 'delta-onera/segnet')


def test_timm_and_caffe_vgg_are_torchvisions():
  arrays = of_fewest_values('vgg16')
  _, wanted = sources.convert(arrays)
  renamed = {'classifier.0': 'pre_logits.fc1', 'classifier.3': 'pre_logits.fc2', 'classifier.6': 'head.fc'}
  timm, caffe = {}, {}
  convs = iter([f'conv{i}_{j}' for i, n in enumerate((2, 2, 3, 3, 3), 1) for j in range(1, n + 1)])
  layers = {}
  for name, array in arrays.items():
    layer, leaf = name.rsplit('.', 1)
    if layer not in layers:
      layers[layer] = next(convs, None) or f'fc{6 + len(layers) - 13}'
    timm[f'{renamed.get(layer, layer)}.{leaf}'] = array
    caffe[f'{layers[layer]}.{leaf}'] = array
  for name, shape in (('pre_logits.fc1.weight', (4, 36, 7, 7)), ('pre_logits.fc2.weight', (4, 1764, 1, 1))):
    timm[name] = timm[name].reshape(shape)
  for found, name, rule in ((timm, 'timm/vgg16', 'imagenet'), (caffe, 'caffe/vgg16', 'caffe')):
    source, variables = sources.convert(found)
    assert (source.names[0], source.preprocess) == (name, rule)
    for path, array in converted.flatten(wanted).items():
      np.testing.assert_array_equal(converted.flatten(variables)[path], array, err_msg=path)


def test_semsegs_resnet_fills_the_deep_stem():
  """resnet50_v2 has torchvision's names, with three convolutions in the stem."""
  arrays = of_fewest_values('resnet50')
  for i in (2, 3):
    arrays[f'conv{i}.weight'] = np.full((8, 8, 3, 3), i, np.float32)
    for leaf in ('weight', 'bias', 'running_mean', 'running_var'):
      arrays[f'bn{i}.{leaf}'] = np.full(8, i, np.float32)
  source, variables = sources.convert(arrays)
  assert source.names == ('hszhao/resnet50_v2',)
  model = resnet.Classifier(stem='deep')
  image = jnp.zeros((1, 32, 32, 3))
  wanted = jax.eval_shape(lambda key: model.init(key, image, train=False), jax.random.key(0))
  found = converted.flatten(variables)
  tree = {'params': wanted['params'], 'model_state': {'batch_stats': wanted['batch_stats']}}
  assert found.keys() == weights.paths.flatten(tree).keys()
  assert (found['params/encoder/conv3/kernel'] == 3).all()


@pytest.mark.parametrize('how', ['npz', 'safetensors', 'folder', 'its arrays'])
def test_every_way_gives_the_same_arrays(tmp_path, how):
  arrays, file = milesial(), tmp_path / f'theirs.{"safetensors" if how == "safetensors" else "npz"}'
  file.write_bytes(wf.safetensors(arrays) if how == 'safetensors' else npz(arrays))
  if how in ('folder', 'its arrays'):
    file = made(file, tmp_path / 'ours') / ('' if how == 'folder' else 'weights.npz')
  state, _ = fresh(tiny())
  found = flat(weights.init_from(str(file), state)[0])
  wanted = converted.flatten(sources.convert(arrays, 'milesial/unet')[1])
  assert found.keys() == wanted.keys()
  for name, array in wanted.items():
    np.testing.assert_array_equal(found[name], array, err_msg=name)


def made(file, folder):
  """The folder, with what jseg.convert writes."""
  folder.mkdir()
  report = converted.make(str(file), folder, source='milesial/unet', version=jseg.__version__)
  assert '  params/score/kernel (1, 1, 2, 7)' in report
  assert report[-2] == f'{file}: milesial/unet, 100 arrays, 30,769 parameters'
  record = json.loads((folder / 'weights.json').read_text())
  assert record['sha256'] == hashlib.sha256(file.read_bytes()).hexdigest()
  assert record['source'] == 'milesial/unet' and record['jseg'] == jseg.__version__
  return folder


@pytest.mark.slow
def test_a_run_starts_from_a_converted_file(tmp_path, caplog):
  """File -> jseg.convert -> config.init_from -> the outputs of the arrays converted directly."""
  file = tmp_path / 'theirs.npz'
  file.write_bytes(npz(milesial()))
  config = tiny(init_from=str(made(file, tmp_path / 'ours')))
  with contextlib.ExitStack() as stack, caplog.at_level('INFO'):
    _, state = train.prepare(config, tmp_path / 'run', stack)
  assert '  loaded params/score/kernel (1, 1, 2, 7)' in caplog.messages
  model = unet.Model(num_classes=7, width=2, padding='same', norm='bn')
  apply = jax.jit(lambda variables, x: model.apply(variables, x, train=False)[0])
  image = golden_rule.normal('image', (1, 16, 16, 3))
  found = apply({'params': state.params, **state.model_state}, image)
  np.testing.assert_array_equal(found, apply(sources.convert(milesial())[1], image))
  assert np.ptp(found) > 0.1


def test_report_says_of_every_array(tmp_path):
  file = tmp_path / 'theirs.npz'
  file.write_bytes(npz(milesial()))
  config = tiny(**{'optim.ema': 0.9})
  state, entry = fresh(config)
  started, report = weights.init_from(str(file), state, entry=entry, classes=7, preprocess='share')
  count = len(flat(state))
  head = f"init_from '{file}': loaded {count} of {count} arrays, 0 of them adapted; 0 unused"
  assert report[0] == head and len(report) == 2 + count
  assert report[1] == "  weights of milesial/unet, which expect task.preprocess='share'"
  assert '  loaded params/down0/conv1/kernel (3, 3, 3, 2)' in report
  np.testing.assert_array_equal(started.ema['score']['kernel'], started.params['score']['kernel'])
  assert started.step == 0 and jax.tree.structure(started) == jax.tree.structure(state)


def test_report_says_when_the_input_is_not_known(tmp_path):
  file = tmp_path / 'theirs.npz'
  file.write_bytes(npz(milesial()))
  record = made(file, tmp_path / 'ours') / 'weights.json'
  record.write_text(record.read_text().replace('"preprocess": "share"', '"preprocess": ""'))
  _, report = weights.init_from(str(tmp_path / 'ours'), fresh(tiny())[0], preprocess='unit')
  said = '  weights of milesial/unet; what input they expect is not known: see to task.preprocess'
  assert report[1] == said


def test_other_classes_reinitialise_the_head_and_say_so(tmp_path):
  file = tmp_path / 'theirs.npz'
  file.write_bytes(npz(milesial(classes=5)))
  state, entry = fresh(tiny())
  started, report = weights.init_from(str(file), state, entry=entry, classes=7)
  assert [line for line in report if 're-initialised' in line] == [
    '  re-initialised params/score/bias: (5,) there, (7,) here; another number of classes',
    '  re-initialised params/score/kernel: (1, 1, 2, 5) there, (1, 1, 2, 7) here; another number of classes',
  ]
  before, after = flat(state), flat(started)
  for name in before:
    same = np.array_equal(before[name], after[name])
    assert same == (name in ('params/score/bias', 'params/score/kernel')), name


@pytest.mark.parametrize(('there', 'here'), [(3, 1), (3, 4), (3, 6), (1, 3), (4, 3)])
def test_other_channels_adapt_the_first_kernel_and_say_so(tmp_path, there, here):
  file = tmp_path / 'theirs.npz'
  arrays = milesial(channels=there)
  file.write_bytes(npz(arrays))
  state, entry = fresh(tiny(), here)
  assert entry == {'params/down0/conv1/kernel'}
  started, report = weights.init_from(str(file), state, entry=entry)
  theirs = arrays['inc.double_conv.0.weight'].transpose(2, 3, 1, 0)
  ours = started.params['down0']['conv1']['kernel']
  shapes = f'params/down0/conv1/kernel: (3, 3, {there}, 2) there, (3, 3, {here}, 2) here'
  if there > here > 1:  # which of theirs to drop cannot be known
    assert f'  re-initialised {shapes}' in report
    np.testing.assert_array_equal(ours, state.params['down0']['conv1']['kernel'])
    return
  assert f'  adapted {shapes}; another number of image channels' in report
  assert '1 of them adapted' in report[0] and not any('re-initialised' in line for line in report)
  if here == 1:
    np.testing.assert_allclose(ours[:, :, 0], theirs.sum(2), rtol=1e-6)
  else:
    np.testing.assert_array_equal(ours[:, :, :there], theirs)
    for channel in range(there, here):
      np.testing.assert_allclose(ours[:, :, channel], theirs.mean(2), rtol=1e-6)


def test_a_kernel_is_adapted_only_where_it_sees_the_image():
  """ENet's first convolution has fewer features with more channels; that kernel cannot be adapted."""
  assert fresh(with_model(name='enet', width=8))[1] == set()


def test_classifiers_fill_the_encoder(tmp_path):
  """torchvision's ResNet-18 in LinkNet: the encoder is theirs, the decoder fresh, the classifier unused."""
  arrays = shrunk('resnet18', lambda n: max(n // 8, 1))
  file = tmp_path / 'resnet18.safetensors'
  file.write_bytes(wf.safetensors(arrays))
  config = with_model(name='linknet', width=8)
  state, entry = fresh(config)
  assert entry == {'params/encoder/conv1/kernel'}
  started, report = weights.init_from(
    str(file), state, entry=entry, classes=7, preprocess=resolve.preprocess(config)
  )
  assert report[1:3] == [
    "  weights of torchvision/resnet18, which expect task.preprocess='imagenet'",
    "  warning: task.preprocess is 'unit' here",
  ]
  before, after = flat(state), flat(started)
  for name in before:
    if '/encoder/' in name:
      assert f'  loaded {name} {before[name].shape}' in report
    else:
      assert f'  re-initialised {name}: not in the checkpoint' in report
      np.testing.assert_array_equal(before[name], after[name])
  unused = {line for line in report if line.startswith('  unused')}
  assert unused == {'  unused params/fc/bias', '  unused params/fc/kernel'}
  np.testing.assert_array_equal(
    started.params['encoder']['stage2_1']['shortcut']['kernel'],
    arrays['layer2.0.downsample.0.weight'].transpose(2, 3, 1, 0),
  )
  statistics = started.model_state['batch_stats']['encoder']['norm1']['bn']
  np.testing.assert_array_equal(statistics['var'], arrays['bn1.running_var'])


def test_a_task_without_preprocessing_is_not_warned(monkeypatch):
  monkeypatch.setattr(
    resolve, 'module', lambda room, name: types.SimpleNamespace(make=lambda *, model: model)
  )
  assert resolve.preprocess(runs.tiny()) == ''
  assert weights._expectation('torchvision/resnet18', 'imagenet', '') == [
    "  weights of torchvision/resnet18, which expect task.preprocess='imagenet'"
  ]


def test_caffes_vgg_fills_fcn(tmp_path):
  """The released .caffemodel of VGG16 is of V1; its fc6 and fc7 are FCN's, and it takes BGR."""
  stages, layers, inputs = (2, 2, 3, 3, 3), [], 3
  for i, convs in enumerate(stages, 1):
    for j in range(1, convs + 1):
      features = min(2 ** (i - 1), 8)
      name = f'conv{i}_{j}'
      layers.append((name, 4, golden_rule.normal(name, (features, inputs, 3, 3)), np.ones(features)))
      inputs = features
  fc6 = golden_rule.normal('fc6', (64, 8 * 49))
  layers += [('fc6', 14, fc6, np.ones(64)), ('fc7', 14, np.ones((64, 64)), np.ones(64))]
  layers.append(('fc8', 14, np.ones((1000, 64)), np.ones(1000)))
  file = tmp_path / 'VGG_ILSVRC_16_layers.caffemodel'
  file.write_bytes(b''.join(wf.v1_layer(*layer) for layer in layers))
  config = with_model(name='fcn', width=1)
  with config.unlocked():
    config.task.preprocess = 'imagenet'
  state, entry = fresh(config)
  started, report = weights.init_from(str(file), state, entry=entry, preprocess=resolve.preprocess(config))
  assert report[1:3] == [
    "  weights of caffe/vgg16, which expect task.preprocess='caffe'",
    "  warning: task.preprocess is 'imagenet' here",
  ]
  assert '  unused params/fc8/kernel' in report
  assert '  re-initialised params/score_fr/kernel: not in the checkpoint' in report
  kernel = fc6.reshape(64, 8, 7, 7).transpose(2, 3, 1, 0)
  np.testing.assert_array_equal(started.params['fc6']['kernel'], kernel)
  _, silent = weights.init_from(str(file), state, preprocess='caffe')
  assert not any('warning' in line for line in silent)


def test_faults_are_one_line_before_the_run_begins(tmp_path):
  file = tmp_path / 'theirs.npz'
  content = npz(milesial())
  file.write_bytes(content[: len(content) // 2])
  state, _ = fresh(tiny())
  folder = tmp_path / 'ours'
  folder.mkdir()
  for change, path, message in (
    (lambda: None, file, 'theirs.npz cannot be read: '),
    (
      lambda: file.write_bytes(npz({'a': np.zeros(3)})),
      file,
      r'theirs.npz: the 1 names \(a ...\) are those of no',
    ),
    (lambda: None, tmp_path / 'none.pth', 'there is no file .*none.pth'),
    (lambda: file.write_bytes(npz(shrunk('resnet18', lambda n: n // 8))), file, 'none of its .* arrays fits'),
    (lambda: (folder / 'weights.npz').write_bytes(content), folder, 'weights.json cannot be read'),
    (lambda: (folder / 'weights.json').write_text('[]'), folder, 'weights.json cannot be read'),
    (lambda: (folder / 'weights.json').write_text('{"arrays": {}}'), folder, "cannot be read .'source'"),
    (
      lambda: (folder / 'weights.json').write_text('{"arrays": {}, "source": "", "preprocess": ""}'),
      folder,
      'is not the record of the weights.npz',
    ),
    (lambda: None, tmp_path, 'no checkpoint in'),
  ):
    change()
    with pytest.raises(ValueError, match=message) as caught:
      weights.init_from(str(path), state)
    assert '\n' not in str(caught.value)


def test_hub_weights_start_a_run(tmp_path, monkeypatch):
  file = tmp_path / 'model.safetensors'
  file.write_bytes(wf.safetensors(milesial()))
  monkeypatch.setattr(converted.hub, 'fetch', lambda address: {'hf:me/unet': file}[address])
  state, entry = fresh(tiny())
  started, report = weights.init_from('hf:me/unet', state, entry=entry)
  assert report[0].startswith("init_from 'hf:me/unet': loaded")
  np.testing.assert_array_equal(started.params['score']['bias'], files.read(file)['outc.conv.bias'])


def test_the_door(tmp_path):
  file = tmp_path / 'theirs.npz'
  file.write_bytes(npz(milesial()))

  def door(*words):
    done = subprocess.run(
      [sys.executable, '-m', 'jseg.convert', *words], cwd=runs.REPO, env=runs.environment(),
      capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr

  assert door() == (0, sources.listing() + '\n', '')
  code, out, err = door(f'--weights={file}', f'--output={tmp_path / "ours"}')
  assert (code, err) == (0, '') and converted.read(tmp_path / 'ours')[1]['file'] == str(file)
  assert (
    out.splitlines()[-2].startswith('fills unet, padding') and str(tmp_path / 'ours') in out.splitlines()[-1]
  )
  for words, message in (
    (('--source=torchvision/resnet18', f'--weights={file}'), '--output is missing'),
    (('--source=x', f'--weights={file}', f'--output={tmp_path}'), "source 'x' is unknown; there are: "),
    (('--sauce=x',), "Unknown command line flag 'sauce'"),
  ):
    code, out, err = door(*words)
    assert code == 2 and out == '' and err.count('\n') == 1, err
    assert err.startswith('jseg.convert: error: ') and message in err
  new = tmp_path / 'new' / 'folder'
  code, _, err = door('--source=torchvision/resnet18', f'--weights={file}', f'--output={new}')
  assert code == 2 and not new.parent.exists(), err  # a refusal leaves no empty folder
