import contextlib
import itertools
import json
import logging as std_logging
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import jax
import ml_dtypes
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from jseg.engine import checkpoint, manifest


def state_of(step, width=3):
  """A state with everything that an optimiser, BatchNorm and a key bring along."""
  params = {
    'conv': {'kernel': np.full((2, width), step, np.float32), 'bias': np.arange(width, dtype=np.float32)}
  }
  return {
    'step': np.int32(step),
    'params': params,
    'model_state': {'batch_stats': {'mean': np.full(width, step, np.float32)}},
    'opt_state': jax.device_get(
      optax.chain(optax.scale_by_adam(), optax.sgd(0.1, momentum=0.9)).init(params)
    ),
    'half': np.full(5, step, ml_dtypes.bfloat16),
    'key': np.asarray(jax.random.key_data(jax.random.key(step))),
    'nothing': {},
    'none': None,
    'void': np.zeros((0, 3), np.float32),
    'pair': (np.float32(step), ()),
  }


def assert_same(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    x, y = np.asarray(x), np.asarray(y)
    assert x.dtype == y.dtype and x.shape == y.shape
    assert x.tobytes() == y.tobytes()


def saved(directory, values):
  """A folder with one save per (step, value)."""
  keeper = checkpoint.Checkpoints(directory)
  for step, value in values:
    keeper.save(step, state_of(step), {'note': f'at {step}'}, value)
  keeper.close()
  assert keeper.poll() == []
  return pathlib.Path(directory)


@pytest.fixture(scope='module')
def master(tmp_path_factory):
  return saved(tmp_path_factory.mktemp('master') / 'checkpoints', [(10, 0.7), (20, 0.5), (30, None)])


@pytest.fixture
def folder(master, tmp_path):
  return pathlib.Path(shutil.copytree(master, tmp_path / 'checkpoints'))


def restore(folder, which='latest', template=None):
  keeper = checkpoint.Checkpoints(folder)
  try:
    return keeper.restore(state_of(0) if template is None else template, which)
  finally:
    keeper.close()


def test_round_trip_is_bit_exact(folder):
  state, meta = restore(folder)
  assert_same(state, state_of(30))
  assert meta == {'note': 'at 30'}
  # The template may be shapes only.
  template = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state_of(0))
  assert_same(restore(folder, template=template)[0], state_of(30))


def test_nothing_saved_is_none(tmp_path):
  assert restore(tmp_path / 'new') is None


def test_best_and_latest_differ_and_survive_rotation(tmp_path):
  values = [(1, 0.2), (2, 0.9), (3, None), (4, 0.1), (5, None), (6, float('nan'))]
  folder = saved(tmp_path, values)
  keeper = checkpoint.Checkpoints(folder)
  assert keeper.steps() == [2, 5, 6]
  assert keeper.latest_step() == 6
  assert_same(keeper.restore(state_of(0), 'best')[0], state_of(2))
  assert_same(keeper.restore(state_of(0))[0], state_of(6))
  assert keeper.best == (0.9, 2)  # known to the resumed run ...
  keeper.save(7, state_of(7), {}, 0.8)
  keeper.save(8, state_of(8), {}, None)
  keeper.save(9, state_of(9), {}, None)
  keeper.close()
  assert keeper.steps() == [2, 8, 9]  # ... so that a lesser value does not push it out
  with pytest.raises(ValueError, match='there are: latest, best'):
    restore(folder, 'worst')


def test_all_values_absent_best_is_latest(tmp_path):
  folder = saved(tmp_path, [(1, None), (2, None), (3, None)])
  assert_same(restore(folder, 'best')[0], state_of(3))
  assert checkpoint.Checkpoints(folder).steps() == [2, 3]


def test_same_step_again(tmp_path):
  keeper = checkpoint.Checkpoints(tmp_path)
  keeper.save(1, state_of(1), {'n': 1})
  keeper.save(1, state_of(2), {'n': 2})  # no value: left alone
  assert keeper.restore(state_of(0))[1] == {'n': 1}
  keeper.save(1, state_of(3), {'n': 3}, 0.5)  # the evaluation of the step brings its value
  assert keeper.restore(state_of(0))[1] == {'n': 3}
  assert keeper.best == (0.5, 1)
  keeper.close()
  assert keeper.poll() == []


