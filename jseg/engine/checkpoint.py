"""Checkpoints that prove themselves: Orbax underneath, a manifest of sha256 sums on top.

Orbax commits a step atomically but restores flipped bits without a word, and still names a truncated step
as the latest. Here every finished step gets a manifest, written last; what differs from its manifest, or
has none (a save that was killed), is never restored: the newest good step is, and one line says so.

  <folder>/<step>/state             arrays: a flat {path: array}, path as in 'params/conv1/kernel'
  <folder>/<step>/meta              JSON: the caller's meta, the value, the best so far, the list of arrays
  <folder>/<step>/manifest.sha256   readable by `sha256sum -c`; its first line binds it to the step
  <folder>/<step>.damaged           a step set aside: out of the way, never deleted

All processes must share the folder and call `save` and `restore` together.
"""

import concurrent.futures
import json
import logging as std_logging
import math
import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers

from jseg.engine import manifest, paths

FOLDER = 'checkpoints'  # in a workdir


class CheckpointError(ValueError):
  """There are checkpoints, but none that can be trusted."""


class Checkpoints:
  """The checkpoints of one training run: asynchronous saves, the newest `keep` and the best one kept.

  A failed save never ends the run: it becomes a message of `poll`, and the next save starts afresh.
  """

  def __init__(self, directory: str | pathlib.Path, *, keep: int = 2):
    """Opens the folder; removes leftovers of killed saves and sets damaged steps aside.

    Args:
      directory: made if missing; shared by all processes.
      keep: the newest steps kept beside the best one; at least 2, so that one is always proven.

    Raises:
      ValueError: `keep` is less than 2, or the folder cannot be written.
    """
    if keep < 2:
      raise ValueError(f'checkpoints kept must be at least 2, so that a killed save leaves one; got {keep}')
    self.directory = pathlib.Path(directory).absolute()
    self.best: tuple[float, int] | None = None  # value and step
    self._keep = keep
    self._messages: list[str] = []
    self._pending: tuple[int, concurrent.futures.Future] | None = None
    self._before = self.best  # the best but for the save that is under way
    self._sealer = concurrent.futures.ThreadPoolExecutor(1, 'checkpoint')
    logging.get_absl_logger().addFilter(_not_orbax)
    manifest.require_writable(self.directory)
    self._manager: ocp.CheckpointManager | None = None
    self._open()

  def save(self, step: int, state: Any, meta: dict[str, Any], value: float | None = None) -> None:
    """Starts saving in the background; waits for the save before it, if that is still under way.

    A step that exists already is left alone, or replaced if there is a value now.

    Args:
      step: the number of updates done.
      state: a pytree of host arrays.
      meta: JSON values, given back by `restore`.
      value: what 'best' goes by, higher is better; None or not finite: this step cannot be the best.

    Raises:
      TypeError: `meta` is not JSON.
    """
    json.dumps(meta)
    self.wait()
    if _any_process(self._manager is None):
      self._open()
    if _any_process(self._manager is None):
      return
    manager = self._manager
    assert manager is not None
    value = None if value is None or not math.isfinite(value) else float(value)
    self._before = self.best
    if value is not None and (self.best is None or value > self.best[0]):
      self.best = (value, step)
    arrays = {name: np.asarray(leaf) for name, leaf in paths.flatten(state).items()}
    record = {'meta': meta, 'value': value, 'best': self.best, 'arrays': paths.listing(arrays)}
    try:
      if step in manager.all_steps():
        if value is None:
          return
        manager.delete(step)
      manager.save(
        step,
        args=ocp.args.Composite(
          # Orbax refuses arrays of no elements; the listing is enough to make them again.
          state=ocp.args.StandardSave({k: v for k, v in arrays.items() if v.size}),
          meta=ocp.args.JsonSave(record),
        ),
        metrics={'value': value},
        force=True,
      )
    except Exception as error:  # storage throws what it likes: OSError, TensorStore's, Orbax's own
      self._fail(step, error)
      return
    self._pending = (step, self._sealer.submit(_seal, manager, self.directory / str(step), step))

  def poll(self) -> list[str]:
    """What went wrong since the last call, one line each; call it every step, it costs nothing."""
    if self._pending is not None and self._pending[1].done():
      self.wait()
    messages, self._messages = self._messages, []
    return messages

  def wait(self) -> None:
    """Blocks until the save under way is on disk and has its manifest; errors go to `poll`."""
    if self._pending is None:
      return
    (step, future), self._pending = self._pending, None
    try:
      future.result()
    except Exception as error:
      self._fail(step, error)

  def close(self) -> None:
    """Waits, then lets go of the folder; ask `poll` once more afterwards."""
    self.wait()
    self._drop()
    self._sealer.shutdown()

  def steps(self) -> list[int]:
    """The steps on disk that have a manifest, ascending."""
    return [step for step in manifest.steps(self.directory) if manifest.exists(self.directory / str(step))]

  def latest_step(self) -> int | None:
    """The newest of `steps`, None if there is none."""
    return max(self.steps(), default=None)

  def restore(self, template: Any, which: str = 'latest') -> tuple[Any, dict[str, Any]] | None:
    """Reads the newest good step, or the best good one; damaged ones are set aside with a line in the log.

    Args:
      template: a pytree of arrays or shapes (jax.eval_shape), as the state that was saved.
      which: latest | best.

    Returns:
      The state, as host arrays in the form of `template`, and the meta; None if nothing was ever saved.

    Raises:
      CheckpointError: there are checkpoints, but all are damaged.
      ValueError: the checkpoint is of another network.
    """
    self.wait()
    good, bad = manifest.survey(self.directory, stop=which == 'latest')
    if _any_process(bool(bad)):
      self._drop()
      self._open()  # tidies up, and says so
    folder = _choose(self.directory, good, which)
    _require_agreement(folder)
    if folder is None:
      if bad or manifest.damaged(self.directory):
        raise CheckpointError(
          f'all checkpoints in {self.directory} are damaged; remove the folder to start anew'
        )
      return None
    record = _read_record(folder)
    difference = paths.difference(paths.listing(paths.flatten(template)), record['arrays'])
    if difference:
      raise ValueError(
        f'checkpoint {folder} is of another network: {difference}; take the config it was trained with, '
        'another --workdir, or config.init_from to load what fits'
      )
    arrays = _read_arrays(folder, record['arrays'])
    self.best = tuple(record['best']) if record['best'] else None
    return paths.unflatten(template, arrays), record['meta']

  def _fail(self, step: int, error: BaseException) -> None:
    reason = ' '.join(str(error).split())[:200] or type(error).__name__
    self._messages.append(f'checkpoint of step {step} was not saved ({reason}); the run goes on without it')
    self.best = self._before
    self._drop()

  def _drop(self) -> None:
    """Lets the manager go: after a failed save its list names a step that is not there."""
    manager, self._manager = self._manager, None
    if manager is not None:
      try:
        manager.close()
      except Exception as error:  # the same failure once more, or its consequence; it has been reported
        logging.debug('closing checkpoints: %s', error)

  def _open(self) -> None:
    try:
      if jax.process_index() == 0:
        self.directory.mkdir(parents=True, exist_ok=True)
        manifest.tidy(self.directory)
    except OSError as error:
      self._messages.append(f'checkpoints cannot be written to {self.directory} ({error.strerror})')
    _barrier('checkpoints tidied')
    keep_latest = checkpoint_managers.LatestN(self._keep)
    keep_best = checkpoint_managers.BestN(get_metric_fn=_metric, n=1, keep_checkpoints_without_metrics=False)
    try:
      self._manager = ocp.CheckpointManager(
        self.directory,
        item_names=('state', 'meta'),
        options=ocp.CheckpointManagerOptions(
          # Otherwise a save that fails at once leaves threads waiting five minutes for its folder.
          async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
          best_fn=_metric,  # only so that values are written: what stays is the policy's business
          preservation_policy=checkpoint_managers.AnyPreservationPolicy([keep_latest, keep_best]),
        ),
      )
    except Exception as error:
      self._messages.append(
        f'checkpoints in {self.directory} cannot be opened ({" ".join(str(error).split())})'
      )


