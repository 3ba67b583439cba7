"""Several processes: two with two devices each are one with four, in losses, files and resuming."""

import json
import subprocess
import sys

import layouts
import numpy as np
import pytest
import runs

pytestmark = pytest.mark.slow

FLAGS = ('--config.train.save_every=2', '--config.data.train_split=train', '--config.eval.batch_size=4')


def local(workdir, *flags):
  """launch/local.sh 2: two processes, two fake devices each."""
  command = ['bash', str(runs.REPO / 'launch' / 'local.sh'), '2', *runs.command(workdir, *FLAGS, *flags)[3:]]
  environment = runs.environment(2) | {'PYTHON': runs.command(workdir)[0]}
  environment.pop('JAX_NUM_CPU_DEVICES')
  return subprocess.run(
    command, cwd=runs.REPO, env=environment, capture_output=True, text=True, timeout=600, check=False
  )


def losses(workdir):
  return [line['loss'] for line in runs.scalars(workdir)]


def test_two_processes_are_one(tmp_path):
  one, two, broken = tmp_path / 'one', tmp_path / 'two', tmp_path / 'broken'
  assert runs.run(one, *FLAGS, '--config.train.steps=5', devices=4).returncode == 0
  done = local(two, '--config.train.steps=5')
  assert done.returncode == 0, done.stdout + done.stderr
  np.testing.assert_allclose(losses(one), losses(two), rtol=1e-6)
  # Once: one line a step, one result, and the checkpoint that the lead sealed.
  assert len(losses(two)) == 5
  assert len(list((two / 'results').glob('*.json'))) == 1
  assert sorted(p.name for p in (two / 'checkpoints').iterdir() if p.name.isdigit())[-1] == '5'
  assert runs.scalars(one, 'val')[0]['mean_iu'] == pytest.approx(
    runs.scalars(two, 'val')[0]['mean_iu'], rel=1e-5
  )

  assert local(broken, '--config.train.steps=3').returncode == 0
  assert local(broken, '--config.train.steps=5').returncode == 0
  runs.assert_same(two, broken)
  assert losses(two) == losses(broken)
  # And the other way: what two processes saved, one goes on with.
  assert runs.run(two, *FLAGS, '--config.train.steps=6', devices=4).returncode == 0


def test_bad_input_ends_every_process_with_one_line(tmp_path):
  done = local(tmp_path, '--config.data.batch_size=6')
  assert done.returncode != 0
  assert 'data.batch_size is 6' in done.stdout + done.stderr
  assert 'Traceback' not in done.stdout + done.stderr


SEVERAL_SIZES = """
from configs import base


def get_config(arg=''):
  config = base.get_config()
  config.model = base.section(name='unet', width=4, depth=2, padding='same', norm='bn')
  config.data.name, config.data.batch_size, config.data.crop = 'ade20k', 4, (16, 16)
  config.train.steps, config.eval.batch_size = 1, 4
  return base.variant(config, arg)
"""


def test_images_of_several_sizes_are_measured_alike(tmp_path):
  layouts.ade20k(tmp_path / 'ADEChallengeData2016')
  config, workdir = tmp_path / 'config.py', tmp_path / 'run'
  config.write_text(SEVERAL_SIZES)
  data = [f'--config.data.source={tmp_path}/ADEChallengeData2016', f'--config.data.dir={tmp_path}/data']
  train = [sys.executable, '-m', 'jseg.main', f'--config={config}', f'--workdir={workdir}', *data]
  done = subprocess.run(
    train, cwd=runs.REPO, env=runs.environment(4), capture_output=True, text=True, timeout=600, check=False
  )
  assert done.returncode == 0, done.stderr
  (result,) = (workdir / 'results').glob('*.json')
  alone = json.loads(result.read_text())
  result.unlink()

  environment = runs.environment(2) | {'PYTHON': sys.executable}
  environment.pop('JAX_NUM_CPU_DEVICES')
  # The second process has only rows that fill up, of another size than the first one's largest.
  done = subprocess.run(
    ['bash', str(runs.REPO / 'launch' / 'local.sh'), '2', '--mode=evaluate', f'--workdir={workdir}'],
    cwd=runs.REPO, env=environment, capture_output=True, text=True, timeout=600, check=False,
  )  # fmt: skip
  assert done.returncode == 0, done.stdout + done.stderr
  together = json.loads(result.read_text())
  assert together['protocol'] == alone['protocol']
  assert together['protocol']['sizes'] == 'filled up within batches of 4'
  np.testing.assert_array_equal(together['confusion'], alone['confusion'])
