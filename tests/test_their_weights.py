"""Weights that others trained, measured and predicted with as they are."""

import json
import re
import subprocess
import sys

import golden_rule
import jax
import numpy as np
import pytest
from PIL import Image
from test_convert import milesial, tiny
from test_convert_files import npz
from test_house import REPO

from configs import maskrcnn_r50_fpn_coco
from jseg.convert import sources
from jseg.data import shapes
from jseg.data.builders import coco
from jseg.engine import evaluate, predictor, resolve, results, train, weights, workdirs
from jseg.models import unet
from jseg.ops import preprocess

MODEL = unet.Model(num_classes=7, width=2, padding='same', norm='bn')
CLOSE = 0.01  # share of pixels whose two best classes rounding may exchange
IMAGE = shapes.Shapes('val', size=48, count=1, seed=0)[0]['image']


def logits(arrays, image):
  inside = preprocess.preprocess(image[None], resolve.preprocess(tiny()))
  return np.asarray(MODEL.apply(sources.convert(arrays)[1], inside, train=False)[0])[0]


def balanced():
  """Arrays that find several classes in an image."""
  arrays = milesial()
  found = logits(arrays, IMAGE)
  arrays['outc.conv.weight'] = arrays['outc.conv.weight'] / found.std((0, 1))[:, None, None, None]
  arrays['outc.conv.bias'] = np.zeros_like(arrays['outc.conv.bias'])
  arrays['outc.conv.bias'] = -logits(arrays, IMAGE).mean((0, 1))
  return arrays


ARRAYS = balanced()


def by_hand(image):
  """The classes that the converted arrays give."""
  return logits(ARRAYS, image).argmax(-1)


def theirs(tmp_path, **changes):
  """A config, and the file that its init_from names."""
  file = tmp_path / 'theirs.npz'
  file.write_bytes(npz(ARRAYS))
  return tiny(init_from=str(file), **changes), file


def test_predicted_with(tmp_path):
  config, _ = theirs(tmp_path)
  found = predictor.of_weights(config).predict(IMAGE)
  assert np.mean(found != by_hand(IMAGE)) < CLOSE
  assert len(np.unique(found)) > 2


@pytest.mark.slow
def test_the_door(tmp_path):
  _, file = theirs(tmp_path)
  Image.fromarray(IMAGE).save(tmp_path / 'photo.png')
  command = [sys.executable, '-m', 'jseg.predict', '--config=configs/unet_shapes.py:quick']
  command += [
    f'--config.init_from={file}',
    f'--images={tmp_path / "photo.png"}',
    f'--output={tmp_path / "out"}',
  ]
  options = ['--config.model.width=2', '--config.model.depth=5']
  done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=REPO)
  assert done.returncode == 0, done.stderr
  with Image.open(tmp_path / 'out' / 'photo.png') as found:
    assert np.mean(np.asarray(found) != by_hand(IMAGE)) < CLOSE
  for words, message in (
    (
      [*command, '--config.model.width=3'],
      r'arrays without any, the first is .*; name a config of the same network',
    ),
    ([*command, f'--workdir={tmp_path}'], f'--workdir={tmp_path} and --config exclude each other'),
  ):
    done = subprocess.run(words, capture_output=True, text=True, cwd=REPO)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert re.search(message, done.stderr)


@pytest.mark.slow
def test_measured(tmp_path):
  config, file = theirs(tmp_path)
  result = evaluate.run(config, tmp_path / 'run', 'best')
  source = resolve.source(config, 'val')
  confusion = np.zeros((7, 7), np.int64)
  for i in range(len(source)):
    example = source[i]
    known = example['labels'] != 255
    np.add.at(confusion, (example['labels'][known], by_hand(example['image'])[known]), 1)
  assert np.abs(result.sums['confusion'] - confusion).sum() < 2 * CLOSE * confusion.sum()
  kept = workdirs.get_config(str(tmp_path / 'run'))
  assert kept.init_from == str(file) and kept.model.depth == 5
  recipe = results.Recipe('theirs', resolve.complete(config, {}), ())
  (run,) = results.runs([str(tmp_path / 'run')], [recipe])
  assert run.step == 0 and run.recipe is recipe and run.departures == ('8 of 200 images',)
  assert run.scores['mean_iu'] == pytest.approx(100 * result.scores['mean_iu'])


