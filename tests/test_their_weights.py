"""Weights that others trained, measured and predicted with as they are."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from test_convert import milesial, tiny
from test_convert_files import npz
from test_house import REPO

from jseg.convert import sources
from jseg.data import shapes
from jseg.engine import evaluate, predictor, resolve, results, train, workdirs
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
  recipe = results.Recipe('theirs', config, ())
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
