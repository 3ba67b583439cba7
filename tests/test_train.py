"""The train loop: what a run writes, that it goes on exactly where it stopped, and how it refuses."""

import contextlib
import json
import random
import subprocess
import time

import numpy as np
import pytest
import runs

from jseg.engine import checkpoint, evaluate, meter, train, weights, workdirs


def test_a_run_writes_what_it_promises(tmp_path):
  scores = train.train(runs.tiny(steps=3), tmp_path)
  assert 0 <= scores['mean_iu'] <= 1
  lines = runs.scalars(tmp_path)
  assert [line['step'] for line in lines] == [1, 2, 3]
  for name in ('loss', 'mean_iu', 'learning_rate', 'images_per_second', 'data_wait', 'grad_norm/all'):
    assert np.isfinite(lines[-1][name]), name
  result = json.loads((tmp_path / 'results' / 'val-3.json').read_text())
  assert result['scores'] == scores
  assert result['protocol']['split'] == 'val' and result['protocol']['images'] == 8
  assert len(list((tmp_path / 'overlays').rglob('*.png'))) == 1
  assert list(tmp_path.rglob('events.out.tfevents.*'))
  assert checkpoint.restore_params(tmp_path)[2]['step'] == 3
  assert workdirs.get_config(str(tmp_path)).train.steps == 3


def test_stopping_and_going_on_changes_no_bit(tmp_path):
  whole, broken = tmp_path / 'whole', tmp_path / 'broken'
  changes = {'optim.ema': 0.9, 'optim.name': 'adam', 'augment.flip': True}
  train.train(runs.tiny(steps=4, **changes), whole)
  train.train(runs.tiny(steps=2, **changes), broken)
  train.train(runs.tiny(steps=4, **changes), broken)
  runs.assert_same(whole, broken)
  assert [line['loss'] for line in runs.scalars(whole)] == [line['loss'] for line in runs.scalars(broken)]