def test_a_network_is_filled_whole_or_not_at_all(tmp_path):
  config, file = theirs(tmp_path, **{'data.options.train': 4})
  file.write_bytes(npz(milesial(classes=5)))
  with pytest.raises(
    ValueError, match=r'leaves 2 of 100 arrays without any, the first is params/score/bias: \(5,\)'
  ):
    predictor.of_weights(config)
  with pytest.raises(ValueError, match='leaves 2 of 100 arrays without any'):
    evaluate.run(config, tmp_path / 'run', 'best')
  assert not (tmp_path / 'run').exists()


def test_weights_have_to_be_named():
  with pytest.raises(ValueError, match='--config without --config.init_from: name the weights'):
    predictor.of_weights(tiny())


@pytest.mark.slow
def test_a_checkpoint_comes_first(tmp_path):
  """A run that began from weights is measured as it was trained."""
  config, _ = theirs(tmp_path)
  scores = train.train(config, tmp_path / 'run')
  assert evaluate.run(config, tmp_path / 'run', 'latest').scores == scores
  assert json.loads((tmp_path / 'run' / 'results' / 'val-1.json').read_text())['step'] == 1
  assert not (tmp_path / 'run' / 'results' / 'val-0.json').exists()


def torchvisions_detector(classes):
  """{name: array} as in torchvision's maskrcnn_resnet50_fpn of width 4: zeros, but for its classes' rows."""
  golden, arrays = golden_rule.load(REPO / 'tests' / 'goldens' / 'maskrcnn_e2e.json'), {}
  for name, shape, *_ in golden['tensors']:
    shape = [n // 16 if n >= 64 else n for n in shape]
    each = {'cls_score': 1, 'bbox_pred': 4, 'mask_fcn_logits': 1}.get(name.split('.')[-2], 0)
    if each and name.startswith('roi_heads'):
      rows = np.arange(classes, dtype=np.float32).repeat(each).reshape(-1, *(1,) * (len(shape) - 1))
      arrays[name] = np.broadcast_to(rows, (each * classes, *shape[1:]))
    else:
      arrays[name] = np.zeros(shape, np.float32)
  return arrays


def test_torchvisions_detector_knows_cocos_classes(tmp_path):
  """It has a row for each of COCO's numbers 0..90, of which 11 are of nothing."""
  file = tmp_path / 'theirs.npz'
  file.write_bytes(npz(torchvisions_detector(91)))
  config = maskrcnn_r50_fpn_coco.get_config()
  with config.unlocked():
    config.init_from, config.task.preprocess = str(file), 'imagenet'
    config.model.update(width=4, strided='3x3', anchor_rule='torchvision', bn_eps=0.0)
  _, state, _ = weights.whole(config, coco.SPEC)
  numbers = np.asarray((0, *coco.CATEGORIES))
  assert len(numbers) == 81 and numbers[-1] == 90
  heads = state.params['box_scores'], state.params['mask_head']
  np.testing.assert_array_equal(heads[0]['score']['bias'], numbers)
  np.testing.assert_array_equal(heads[0]['score']['kernel'][0, 0, 5], numbers)
  np.testing.assert_array_equal(heads[0]['deltas']['bias'].reshape(81, 4), numbers[:, None].repeat(4, 1))
  found = [leaf for leaf in jax.tree.leaves(heads[1]) if leaf.shape == (81,)]
  np.testing.assert_array_equal(found, [numbers])


def test_classes_by_the_owners_numbers():
  ids = (0, 2, 5)
  array = np.arange(2 * 12).reshape(2, 12)  # two values for each of six numbers
  np.testing.assert_array_equal(weights._chosen(array, (2, 6), ids)[0], [0, 1, 4, 5, 10, 11])
  np.testing.assert_array_equal(weights._chosen(array[:, :6], (2, 3), ids)[1], [12, 14, 17])
  for shape, numbers in (
    ((2, 6), (0, 1, 2)),
    ((2, 5), ids),
    ((1, 6), ids),
    ((2, 9), ids),
    ((12,), ids),
    ((2, 6), ()),
  ):
    assert weights._chosen(array, shape, numbers) is None
  assert weights.owner_ids(coco.SPEC) == (0, *coco.CATEGORIES)
