"""The comparison of ways to learn from few masks: what is run with what, going on, the table, the curves."""

import json
import pathlib
import re
import subprocess
import sys
import threading

import pytest
import runs

from jseg.engine import comparison

CONFIGS = str(runs.REPO / 'configs')


class Runner:
  """Stands for jseg.main: notes the flags, writes a result, and fails where it is told to."""

  def __init__(self, fails=''):
    self.calls, self._fails = [], fails

  def __call__(self, flags, log):
    self.calls.append(list(flags))
    if self._fails and any(self._fails in flag for flag in flags):
      log.write_text('training\njseg.main: what is wrong\n')
      return 2
    place = pathlib.Path(self.flag(flags, 'workdir')) / 'results'
    place.mkdir(parents=True)
    for step in (90, 100):
      content = {
        'step': step,
        'scores': {'mean_iu': step / 1000 + 0.1 * int(self.flag(flags, 'config.seed'))},
      }
      (place / f'val-{step}.json').write_text(json.dumps(content))
    return 0

  @staticmethod
  def flag(flags, name):
    (found,) = (flag.split('=', 1)[1] for flag in flags if flag.startswith(f'--{name}='))
    return found


def compared(tmp_path, run, **changes):
  given = {'subsets': ['strong:4', 'labelled:1/8'], 'seeds': 2, 'run': run, **changes}
  return comparison.compare(comparison.ways(CONFIGS, 'shapes'), tmp_path, **given)


def test_every_way_has_the_masks_of_the_seed(tmp_path):
  run = Runner()
  scores = compared(tmp_path, run, overrides=['--config.data.threads=1'], first_overrides=['--config.x=1'])
  assert scores.keys() == {'supervised only', 'decoupled', 'GAN, semi', 'GAN, weak'}
  for name, row in scores.items():
    assert row == {c: pytest.approx([0.1, 0.2]) for c in row}
    assert row.keys() == {'strong:4', 'labelled:1/8', *(['tags'] if name == 'decoupled' else [])}
  assert len(run.calls) == 2 * (2 * 4 + 1)
  for flags in run.calls:
    assert '--config.data.threads=1' in flags
    config = pathlib.Path(run.flag(flags, 'config')).stem
    assert ('--config.x=1' in flags) == (config == 'decouplednet_cls_shapes')
    if config != 'decouplednet_cls_shapes':
      assert run.flag(flags, 'config.data.subset_seed') == run.flag(flags, 'config.seed')
    if config == 'decouplednet_seg5_shapes':
      first = pathlib.Path(run.flag(flags, 'config.init_from'))
      assert first.name == f'decoupled_tags_{run.flag(flags, "config.seed")}' and first.is_dir()


def test_what_is_done_is_not_done_again(tmp_path, capfd):
  message = 'a run failed: python -m jseg.main --config=.*gan_weak_shapes.py .*: jseg.main: what is wrong$'
  with pytest.raises(ValueError, match=message):
    compared(tmp_path, Runner(fails='gan_weak'), seeds=1)
  run = Runner()
  compared(tmp_path, run, seeds=1)
  assert {pathlib.Path(run.flag(flags, 'config')).stem for flags in run.calls} == {'gan_weak_shapes'}
  said = capfd.readouterr().err.splitlines()
  assert f'GAN_weak_strong4_0: training, its lines in {tmp_path}/GAN_weak_strong4_0.log' in said
  assert re.match(r'GAN_weak_strong4_0: mean IU 10.00 %, 8 of 9 runs, about 0:00:00 left', said[-3])
  assert said[-1] == 'GAN_weak_labelled1of8_0: mean IU 10.00 %, 9 of 9 runs'
  run = Runner()
  compared(tmp_path, run, seeds=1)
  assert not run.calls
  with pytest.raises(ValueError, match='holds a run with other flags'):
    compared(tmp_path, run, seeds=1, overrides=['--config.train.steps=1'])


def test_runs_side_by_side_give_the_same_and_stop_where_one_fails(tmp_path):
  meeting = threading.Barrier(2, timeout=30)  # a run that is alone breaks it

  class Pairs(Runner):
    def __call__(self, flags, log):
      meeting.wait()
      return super().__call__(flags, log)

  ways = {name: comparison.ways(CONFIGS, 'shapes')[name] for name in ('supervised only', 'GAN, semi')}
  given = {'subsets': ['strong:4', 'strong:16'], 'seeds': 2}
  together = comparison.compare(ways, tmp_path / 'a', jobs=2, run=Pairs(), **given)
  assert together == comparison.compare(ways, tmp_path / 'b', run=Runner(), **given)
  run = Runner(fails='config.seed=0')
  with pytest.raises(ValueError, match='a run failed'):
    comparison.compare(ways, tmp_path / 'c', run=run, **{**given, 'seeds': 9})
  assert len(run.calls) == 1


def test_datasets_without_background_leave_out_what_needs_one():
  assert comparison.ways(CONFIGS, 'camvid').keys() == {'supervised only', 'GAN, semi'}
  assert comparison.ways(CONFIGS, 'voc').keys() == comparison.ways(CONFIGS, 'shapes').keys()
  with pytest.raises(ValueError, match='no gan_supervised_isbi.py .* can be: camvid, shapes, voc'):
    comparison.ways(CONFIGS, 'isbi')


def test_table_by_hand():
  text = comparison.table({'a': {'strong:4': [0.1, 0.2, 0.3]}, 'b': {'tags': [0.5], 'strong:4': [0.25]}})
  lines = text.splitlines()
  assert lines[:4] == [
    '| | strong:4 | tags |',
    '|---|---|---|',
    '| a | 20.0 ± 10.0 |  |',
    '| b | 25.0 | 50.0 |',
  ]
  assert 'over 3 seeds' in lines[-1]


def test_curves_are_drawn_or_say_what_to_install(tmp_path, monkeypatch):
  scores = {'a': {'strong:4': [0.1, 0.2]}, 'b': {'tags': [0.5, 0.4], 'strong:4': [0.25, 0.3]}}
  with monkeypatch.context() as patched:
    patched.setitem(sys.modules, 'matplotlib', None)
    with pytest.raises(ValueError, match='pip install'):
      comparison.plot(scores, tmp_path / 'a.png')
  pytest.importorskip('matplotlib')
  comparison.plot(scores, tmp_path / 'b.png')
  assert (tmp_path / 'b.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    ((), '--workdir is missing'),
    (('--workdir=W', '--seeds=0'), 'at least 1 of each'),
    (('--workdir=W', '--jobs=0'), 'at least 1 of each'),
    (('--workdir=W', '--ways=decoupled,magic'), 'are: supervised only, decoupled, GAN semi, GAN weak'),
    (('--workdir=W', '--dataset=isbi'), 'can be: camvid, shapes, voc'),
  ],
)
def test_the_door_refuses_in_one_line(tmp_path, flags, message):
  flags = [flag.replace('=W', f'={tmp_path}') for flag in flags]
  done = subprocess.run(
    [sys.executable, '-m', 'jseg.compare', f'--configs={CONFIGS}', *flags], env=runs.environment(),
    capture_output=True, text=True, check=False,
  )  # fmt: skip
  assert done.returncode == 2 and re.search(message, done.stderr) and done.stderr.count('\n') == 1
