"""Measures a config: images a second in training and evaluation, compilation, memory, the data pipeline.

  python -m jseg.benchmark --config=configs/unet_shapes.py
  python -m jseg.benchmark --config=configs/segnet_basic_camvid.py --size=360,480 --batch_size=1 --what=train
  python -m jseg.benchmark --config=configs/unet_camvid.py --size=176,240 --batch_size=2 --reference=torch

The steps are those of a run, on random images and labels, or instances; with --reference=torch the same
network in eager PyTorch, from the same weights, takes turns with ours, and both optimise by plain SGD. Prints
a table and, last, the same figures as one line of JSON.
"""

import contextlib
import functools
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from jseg.convert import torch_twins
from jseg.engine import parallel, resolve, workdirs
from jseg.ops import preprocess
from jseg.typing import Batch, Config

PARTS = ('train', 'eval', 'data')

_CONFIG = config_flags.DEFINE_config_file('config', None, 'A file of configs/, and overrides.')
_WHAT = flags.DEFINE_list('what', 'train,eval', f'What to measure, of: {", ".join(PARTS)}.')
_BATCH_SIZE = flags.DEFINE_integer('batch_size', 0, "Global, in images; 0: the config's.")
_SIZE = flags.DEFINE_list('size', '', "height,width in pixels; empty: the config's crop, or its first image.")
_REPEATS = flags.DEFINE_integer(
  'repeats', 5, 'Timed steps of each kind in each of two rounds; each begins with one that is not timed.'
)
_REFERENCE = flags.DEFINE_enum('reference', '', ['', 'torch'], 'What to time beside ours, in turns.')

Step = Callable[[], float]  # runs one step to its end; the loss of a training step, otherwise 0


def measure(
  config: Config,
  *,
  what: Sequence[str] = ('train', 'eval'),
  batch_size: int = 0,
  size: tuple[int, ...] = (),
  repeats: int = 5,
  reference: str = '',
) -> dict[str, Any]:
  """The figures of a config, as they are printed.

  Args:
    config: of a run.
    what: some of PARTS.
    batch_size: global, in images; 0: the config's.
    size: (height, width) in pixels; (): the config's crop, or else its first image's size.
    repeats: timed steps of each kind in each of two rounds; batches of the data pipeline.
    reference: 'torch', or ''.

  Returns:
    What was measured with: model, size, batch_size, device, devices, jax. Then for each part of `what` a dict
    with milliseconds of a step (or batch): min_ms, median_ms, images_per_s (of the median); for steps also
    compile_s and XLA's memory plan of one device in MiB; with a reference torch_min_ms, torch_median_ms and
    ratio, which is ours to torch's median; training also gives the first loss of either side.

  Raises:
    ValueError: an option is out of range, or the config is at fault.
  """
  unknown = sorted(set(what) - set(PARTS))
  if unknown or not what:
    raise ValueError(f'--what names {", ".join(unknown) or "nothing"}; there are: {", ".join(PARTS)}')
  if repeats < 1:
    raise ValueError(f'--repeats is {repeats}; it must be at least 1')
  config = ml_collections.ConfigDict(config).unlock()
  config.data.batch_size = batch_size or config.data.batch_size
  parallel.check_batch(config.data.batch_size, '--batch_size' if batch_size else 'data.batch_size')
  if reference:
    _plain_sgd(config)
  height, width = _size(config, size)
  shape = (height, width, 3)
  report: dict[str, Any] = {
    'model': config.model.name,
    'size': shape[:2],
    'batch_size': config.data.batch_size,
    'device': jax.devices()[0].device_kind,
    'devices': jax.device_count(),
    'jax': jax.__version__,
  }
  if 'train' in what or 'eval' in what:
    report |= _steps(config, shape, what, repeats, reference)
  if 'data' in what:
    report['data'] = _data(config, repeats)
  return report


def _plain_sgd(config: Config) -> None:
  """What both sides can do: SGD with momentum at a constant rate, one batch a step, no averaging."""
  optim = config.optim
  optim.name, optim.schedule, optim.warmup, optim.nesterov = 'sgd', 'constant', 0, False
  optim.groups, optim.accumulate, optim.ema = (), 1, 0.0


def _size(config: Config, size: tuple[int, ...]) -> tuple[int, ...]:
  if size and (len(size) != 2 or min(size) < 1):
    raise ValueError(f'--size is {",".join(map(str, size))}; it must be height,width in pixels')
  return size or resolve.measuring(config).image_size(config) or _source(config)[0]['image'].shape[:2]


