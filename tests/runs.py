"""Tiny runs for the tests of the engine: a config, a subprocess, what is in a workdir."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np

from configs import unet_shapes

REPO = pathlib.Path(__file__).resolve().parent.parent
OVERRIDES = (
  '--config.model.width=4', '--config.model.depth=2', '--config.data.options.size=32',
  '--config.data.crop=(16,16)', '--config.train.log_every=1', '--config.optim.schedule=constant',
  '--config.eval.overlays=1',
)  # fmt: skip


def tiny(steps=3, **changes):
  """The quick start's config, shrunk until a step takes milliseconds; changes: {'optim.lr': 0.1, ...}."""
  config = unet_shapes.get_config('quick')
  config.model.width, config.model.depth = 4, 2
  config.data.options.size, config.data.crop = 32, (16, 16)
  config.optim.schedule = 'constant'
  config.eval.overlays, config.train.steps = 1, steps
  for key, value in changes.items():
    config.update_from_flattened_dict({key: value})
  return config


def environment(devices=1):
  """For a process with this many fake devices; no flags of the test process leak into it."""
  kept = {k: v for k, v in os.environ.items() if not k.startswith(('JAX_', 'XLA_', 'JSEG_'))}
  return kept | {
    'JAX_PLATFORMS': 'cpu',
    'JAX_NUM_CPU_DEVICES': str(devices),
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',  # a few steps run slower, and compile in two thirds of the time
    'NPROC': '32',
    'PYTHONPATH': str(REPO),
    'JSEG_DEVICES_PER_PROCESS': str(devices),
  }


def command(workdir, *flags, mode='train'):
  """The command line of a tiny run."""
  config = [] if mode == 'evaluate' else [f'--config={REPO}/configs/unet_shapes.py:quick', *OVERRIDES]
  return [sys.executable, '-m', 'jseg.main', *config, f'--workdir={workdir}', f'--mode={mode}', *flags]


def run(workdir, *flags, mode='train', devices=1):
  """Runs it to its end; returns the finished process with its output."""
  return subprocess.run(
    command(workdir, *flags, mode=mode), cwd=REPO, env=environment(devices), capture_output=True, text=True,
    timeout=600, check=False,
  )  # fmt: skip


def quickly(function, *args):
  """function(*args) of a jitted or pmapped function, compiled without optimisation: it runs once or twice."""
  return function.lower(*args).compile(compiler_options={'xla_backend_optimization_level': 0})(*args)


def scalars(workdir, split='train'):
  """The lines of metrics.jsonl of one split."""
  lines = (pathlib.Path(workdir) / 'metrics.jsonl').read_text().splitlines()
  return [line for line in map(json.loads, lines) if line['split'] == split]


def assert_same(first, second):
  """Two checkpoints' arrays are equal bit by bit."""
  from jseg.engine import checkpoint

  trees = [checkpoint.restore_params(path, 'latest', averaged=False)[:2] for path in (first, second)]
  leaves = [dict(_flat(tree)) for tree in trees]
  assert leaves[0].keys() == leaves[1].keys() and leaves[0]
  for name, value in leaves[0].items():
    np.testing.assert_array_equal(value, leaves[1][name], err_msg=name)


def _flat(tree):
  import jax

  return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
