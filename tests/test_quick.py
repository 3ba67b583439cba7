"""Every config trains, evaluates and predicts in its quick form, on one device, through the doors."""

import importlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import runs
from PIL import Image


def by_depth(name):
  """Sorts numbers in names as numbers: of a network's depths the least comes first, and runs every day."""
  return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', name)]


CONFIGS = sorted(
  (p.stem for p in (runs.REPO / 'configs').glob('*_*.py') if not p.stem.startswith('_')), key=by_depth
)


def door(name, *flags):
  return subprocess.run(
    [sys.executable, '-m', f'jseg.{name}', *flags], cwd=runs.REPO, env=runs.environment(),
    capture_output=True, text=True, timeout=900, check=False,
  )  # fmt: skip


def once_for_each_task():
  """The configs as parameters; of each file of tasks one always runs, the others are long."""
  seen, found = set(), []
  for config in CONFIGS:
    full = importlib.import_module(f'configs.{config}').get_config()
    found.append(pytest.param(config, marks=[pytest.mark.long] if full.task.name in seen else []))
    seen.add(full.task.name)
  return found


@pytest.mark.slow
@pytest.mark.parametrize('config', once_for_each_task())
def test_quick(config, tmp_path):
  small = ('--config.data.batch_size=2', '--config.eval.batch_size=2', '--config.data.options.val=2')
  steps = ('--config.train.steps=2', '--config.train.save_every=100', '--config.eval.overlays=1')
  flags = (f'--config={runs.REPO}/configs/{config}.py:quick', f'--workdir={tmp_path}')
  done = door('main', *flags, *small, *steps)
  assert done.returncode == 0, done.stderr
  assert 'mean iu' in done.stdout or 'box AP' in done.stdout
  assert np.isfinite([line['loss'] for line in runs.scalars(tmp_path)]).all()
  if 'box AP' in done.stdout:
    check_instances_of_photos(tmp_path)


def check_instances_of_photos(workdir):
  """A picture and a JSON for every photo, at its own size."""
  photos, output = workdir / 'photos', workdir / 'out'
  photos.mkdir()
  Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 45, 3)).astype(np.uint8)).save(
    photos / 'a.png'
  )
  flags = (f'--workdir={workdir}', f'--images={photos}', f'--output={output}')
  done = door('predict', *flags, '--checkpoint=latest', '--score=0.0')
  assert done.returncode == 0, done.stderr
  assert '1/1 a.png 45x70: ' in done.stdout
  with Image.open(output / 'a_overlay.png') as picture:
    assert picture.size == (45, 70)
  written = json.loads((output / 'a.json').read_text())
  assert written['image'] == {'id': 1, 'file_name': 'a.png', 'height': 70, 'width': 45}
  for entry in written['instances']:
    assert {'class', 'image_id', 'category_id', 'bbox', 'score'} <= entry.keys()
  refused = door('predict', *flags, '--ids=owners')
  assert refused.returncode == 2 and 'is for masks of classes' in refused.stderr.strip().splitlines()[-1]


@pytest.mark.slow
def test_predict_writes_every_photo_at_its_own_size(tmp_path):
  workdir, photos, output = tmp_path / 'run', tmp_path / 'photos', tmp_path / 'out'
  assert runs.run(workdir, '--config.train.steps=1').returncode == 0
  photos.mkdir()
  rng = np.random.default_rng(0)
  sizes = {'wide.jpg': (45, 70), 'tall.png': (61, 33)}
  for name, size in sizes.items():
    Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(photos / name)
  Image.fromarray(rng.integers(0, 256, (40, 30)).astype(np.uint8)).save(photos / 'grey.png')
  done = door('predict', f'--workdir={workdir}', f'--images={photos}', f'--output={output}')
  assert done.returncode == 0, done.stderr
  for name, size in {**sizes, 'grey.png': (40, 30)}.items():
    stem = name.split('.')[0]
    index = Image.open(output / f'{stem}.png')
    assert index.mode == 'P' and np.asarray(index).shape == size
    assert np.asarray(index).max() < 7
    assert np.asarray(Image.open(output / f'{stem}_overlay.png')).shape == (*size, 3)

  draws = ('--config.eval.samples=2', '--config.model.dropout=0.5', '--config.train.steps=1')
  assert runs.run(tmp_path / 'drawn', *draws).returncode == 0
  result = json.loads((tmp_path / 'drawn' / 'results' / 'val-1.json').read_text())
  assert result['protocol']['samples'] == 2
  done = door('predict', f'--workdir={tmp_path / "drawn"}', f'--images={photos}', f'--output={output}')
  assert done.returncode == 0, done.stderr
  assert re.search(r'wide.jpg 70x45: .*; greatest uncertainty [0-9.e-]+$', done.stdout, re.M)
  for name, size in sizes.items():
    grey = Image.open(output / f'{name.split(".")[0]}_uncertainty.png')
    assert grey.mode == 'L' and np.asarray(grey).shape == size and np.asarray(grey).max() == 255

  (photos / 'broken.jpg').write_bytes(b'not a photo')
  new = tmp_path / 'new' / 'folder'
  done = door('predict', f'--workdir={workdir}', f'--images={photos / "broken.jpg"}', f'--output={new}')
  assert done.returncode == 2 and 'Traceback' not in done.stderr
  assert not new.parent.exists()  # a refusal leaves no empty folder
  assert 'broken.jpg: not a readable image' in done.stderr.strip().splitlines()[-1]

  evaluated = runs.run(workdir, '--config.eval.split=test', mode='evaluate')
  assert evaluated.returncode == 0, evaluated.stderr
  assert (workdir / 'results' / 'test-1.json').exists()
  done = door('predict', f'--workdir={tmp_path / "nothing"}', f'--images={photos}', f'--output={output}')
  assert done.returncode == 2 and 'holds no run' in done.stderr
