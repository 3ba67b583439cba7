"""The train loop. There is one: a new kind of training is a new Task.

Order matters: bad input first (nothing has been compiled or written yet), then restore, then steps. A
step's loss is looked at before anything that follows from it is saved.
"""

import contextlib
import dataclasses
import pathlib
from types import ModuleType
from typing import Any

import jax
import numpy as np
from absl import logging

from jseg.engine import checkpoint, evaluate, parallel, resolve, weights, workdirs, writers
from jseg.engine.meter import Meter
from jseg.tasks.task import Task, TrainState
from jseg.typing import Config


@dataclasses.dataclass
class Run:
  """A run that is ready to step: everything named by the config, found, checked and bound together."""

  config: Config
  workdir: pathlib.Path
  spec: Any
  source: Any
  task: Task
  evaluator: Any  # measure.Evaluator
  checkpoints: checkpoint.Checkpoints
  writers: writers.Writers
  measure: ModuleType
  feed: evaluate.Feed


def train(config: Config, workdir: pathlib.Path) -> dict[str, float]:
  """Trains to config.train.steps, resuming by itself, and returns the last evaluation's scores.

  Raises:
    ValueError: bad input, before anything compiles; NonFiniteError (a ValueError) during training.
  """
  with contextlib.ExitStack() as stack:
    run, state = prepare(config, workdir, stack)
    start = int(state.step)
    if parallel.is_lead():
      workdirs.keep(workdir, config, run.spec)
    if start >= config.train.steps:
      logging.info('already at step %d of %d: nothing to train', start, config.train.steps)
    return _loop(run, state, start)


def prepare(config: Config, workdir: pathlib.Path, stack: contextlib.ExitStack) -> tuple[Run, TrainState]:
  """Finds and checks everything; returns the run with its state on the host, restored or fresh.

  `stack` closes what was opened, also when a later check fails.
  """
  if config.resume not in ('auto', 'must', 'never'):
    raise ValueError(f"resume '{config.resume}' is unknown; there are: auto, must, never")
  parallel.check_batch(config.data.batch_size, 'data.batch_size')
  per_device = config.data.batch_size // jax.device_count()
  if config.optim.accumulate < 1 or per_device % config.optim.accumulate:
    raise ValueError(
      f'optim.accumulate is {config.optim.accumulate}; it must divide the {per_device} images of each device'
    )
  with resolve.opening(config):
    spec = resolve.training_spec(config)
    source = resolve.train_source(config)
    eval_source = resolve.source(config, config.eval.split)
  measure = resolve.measuring(config)
  feed = measure.feed(config, source)
  shape = feed.image_shape
  task = resolve.task(config, spec, shape)
  evaluator = measure.Evaluator(config, task, eval_source, spec)
  template = jax.eval_shape(lambda key: task.init(key, shape), jax.random.key(0))
  evaluator.check(template)
  if config.train.recalibrate and not template.model_state:
    raise ValueError(
      f"train.recalibrate is {config.train.recalibrate}, but '{config.model.name}' has no such statistics"
    )
  folder = workdir / checkpoint.FOLDER
  checkpoints = stack.enter_context(
    contextlib.closing(checkpoint.Checkpoints(folder, keep=config.train.keep))
  )
  state = _start(config, workdir, task, shape, template, checkpoints)
  out = stack.enter_context(
    contextlib.closing(writers.Writers(workdir, lead=parallel.is_lead(), start_step=int(state.step)))
  )
  return Run(config, workdir, spec, source, task, evaluator, checkpoints, out, measure, feed), state


def _start(
  config, workdir, task: Task, shape, template: TrainState, checkpoints: checkpoint.Checkpoints
) -> TrainState:
  """The state to begin with, by the config's `resume` and `init_from`."""
  if config.resume == 'never' and checkpoints.steps():
    raise ValueError(
      f"resume is 'never', but {workdir} holds step {checkpoints.latest_step()} of a run; name another"
    )
  restored = checkpoints.restore(template)
  if restored is not None:
    workdirs.require_classes(workdir, resolve.spec(config))
    logging.info('resuming at step %d', int(restored[0].step))
    return restored[0]
  if config.resume == 'must':
    raise ValueError(f"resume is 'must', but {workdir}/checkpoints holds no checkpoint")
  # Compiled without optimisation: it runs once, and compiling would take longer than the first steps.
  init = jax.jit(lambda key: task.init(key, shape), compiler_options={'xla_backend_optimization_level': 0})
  state = jax.device_get(init(jax.random.key(config.seed)))
  if config.init_from:
    spec = resolve.spec(config)
    state, report = weights.init_from(
      config.init_from,
      state,
      entry=weights.entry_kernels(task, shape, template),
      classes=spec.num_classes,
      ids=weights.owner_ids(spec),
      preprocess=resolve.preprocess(config),
    )
    for line in report:
      logging.info('%s', line)
  return state