def _source(config: Config) -> Any:
  return resolve.train_source(config)


def _steps(
  config: Config,
  shape: tuple[int, int, int],
  what: Sequence[str],
  repeats: int,
  reference: str,
) -> dict[str, Any]:
  """The report's 'train' and 'eval'."""
  spec = resolve.training_spec(config)
  task = resolve.task(config, spec, shape)
  # Rows of this process; every process measures its own share of the global batch.
  rows = config.data.batch_size // jax.process_count()
  batch = resolve.measuring(config).random_batch(config, rows, shape, spec.num_classes)
  init = jax.jit(lambda key: task.init(key, shape), compiler_options={'xla_backend_optimization_level': 0})
  host = jax.device_get(init(jax.random.key(config.seed)))
  theirs = _torch_steps(config, spec, host.params, batch) if reference else {}
  ours: dict[str, tuple[Step, dict[str, float]]] = {}
  if 'train' in what:
    ours['train'] = _train_step(task.train_step, host, batch, jax.random.key(config.seed))
  if 'eval' in what:
    ours['eval'] = _eval_step(task.eval_step, host, batch)
  report = {}
  for part, (step, facts) in ours.items():
    sides = {'': step} | ({'torch_': theirs[part]} if part in theirs else {})
    first, times = _in_turns(sides, repeats)
    report[part] = facts | _figures(times, config.data.batch_size)
    if part == 'train':
      report[part] |= {f'{side}loss': loss for side, loss in first.items()}
  return report


def _train_step(
  train_step: Callable, host: Any, batch: Batch, key: jax.Array
) -> tuple[Step, dict[str, float]]:
  """The compiled training step of a run as the loop calls it, its state kept between calls."""
  state, sharded = parallel.replicate(host), parallel.shard(batch)
  compiled, facts = _compiled(parallel.pmapped_train(train_step), state, sharded, key)

  def step() -> float:
    nonlocal state
    state, sums = jax.block_until_ready(compiled(state, sharded, key))
    total, count = (x.addressable_shards[0].data[0] for x in sums['loss'])
    return float(total / count)

  return step, facts


def _eval_step(eval_step: Callable, host: Any, batch: Batch) -> tuple[Step, dict[str, float]]:
  state, sharded = parallel.replicate(host), parallel.shard(batch)
  compiled, facts = _compiled(parallel.pmapped(eval_step), state, sharded)

  def step() -> float:
    jax.block_until_ready(compiled(state, sharded))
    return 0.0

  return step, facts


def _compiled(function: Any, *args) -> tuple[Callable, dict[str, float]]:
  """The function compiled for these arguments, with the seconds that took and its memory in MiB."""
  begin = time.perf_counter()
  compiled = function.lower(*args).compile()
  facts = {'compile_s': time.perf_counter() - begin}
  plan = compiled.memory_analysis()
  if plan is not None:  # not every backend gives one
    used = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    facts['memory_mib'] = (used + plan.temp_size_in_bytes) / 2**20
    facts['temporary_mib'] = plan.temp_size_in_bytes / 2**20
  return compiled, facts


def _torch_steps(config: Config, spec: Any, params: Any, batch: Batch) -> dict[str, Step]:
  """The twin's training and evaluation step on the same batch; none, and a line that says so, without torch.

  Its images are preprocessed beforehand, and the optimiser has no per-parameter rates.
  """
  if importlib.util.find_spec('torch') is None:
    print('jseg.benchmark: torch is not installed here, so there is no reference', file=sys.stderr)
    return {}
  import torch

  torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count())
  optim, chosen = config.optim, resolve.options(config.task)
  rule = chosen['preprocess'] if 'preprocess' in chosen else 'unit'
  weights = chosen['class_weights'] if 'class_weights' in chosen else 'none'
  defaults = resolve.defaults('model', config.model.name)
  module = torch_twins.make(config.model.name, 3, spec.num_classes, resolve.options(config.model), defaults)
  twin = torch_twins.twin(
    module,
    lr=optim.lr,
    momentum=optim.momentum,
    weight_decay=optim.weight_decay,
    class_weights=tuple(spec.class_weights(weights)),
    losses=chosen['losses'] if 'losses' in chosen else (('logits', 1.0),),
  )
  twin.load(params)
  image, labels = np.array(preprocess.preprocess(batch['image'], rule)), batch['labels']

  def evaluate() -> float:
    twin.eval_step(image, labels)
    return 0.0

  return {'train': lambda: twin.train_step(image, labels), 'eval': evaluate}


