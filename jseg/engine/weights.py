"""Starting from weights that exist: what was loaded, what was not, and why."""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from jseg.engine import checkpoint, resolve
from jseg.tasks.task import Task, TrainState
from jseg.typing import Config


def init_from(path: str, state: TrainState) -> tuple[TrainState, list[str]]:
  """A fresh state with every array of a checkpoint of ours that fits it by name and shape.

  Args:
    path: a workdir, its checkpoints folder, or one step's folder.
    state: as the task initialised it.

  Returns:
    (state, report): one line for all that was loaded, then one for each array that was re-initialised
    (not there, or of another shape: a head for other classes) or left unused.

  Raises:
    ValueError: there is no checkpoint, or not one array fits.
  """
  params, model_state, _ = checkpoint.restore_params(path)
  found = _flat({'params': params, 'model_state': model_state})
  wanted = _flat({'params': state.params, 'model_state': state.model_state})
  report, loaded = [], {}
  for name, value in wanted.items():
    if name not in found:
      report.append(f'  re-initialised {name}: not in the checkpoint')
    elif found[name].shape != value.shape:
      report.append(f'  re-initialised {name}: {found[name].shape} there, {value.shape} here')
    else:
      loaded[name] = np.asarray(found[name], value.dtype)
  if not loaded:
    raise ValueError(
      f"init_from '{path}': none of its {len(found)} arrays fits this network; is it another network's?"
    )
  report += [f'  unused {name}' for name in found if name not in wanted]

  def pick(key_path, value):
    return loaded.get(_name(key_path), value)

  merged = jax.tree_util.tree_map_with_path(pick, {'params': state.params, 'model_state': state.model_state})
  ema = jax.tree.map(np.array, merged['params']) if state.ema else {}
  head = f"init_from '{path}': loaded {len(loaded)} of {len(wanted)} arrays"
  state = dataclasses.replace(state, params=merged['params'], model_state=merged['model_state'], ema=ema)
  return state, [head, *report]


def trained(config: Config, workdir: pathlib.Path, which: str) -> tuple[Task, TrainState, dict[str, Any]]:
  """A run's task and weights (averaged ones where it kept some), to predict with but not to train on.

  Args:
    config: the one the run was trained with.
    workdir: of the run.
    which: 'best' or 'latest'.

  Returns:
    (task, state on the host, the checkpoint's meta: 'step' and 'image_shape').

  Raises:
    ValueError: there is no good checkpoint, or it is another network's.
  """
  params, model_state, meta = checkpoint.restore_params(workdir, which)
  shape = tuple(meta['image_shape'])
  task = resolve.task(config, resolve.spec(config), shape)
  template = jax.eval_shape(lambda key: task.init(key, shape), jax.random.key(0))
  found = _flat({'params': params, 'model_state': model_state})
  wanted = _flat({'params': template.params, 'model_state': template.model_state})
  for name in sorted(found.keys() | wanted.keys()):
    there, here = (tree[name].shape if name in tree else 'nothing' for tree in (found, wanted))
    if there != here:
      raise ValueError(
        f'the checkpoint in {workdir} is of another network: {name} is {there} there, {here} here; '
        'take the config it was trained with'
      )
  step = np.asarray(meta['step'], np.int32)
  state = TrainState(step=step, params=params, model_state=model_state, opt_state=(), ema=params)
  return task, state, meta


def _flat(tree: Any) -> dict[str, Any]:
  return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _name(path: tuple[Any, ...]) -> str:
  return '/'.join(str(p.key) for p in path)