def _loop(run: Run, host_state: TrainState, start: int) -> dict[str, float]:
  """Steps from `start` to the end; evaluates, saves and logs when due."""
  chosen, total = run.config.train, run.config.train.steps
  step_fn = parallel.pmapped_train(run.task.train_step)
  state = parallel.replicate(host_state)
  key = jax.random.key(run.config.seed)
  meter = Meter(run.config, run.task, run.source, run.checkpoints, run.writers)
  scores: dict[str, float] = {}
  sizes: set[tuple[int, ...]] = set()  # of images: each is a program of its own
  # On a CPU two steps in flight can starve each other's collectives, so each is awaited at once.
  lag = 0 if jax.default_backend() == 'cpu' else 1
  with contextlib.closing(run.feed.batches(start)) as batches:
    for step in range(start + 1, total + 1):
      batch = meter.waiting(lambda: next(batches))
      if batch['image'].shape not in sizes:
        sizes.add(batch['image'].shape)
        logging.info(
          'training on images of %s: program %d', 'x'.join(map(str, batch['image'].shape[1:-1])), len(sizes)
        )
      state, sums = step_fn(state, parallel.shard(batch), key)
      meter.add(step, sums, batch['index'])
      meter.settle(lag)
      _report_failed_saves(run)
      evaluating = step == total or (run.config.eval.every and step % run.config.eval.every == 0)
      saving = evaluating or step % chosen.save_every == 0
      if saving or step % chosen.log_every == 0:
        meter.settle(0)
      if step == total or step % chosen.log_every == 0:
        meter.report(step)
      if saving:
        with meter.paused():
          state, scores = _evaluate(run, state, step) if evaluating else (state, scores)
          _save(run, state, step, scores if evaluating else None)
  run.checkpoints.wait()
  _report_failed_saves(run)
  return scores


def _report_failed_saves(run: Run) -> None:
  for message in run.checkpoints.poll():
    logging.error('%s', message)


def _save(run: Run, state: TrainState, step: int, scores: dict[str, float] | None) -> None:
  value = None if scores is None else scores[run.task.best]
  meta = {'step': step, 'image_shape': list(run.feed.image_shape)}
  run.checkpoints.save(step, parallel.unreplicate(state), meta, value)


def _evaluate(run: Run, state: TrainState, step: int) -> tuple[TrainState, dict[str, float]]:
  """Scores of the state, after re-estimating its statistics if asked; writes table, result file, panels."""
  if run.config.train.recalibrate:
    state = _recalibrated(run, state, step)
  result = run.evaluator(state)
  if parallel.is_lead():
    path = run.measure.write(run.workdir, result, run.evaluator, step)
    host = parallel.unreplicate(state)
    panels = run.measure.overlays(run.workdir, run.evaluator, host)
    for number, panel in enumerate(panels):
      run.writers.panel(step, f'{run.config.eval.split}/{number}', panel)
    if run.task.pictures is not None:
      for name, picture in run.task.pictures(host, run.feed.image_shape).items():
        run.writers.panel(step, name, np.asarray(picture))
    run.writers.scalars(step, result.scores, split=run.config.eval.split)
    if step == run.config.train.steps:
      print(run.measure.table(result, run.spec))
      print(run.measure.whereabouts(path, result, step))
  return state, result.scores


def _recalibrated(run: Run, state: TrainState, step: int) -> TrainState:
  """The state with BatchNorm statistics averaged over whole training batches.

  Source: SegNet-Tutorial's compute_bn_statistics.py: one pass that averages batch means and (unbiased)
  batch variances. Training itself never reads running statistics, so it is not disturbed.
  """
  statistics = parallel.pmapped(run.task.statistics_step, extra=1)
  key = jax.random.key(run.config.seed)
  count, mean = run.config.train.recalibrate, None
  with contextlib.closing(run.feed.batches(step)) as batches:
    for _ in range(count):
      found = parallel.unreplicate(statistics(state, parallel.shard(next(batches)), key))
      part = jax.tree.map(lambda x: np.asarray(x, np.float64) / count, found)
      mean = part if mean is None else jax.tree.map(np.add, mean, part)
  as_before = jax.tree.map(lambda x, old: x.astype(old.dtype), mean, parallel.unreplicate(state.model_state))
  return dataclasses.replace(state, model_state=parallel.replicate(as_before))