def test_arrays_may_change_once_save_has_returned(tmp_path):
  keeper = checkpoint.Checkpoints(tmp_path)
  state = {'params': {str(i): np.ones((500, 1000), np.float32) for i in range(8)}}
  keeper.save(1, state, {})
  for array in state['params'].values():
    array[:] = 7
  back, _ = keeper.restore(state)
  assert all((array == 1).all() for array in back['params'].values())
  keeper.close()


def damages(step_folder):
  """Every file with each way to harm it."""
  for path in sorted(p for p in step_folder.rglob('*') if p.is_file()):
    for way in ('flip', 'truncate', 'delete', 'empty'):
      yield path.relative_to(step_folder), way


def harm(path, way, rng):
  if way == 'delete':
    path.unlink()
    return
  data = bytearray(path.read_bytes())
  if way == 'flip':
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
  path.write_bytes(bytes(data) if way == 'flip' else b'' if way == 'empty' else bytes(data[: len(data) // 2]))


def test_every_damage_to_every_file_is_seen(folder):
  rng = np.random.default_rng(0)
  step = folder / '30'
  assert manifest.damage(step, 30) == ''
  count = 0
  for name, way in damages(step):
    for _ in range(5 if way == 'flip' else 1):
      keep = (step / name).read_bytes()
      harm(step / name, way, rng)
      assert manifest.damage(step, 30), (name, way)
      (step / name).write_bytes(keep)
      count += 1
  assert manifest.damage(step, 30) == '' and count > 60


@pytest.mark.parametrize('which', ['state', 'meta', 'metrics', '_CHECKPOINT_METADATA', manifest.NAME])
@pytest.mark.parametrize('way', ['flip', 'delete'])
def test_falls_back_and_says_so(folder, caplog, which, way):
  path = folder / '30' / which
  if path.is_dir():
    path = sorted(p for p in path.rglob('*') if p.is_file())[-1]
  harm(path, way, np.random.default_rng(1))
  with caplog.at_level(std_logging.WARNING):
    state, meta = restore(folder)
  assert_same(state, state_of(20))
  lines = [r.getMessage() for r in caplog.records if 'damaged' in r.getMessage()]
  assert len(lines) == 1 and 'step 20' in lines[0] and '\n' not in lines[0]
  # A flip in the manifest cannot be told from one in the file it speaks of.
  assert path.name in lines[0] or path.name == manifest.NAME
  # What was never finished goes, what was harmed is kept to look at.
  assert (folder / '30.damaged').is_dir() == ((which, way) != (manifest.NAME, 'delete'))
  assert not (folder / '30').exists()


def test_damage_during_the_run_and_saving_on(folder, caplog):
  keeper = checkpoint.Checkpoints(folder)
  harm(folder / '30' / 'meta' / 'metadata', 'flip', np.random.default_rng(2))
  state, _ = keeper.restore(state_of(0))
  assert_same(state, state_of(20))
  assert sum('damaged' in r.getMessage() for r in caplog.records) == 1
  keeper.save(30, state_of(31), {})
  keeper.close()
  assert keeper.poll() == [] and keeper.steps() == [10, 20, 30]
  assert_same(restore(folder)[0], state_of(31))


def test_swapped_and_unfinished_steps_are_not_used(folder):
  shutil.rmtree(folder / '20')
  (folder / '30').rename(folder / '40')  # a step under another's name
  shutil.copytree(folder / '10', folder / '50')
  (folder / '50' / manifest.NAME).unlink()  # cut off before its manifest
  assert_same(restore(folder)[0], state_of(10))


def test_none_good_is_an_error_again_and_again(folder):
  for step in (10, 20, 30):
    (folder / str(step) / 'meta' / 'metadata').unlink(missing_ok=True)
  for _ in range(2):  # the second time there are only folders set aside: still no silent start from scratch
    with pytest.raises(checkpoint.CheckpointError, match='all checkpoints in .* are damaged'):
      restore(folder)


def test_best_damaged_falls_back_to_next_best(folder):
  assert_same(restore(folder, 'best')[0], state_of(10))
  (folder / '10' / 'meta' / 'metadata').write_text('{}')
  assert_same(restore(folder, 'best')[0], state_of(20))


def test_leftovers_of_killed_saves_are_removed(folder):
  (folder / '40.orbax-checkpoint-tmp' / 'state').mkdir(parents=True)
  keeper = checkpoint.Checkpoints(folder)
  keeper.save(40, state_of(40), {})
  keeper.close()
  assert not list(folder.glob('*tmp*')) and keeper.latest_step() == 40


def test_a_failed_save_that_still_writes_does_not_keep_the_folder_from_opening(tmp_path):
  leftover, done = tmp_path / '30.orbax-checkpoint-tmp', threading.Event()

  def write_on():
    for i in itertools.count():
      with contextlib.suppress(FileNotFoundError):  # removed between the two lines
        leftover.mkdir(exist_ok=True)
        (leftover / str(i)).touch()
      if done.is_set():
        return

  writer = threading.Thread(target=write_on)
  writer.start()
  try:
    for _ in range(20):
      manifest.tidy(tmp_path)
    keeper = checkpoint.Checkpoints(tmp_path)
    assert keeper.poll() == []
    keeper.close()
  finally:
    done.set()
    writer.join()


def test_other_network_named(folder):
  other = state_of(0, width=4)
  with pytest.raises(ValueError) as error:
    restore(folder, template=other)
  text = str(error.value)
  assert (
    'model_state/batch_stats/mean is (3,) float32 there and (4,) float32 here' in text and '\n' not in text
  )
  more = state_of(0)
  more['params']['extra'] = np.zeros(2, np.float32)
  with pytest.raises(ValueError, match=r'params/extra is absent there and \(2,\) float32 here'):
    restore(folder, template=more)
  less = state_of(0)
  del less['half']
  with pytest.raises(ValueError, match=r'half is \(5,\) bfloat16 there and absent here'):
    restore(folder, template=less)


# What TensorStore still has to say when its save has failed meets an event loop that Orbax has closed.
failed_save_noise = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')


@failed_save_noise
def test_failed_saves_are_messages_and_the_next_one_works(tmp_path, monkeypatch):
  keeper = checkpoint.Checkpoints(tmp_path)
  keeper.save(10, state_of(10), {}, 0.5)
  keeper.wait()

  def refuse(self, *args, **kwargs):
    raise OSError(28, 'No space left on device')

  async def refuse_async(self, *args, **kwargs):
    raise OSError(28, 'No space left on device')

  for step, target, name, how in [
    (20, ocp.CheckpointManager, 'save', refuse),  # at once
    (30, ocp.JsonCheckpointHandler, 'finalize', refuse),  # in the background
    (40, ocp.StandardCheckpointHandler, 'async_save', refuse_async),
  ]:
    with monkeypatch.context() as patch:
      patch.setattr(target, name, how)
      keeper.save(step, state_of(step), {}, 0.9)
      keeper.wait()
    (message,) = keeper.poll()
    assert f'step {step} was not saved' in message and 'No space left' in message and '\n' not in message
    assert keeper.poll() == [] and keeper.best == (0.5, 10)
    assert keeper.latest_step() == 10 if step == 20 else True
    keeper.save(step + 5, state_of(step + 5), {})
    keeper.wait()
    assert keeper.poll() == [] and keeper.latest_step() == step + 5
    assert_same(keeper.restore(state_of(0))[0], state_of(step + 5))
  keeper.close()


@failed_save_noise
def test_directory_removed_under_a_save(tmp_path):
  folder = tmp_path / 'checkpoints'
  keeper = checkpoint.Checkpoints(folder)
  keeper.save(1, state_of(1), {})
  shutil.rmtree(folder, ignore_errors=True)
  keeper.wait()
  keeper.poll()
  keeper.save(2, state_of(2), {})
  keeper.wait()
  if keeper.poll():  # depending on when the folder went, this save still met the ruins
    keeper.save(3, state_of(3), {})
    keeper.wait()
    assert keeper.poll() == []
  assert keeper.latest_step() in (2, 3)
  keeper.close()


def test_poll_reports_without_waiting(tmp_path, monkeypatch):
  keeper = checkpoint.Checkpoints(tmp_path)
  monkeypatch.setattr(manifest, 'write', lambda folder, step: time.sleep(0.3))
  keeper.save(1, state_of(1), {})
  start = time.time()
  assert keeper.poll() == [] and time.time() - start < 0.1
  keeper.close()


def test_folder_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(ValueError, match='cannot be written') as error:
    checkpoint.Checkpoints(tmp_path / 'file' / 'checkpoints')
  assert '\n' not in str(error.value)
  with pytest.raises(ValueError, match='at least 2'):
    checkpoint.Checkpoints(tmp_path, keep=1)


def test_meta_must_be_json(tmp_path):
  keeper = checkpoint.Checkpoints(tmp_path)
  with pytest.raises(TypeError):
    keeper.save(1, state_of(1), {'x': object()})
  keeper.close()


def test_restore_params(folder, tmp_path, caplog):
  for path in (folder.parent, folder, folder / '30'):
    params, model_state, meta = checkpoint.restore_params(path)
    assert_same(params, state_of(30)['params'])
    assert_same(model_state, state_of(30)['model_state'])
    assert meta == {'note': 'at 30'}
  params, _, _ = checkpoint.restore_params(folder, 'best')
  assert_same(params, state_of(10)['params'])
  (folder / '30' / 'meta' / 'metadata').unlink()
  params, _, _ = checkpoint.restore_params(folder.parent)
  assert_same(params, state_of(20)['params'])
  assert 'using step 20' in caplog.text and (folder / '30').exists()  # nothing is moved by a reader
  with pytest.raises(checkpoint.CheckpointError, match='meta/metadata is missing'):
    checkpoint.restore_params(folder / '30')
  with pytest.raises(ValueError, match='no checkpoint in'):
    checkpoint.restore_params(tmp_path / 'elsewhere')
  with pytest.raises(checkpoint.CheckpointError, match='no such folder'):
    checkpoint.restore_params(folder / '31')


def test_restore_params_takes_the_average(tmp_path):
  keeper = checkpoint.Checkpoints(tmp_path)
  state = {'params': {'w': np.zeros(2, np.float32)}, 'ema': {'w': np.ones(2, np.float32)}, 'model_state': {}}
  keeper.save(1, state, {})
  keeper.close()
  assert checkpoint.restore_params(tmp_path)[0]['w'].tolist() == [1, 1]
  params, model_state, _ = checkpoint.restore_params(tmp_path, averaged=False)
  assert params['w'].tolist() == [0, 0] and model_state == {}


def test_manifest_is_what_sha256sum_reads(folder):
  if shutil.which('sha256sum') is None:
    pytest.skip('no sha256sum here')
  command = ['sha256sum', '-c', '--quiet', manifest.NAME]
  assert subprocess.run(command, cwd=folder / '30').returncode == 0
  (folder / '30' / 'meta' / 'metadata').write_text('{}')
  assert subprocess.run(command, cwd=folder / '30', capture_output=True).returncode != 0


_SAVER = """
import sys
import numpy as np
from jseg.engine import checkpoint
keeper = checkpoint.Checkpoints(sys.argv[1])
found = keeper.restore({'params': {'w': np.zeros((1000, 500), np.float32)}})
first = int(found[0]['params']['w'][0, 0]) + 1 if found else 1
print('ready', flush=True)
for step in range(first, 10_000):
  keeper.save(step, {'params': {'w': np.full((1000, 500), step, np.float32)}}, {'step': step}, 1.0 / step)
"""


@pytest.mark.slow
def test_kill_in_the_middle_of_saves(tmp_path):
  rng = np.random.default_rng(0)
  env = os.environ | {'PYTHONPATH': str(pathlib.Path(__file__).parent.parent), 'JAX_NUM_CPU_DEVICES': '1'}
  template = {'params': {'w': np.zeros((1000, 500), np.float32)}}
  newest = 0
  for _ in range(6):
    process = subprocess.Popen([sys.executable, '-c', _SAVER, str(tmp_path)], stdout=subprocess.PIPE, env=env)
    assert process.stdout.readline() == b'ready\n'
    time.sleep(rng.uniform(0.05, 0.8))
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    keeper = checkpoint.Checkpoints(tmp_path)
    found = keeper.restore(template)
    if found is not None:
      step = found[1]['step']
      assert (found[0]['params']['w'] == step).all() and step >= newest
      newest = step
    keeper.close()
    assert not list(tmp_path.glob('*orbax-checkpoint-tmp*'))
  assert newest > 0
  assert json.loads((tmp_path / '1' / 'meta' / 'metadata').read_text())['best'] == [1.0, 1]