@pytest.mark.slow
def test_kill_9_changes_no_bit(tmp_path):
  whole, broken = tmp_path / 'whole', tmp_path / 'broken'
  flags = ('--config.train.steps=40', '--config.train.save_every=3', '--config.eval.every=10')
  assert runs.run(whole, *flags).returncode == 0
  rng, kills = random.Random(0), 0
  while kills < 3:
    process = subprocess.Popen(
      runs.command(broken, *flags), cwd=runs.REPO, env=runs.environment(), stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wanted = (_step(broken) or 0) + rng.randint(3, 9)
    while process.poll() is None and (_step(broken) or 0) < wanted:
      time.sleep(0.02)
    time.sleep(rng.random() * 0.2)
    assert process.poll() is None, 'the run ended before it could be killed: make it longer'
    process.kill()
    process.wait()
    kills += 1
  final = runs.run(broken, *flags)
  assert final.returncode == 0, final.stderr
  runs.assert_same(whole, broken)
  for split in ('train', 'val'):
    steps = [[(line['step'], line['mean_iu']) for line in runs.scalars(w, split)] for w in (whole, broken)]
    assert steps[0] == steps[1]


def _step(workdir):
  if not (workdir / 'metrics.jsonl').exists():
    return None
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return json.loads(lines[-1])['step'] if lines else None


def test_evaluation_of_a_checkpoint_repeats_the_figure(tmp_path):
  scores = train.train(runs.tiny(steps=2), tmp_path)
  again = evaluate.run(workdirs.get_config(str(tmp_path)), tmp_path, 'latest')
  assert again.scores == scores


def test_recalibrated_statistics_are_kept_and_do_not_disturb_training(tmp_path):
  plain, estimated = tmp_path / 'plain', tmp_path / 'estimated'
  train.train(runs.tiny(steps=2), plain)
  train.train(runs.tiny(steps=2, **{'train.recalibrate': 2}), estimated)
  first, second = (checkpoint.restore_params(path, averaged=False) for path in (plain, estimated))
  np.testing.assert_array_equal(first[0]['score']['kernel'], second[0]['score']['kernel'])
  means = [found[1]['batch_stats']['down0']['norm1']['bn']['mean'] for found in (first, second)]
  assert np.abs(means[0] - means[1]).max() > 1e-3


def test_a_loss_that_is_not_finite_stops_and_names_the_images(tmp_path):
  # A rate this large makes the weights overflow; the run stops within the step and saves nothing of it.
  config = runs.tiny(steps=50, **{'optim.lr': 1e30, 'optim.name': 'sgd', 'train.save_every': 1})
  with pytest.raises(meter.NonFiniteError, match=r'at step \d+ .*train.*last checkpoint is') as caught:
    train.train(config, tmp_path)
  assert '\n' not in str(caught.value)
  params = checkpoint.restore_params(tmp_path)[0]
  assert np.isfinite(params['score']['kernel']).all()


def test_init_from_reports_every_array(tmp_path):
  train.train(runs.tiny(steps=1), tmp_path / 'first')
  with contextlib.ExitStack() as stack:
    _, state = train.prepare(runs.tiny(steps=1), tmp_path / 'second', stack)
  smaller = dict(
    state.params, score={'kernel': np.ones((1, 1, 4, 3)), 'bias': np.zeros(3)}, extra={'bias': np.ones(2)}
  )
  del smaller['down0']
  merged, report = weights.init_from(str(tmp_path / 'first'), state.replace(params=smaller))
  text = '\n'.join(report)
  assert 're-initialised params/score/kernel: (1, 1, 4, 7) there, (1, 1, 4, 3) here' in text
  assert 're-initialised params/extra/bias: not in the checkpoint' in text
  assert 'unused params/down0/conv1/kernel' in text
  np.testing.assert_array_equal(merged.params['score']['kernel'], 1)
  there = checkpoint.restore_params(tmp_path / 'first', averaged=False)[0]
  np.testing.assert_array_equal(merged.params['up0']['conv1']['kernel'], there['up0']['conv1']['kernel'])


@pytest.mark.parametrize(
  'changes,message',
  [
    ({'data.batch_size': 12}, 'data.batch_size is 12, .* 8 devices; the nearest that does is'),
    ({'optim.accumulate': 2}, 'optim.accumulate is 2; it must divide the 1 images'),
    ({'model.name': 'unett'}, r"model.name 'unett' is unknown \(did you mean unet\?\); there are: "),
    ({'data.name': 'camvit'}, r"data.name 'camvit' is unknown \(did you mean camvid\?\)"),
    ({'task.name': 'losses'}, "task.name 'losses' is unknown"),
    ({'optim.name': 'sdg'}, 'sgd'),
    ({'optim.schedule': 'cosinus'}, 'cosine'),
    ({'resume': 'always'}, 'auto, must, never'),
    ({'resume': 'must'}, 'holds no checkpoint'),
    ({'eval.split': 'valid'}, 'valid'),
    ({'model.depth': 8}, 'too small'),
    ({'augment.flip': True, 'augment.scale': (2.0, 1.0)}, 'least'),
  ],
)
def test_bad_input_is_one_line_before_anything_is_written(tmp_path, changes, message):
  config = runs.tiny()
  config.update_from_flattened_dict(changes)
  with pytest.raises(ValueError, match=message) as caught:
    train.train(config, tmp_path)
  assert '\n' not in str(caught.value)
  assert not (tmp_path / 'config.json').exists()


def test_another_network_is_refused_and_nothing_is_lost(tmp_path):
  train.train(runs.tiny(steps=1), tmp_path)
  with pytest.raises(ValueError, match='another network'):
    train.train(runs.tiny(steps=2, **{'model.width': 8}), tmp_path)
  with pytest.raises(ValueError, match="resume is 'never'"):
    train.train(runs.tiny(steps=2, resume='never'), tmp_path)
  assert checkpoint.restore_params(tmp_path)[2]['step'] == 1


def test_doors_answer_in_one_line(tmp_path):
  blocked = tmp_path / 'file'
  blocked.write_text('')
  cases = {
    (str(blocked),): 'cannot be written to',
    (str(tmp_path / 'a'), '--config.optim.lrr=1'): "no key 'lrr'; did you mean 'lr'?",
    (str(tmp_path / 'a'), '--config.train.steps=many'): 'steps',
    (
      str(tmp_path / 'a'),
      '--config.model.name=none',
    ): 'there are: deconvnet, decouplednet, enet, fc_densenet',
  }
  for (workdir, *flags), message in cases.items():
    done = runs.run(workdir, *flags)
    assert done.returncode == 2, done.stderr
    assert 'Traceback' not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('jseg.main: error: ') and message in last, last
