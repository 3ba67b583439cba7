"""On a machine without data: every config says what is missing, where to get it and what to type, at once."""

import importlib
import re
import subprocess
import sys
import time

import pytest
import runs
from test_configs import NAMES, load

from jseg.engine import resolve, train

# A folder of one's own photos has no owners: tests/test_folder.py has what is said there.
OTHERS = [name for name in NAMES if load(name).data.name != 'folder']
WITH_DATA = [name for name in OTHERS if resolve.spec(load(name)).instructions]


def assert_says_it_all(message, name):
  module = importlib.import_module(f'jseg.data.builders.{load(name).data.name}')
  assert '\n' not in message
  for part in (
    f'{module.SPEC.name} is not prepared in ',
    f'get {module.SPEC.owners}, then type: ',
    f'python -m jseg.dataset --verb=prepare --name={module.SPEC.name} --source=PATH/TO/{module.SPEC.folder} ',
    '--config=CONFIG.py:quick runs now',
  ):
    assert part in message
  assert re.search(r'[\w-]+\.(com|org|edu|uk|info|net)\b', message), 'no address'


@pytest.mark.parametrize('name', WITH_DATA)
def test_every_config_says_what_where_and_how(name, tmp_path):
  config = load(name)
  config.data.dir = str(tmp_path / 'data')
  for split in (config.data.train_split, config.eval.split):
    with pytest.raises(ValueError) as error:
      resolve.source(config, split)
    assert_says_it_all(str(error.value), name)
  assert list(tmp_path.iterdir()) == []


def test_the_data_are_looked_at_before_anything_is_traced(tmp_path, monkeypatch):
  """Of a config whose batch suits the devices here."""
  config = load('segnet_camvid')
  config.data.dir, config.data.batch_size = str(tmp_path / 'data'), 8
  monkeypatch.setattr(resolve, 'task', lambda *_: pytest.fail('built a network'))
  with pytest.raises(ValueError, match='camvid is not prepared'):
    train.train(config, tmp_path / 'run')
  assert list(tmp_path.iterdir()) == []


def command(tmp_path, *flags):
  """(finished process, seconds): jseg.main with an empty home."""
  environment = runs.environment() | {'HOME': str(tmp_path / 'home')}
  began = time.monotonic()
  done = subprocess.run(
    [sys.executable, '-m', 'jseg.main', *flags], cwd=tmp_path, env=environment, capture_output=True, text=True
  )
  return done, time.monotonic() - began


@pytest.mark.parametrize('name', ['enet_camvid', 'pspnet50_cityscapes'])
def test_the_command_answers_and_leaves_nothing(name, tmp_path):
  (tmp_path / 'home').mkdir()
  config = f'--config={runs.REPO}/configs/{name}.py'
  done, seconds = command(tmp_path, config, f'--workdir={tmp_path}/runs/deep/one')
  print(f'{name}: answered after {seconds:.1f} s')
  assert done.returncode == 2
  assert_says_it_all(done.stderr.splitlines()[-1], name)
  assert [path.name for path in tmp_path.rglob('*')] == ['home']


def test_a_refusal_leaves_the_folders_that_were_there(tmp_path):
  for folder in ('home', 'runs/one'):
    (tmp_path / folder).mkdir(parents=True)
  config = f'--config={runs.REPO}/configs/enet_camvid.py'
  assert command(tmp_path, config, f'--workdir={tmp_path}/runs/one')[0].returncode == 2
  assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*')) == [
    'home',
    'runs',
    'runs/one',
  ]
  # A later refusal, when the folder for checkpoints had been made.
  flags = [f'--config={runs.REPO}/configs/unet_shapes.py:quick', *runs.OVERRIDES, '--config.resume=must']
  done, _ = command(tmp_path, *flags, f'--workdir={tmp_path}/runs/two')
  assert done.returncode == 2 and "resume is 'must'" in done.stderr.splitlines()[-1]
  assert not (tmp_path / 'runs' / 'two').exists()