def _in_turns(steps: Mapping[str, Step], repeats: int) -> tuple[dict[str, float], dict[str, list[float]]]:
  """First losses, and milliseconds of two rounds of `repeats` further steps of each.

  Each side has its steps in one go, after one that is not timed: changing sides at every step would time how
  the system finds memory for one after the other has let go of it (a third of a U-Net step).
  """
  first = {name: step() for name, step in steps.items()}
  times: dict[str, list[float]] = {name: [] for name in steps}
  for _ in range(2):
    for name, step in steps.items():
      step()
      for _ in range(repeats):
        begin = time.perf_counter()
        step()
        times[name].append((time.perf_counter() - begin) * 1e3)
  return first, times


def _figures(times: Mapping[str, list[float]], batch_size: int) -> dict[str, float]:
  figures = {}
  for side, values in times.items():
    median = statistics.median(values)
    figures |= {
      f'{side}min_ms': min(values),
      f'{side}median_ms': median,
      f'{side}images_per_s': 1e3 * batch_size / median,
    }
  if 'torch_median_ms' in figures:
    figures['ratio'] = figures['median_ms'] / figures['torch_median_ms']
  return figures


def _data(config: Config, repeats: int) -> dict[str, float]:
  """The pipeline alone, at the config's own crop: reading, augmenting and batching, `repeats` batches."""
  batches = resolve.measuring(config).feed(config, _source(config)).batches(0)
  with contextlib.closing(batches):
    # What was read ahead while nobody waited says nothing about the rate.
    for _ in range(1 + -(-config.data.prefetch // config.data.batch_size)):
      next(batches)
    times = []
    for _ in range(repeats):
      begin = time.perf_counter()
      next(batches)
      times.append((time.perf_counter() - begin) * 1e3)
  total = sum(times)
  rate = 1e3 * repeats * config.data.batch_size / total if total else float('inf')
  return {'min_ms': min(times), 'median_ms': statistics.median(times), 'images_per_s': rate}


def table(report: Mapping[str, Any]) -> str:
  """The report for reading: a head line, then one line of figures for each part."""
  height, width = report['size']
  lines = [
    f'{report["model"]}, {report["batch_size"]} images of {height}x{width}, {report["devices"]} x '
    f'{report["device"]}, jax {report["jax"]}'
  ]
  names = [
    ('min ms', 'min_ms', '.1f'),
    ('median ms', 'median_ms', '.1f'),
    ('images/s', 'images_per_s', '.2f'),
    ('torch min', 'torch_min_ms', '.1f'),
    ('torch median', 'torch_median_ms', '.1f'),
    ('ours/torch', 'ratio', '.2f'),
    ('compile s', 'compile_s', '.1f'),
    ('memory MiB', 'memory_mib', '.0f'),
  ]
  parts = [part for part in PARTS if part in report]
  names = [row for row in names if any(row[1] in report[part] for part in parts)]
  lines.append('  '.join([f'{"":5}', *(f'{head:>12}' for head, _, _ in names)]))
  for part in parts:
    cells = [format(report[part][key], spec) if key in report[part] else '' for _, key, spec in names]
    lines.append('  '.join([f'{part:5}', *(f'{cell:>12}' for cell in cells)]))
  if 'train' in report and 'torch_loss' in report['train']:
    lines.append(f'first loss {report["train"]["loss"]:.6f}, torch {report["train"]["torch_loss"]:.6f}')
  return '\n'.join(lines)


def main(_: Sequence[str]) -> None:
  """Measures and prints; bad input is one line on stderr and exit status 2."""
  try:
    _run()
  except (ValueError, OSError) as error:
    workdirs.fail('jseg.benchmark', error)


def _run() -> None:
  if _CONFIG.value is None:
    raise ValueError('--config is missing: name a file of configs/')
  report = measure(
    _CONFIG.value,
    what=_WHAT.value,
    batch_size=_BATCH_SIZE.value,
    size=workdirs.parse_size(_SIZE.value),
    repeats=_REPEATS.value,
    reference=_REFERENCE.value,
  )
  print(table(report))
  print(json.dumps(report))


if __name__ == '__main__':
  app.run(main, flags_parser=functools.partial(workdirs.parse_flags, 'jseg.benchmark'))