def restore_params(
  path: str | pathlib.Path, which: str = 'latest', *, averaged: bool = True
) -> tuple[Any, Any, dict[str, Any]]:
  """Reads only the weights, without knowing the network; changes nothing on disk.

  Args:
    path: a workdir, its checkpoints folder, or the folder of one step.
    which: latest | best; among several steps.
    averaged: take the averaged weights where the run kept some.

  Returns:
    params and model_state as nested dicts of host arrays, and the meta.

  Raises:
    CheckpointError: there are checkpoints, but all are damaged.
    ValueError: there is no checkpoint.
  """
  path = pathlib.Path(path).absolute()
  if (path / FOLDER).is_dir():
    path = path / FOLDER
  if path.name.isdigit() and not manifest.steps(path):
    reason = manifest.damage(path, int(path.name)) if path.is_dir() else 'no such folder'
    if reason:
      raise CheckpointError(f'checkpoint {path} cannot be used: {reason}')
    folder = path
  else:
    good, bad = manifest.survey(path, stop=which == 'latest')
    folder = _choose(path, good, which)
    for step, reason in bad.items():
      logging.warning(
        'checkpoint %s is damaged: %s; using step %s', path / str(step), reason, folder and folder.name
      )
    if folder is None and (bad or manifest.damaged(path)):
      raise CheckpointError(f'all checkpoints in {path} are damaged')
    if folder is None:
      raise ValueError(
        f'no checkpoint in {path}; give a workdir, its {FOLDER} folder or the folder of one step'
      )
  record = _read_record(folder)
  source = 'ema/' if averaged and any(n.startswith('ema/') for n in record['arrays']) else 'params/'
  wanted = {n: v for n, v in record['arrays'].items() if n.startswith((source, 'model_state/'))}
  arrays = _read_arrays(folder, wanted)
  params = paths.nest({n.removeprefix(source): v for n, v in arrays.items() if n.startswith(source)})
  state = {n.removeprefix('model_state/'): v for n, v in arrays.items() if n.startswith('model_state/')}
  return params, paths.nest(state), record['meta']


def _choose(directory: pathlib.Path, good: list[int], which: str) -> pathlib.Path | None:
  if which not in ('latest', 'best'):
    raise ValueError(f"checkpoint '{which}' is unknown; there are: latest, best")
  if which == 'best':
    good = sorted(good, key=lambda step: (_metric(_read_record(directory / str(step))), step))
  return directory / str(good[-1]) if good else None


def _not_orbax(record: std_logging.LogRecord) -> bool:
  """Orbax tells every save, and a failed one by pages of traceback; `poll` has it in a line."""
  return 'orbax' not in record.pathname


def _metric(metrics: dict[str, Any]) -> float:
  return -math.inf if metrics['value'] is None else metrics['value']


def _seal(manager: ocp.CheckpointManager, folder: pathlib.Path, step: int) -> None:
  manager.wait_until_finished()
  if jax.process_index() == 0:
    manifest.write(folder, step)


def _read_record(folder: pathlib.Path) -> dict[str, Any]:
  return json.loads((folder / 'meta' / 'metadata').read_text())


def _read_arrays(folder: pathlib.Path, listing: paths.Listing) -> dict[str, np.ndarray]:
  arrays = {name: np.zeros(shape, np.dtype(dtype)) for name, (shape, dtype) in listing.items()}
  stored = {name: v for name, v in arrays.items() if v.size}
  with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
    read = reader.restore(
      folder / 'state',
      args=ocp.args.PyTreeRestore(
        item=stored,
        restore_args={name: ocp.RestoreArgs(restore_type=np.ndarray) for name in stored},
        partial_restore=True,
      ),
    )
  return arrays | read


def _any_process(flag: bool) -> bool:
  """True everywhere if it is anywhere: managers open and save in step, or they wait for ever."""
  if jax.process_count() == 1:
    return flag
  return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def _barrier(name: str) -> None:
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def _require_agreement(folder: pathlib.Path | None) -> None:
  if jax.process_count() == 1:
    return
  steps = multihost_utils.process_allgather(np.array(-1 if folder is None else int(folder.name)))
  if len(set(steps.tolist())) > 1:
    raise CheckpointError(
      f'processes see different checkpoints (steps {steps.tolist()}, -1 for none); '
      'the workdir must be on storage that all of them share'
    )
