"""Devices and processes: the only file that knows a step runs on more than one.

pmap over a replicated state, donated; each process feeds its own devices with its rows of the global
batch. The unreplicated form (in_axes=None with donation) fails with several processes, the stacked form
works with both at the same speed.
"""

import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jseg.typing import AXIS, Batch


def initialise(coordinator: str, num_processes: int, process_id: int) -> None:
  """Joins the other processes of the run, if there are any; must come before any other use of jax.

  An explicit triple works everywhere. Without one: JSEG_COORDINATOR and JSEG_NUM_PROCESSES beside an
  indexed Kubernetes job's JOB_COMPLETION_INDEX; Slurm with more than one task; a TPU slice with more than
  one host. Otherwise the run is one process.

  Args:
    coordinator: host:port of process 0, '' when not given.
    num_processes: of the run, 0 when not given.
    process_id: this one's number, -1 when not given.

  Raises:
    ValueError: the triple is incomplete or contradicts itself.
  """
  given = (bool(coordinator), num_processes > 0, process_id >= 0)
  if any(given) and not all(given):
    raise ValueError(
      f"--coordinator='{coordinator}' --num_processes={num_processes} --process_id={process_id}: "
      'give all three (host:port of process 0, how many, which one), or none'
    )
  if all(given):
    if process_id >= num_processes:
      raise ValueError(f'--process_id={process_id} must be below --num_processes={num_processes}')
    _join(coordinator, num_processes, process_id)
  elif 'JSEG_COORDINATOR' in os.environ and 'JOB_COMPLETION_INDEX' in os.environ:
    index, count = int(os.environ['JOB_COMPLETION_INDEX']), int(os.environ['JSEG_NUM_PROCESSES'])
    _join(os.environ['JSEG_COORDINATOR'], count, index)
  elif int(os.environ.get('SLURM_NTASKS', '1')) > 1 and 'SLURM_PROCID' in os.environ:
    jax.distributed.initialize(cluster_detection_method='slurm')
  elif ',' in os.environ.get('TPU_WORKER_HOSTNAMES', ''):
    jax.distributed.initialize()


def _join(coordinator: str, num_processes: int, process_id: int) -> None:
  if num_processes > 1:
    jax.distributed.initialize(coordinator, num_processes, process_id)


def is_lead() -> bool:
  """True in the one process that writes files."""
  return jax.process_index() == 0


def barrier(name: str) -> None:
  """Waits until every process is here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


def gather_rows(rows: np.ndarray) -> np.ndarray:
  """Every process's rows [n ...], all alike in shape, one after the other: [processes * n ...]."""
  return rows if jax.process_count() == 1 else multihost_utils.process_allgather(rows, tiled=True)


def check_batch(batch_size: int, key: str) -> None:
  """Raises ValueError unless the global batch divides among all devices; `key` names the config's entry."""
  devices = jax.device_count()
  if batch_size < 1 or batch_size % devices:
    near = max(devices, round(batch_size / devices) * devices)
    raise ValueError(
      f'{key} is {batch_size}, which does not divide among {devices} devices; the nearest that does is {near}'
    )


def replicate(tree: Any) -> Any:
  """A copy of a host pytree on every device of this process: [...] -> [devices ...].

  By a pmapped identity, so that the copies are laid out as the steps' results are: with any other layout
  the second step would compile anew.
  """
  devices = np.arange(jax.local_device_count())
  return jax.pmap(lambda _, x: x, axis_name=AXIS, in_axes=(0, None))(devices, tree)


def unreplicate(tree: Any) -> Any:
  """The first local device's copy, as host numpy arrays of their own: [devices ...] -> [...].

  Copies, since the device buffers may be donated to the next step while these are still being written.
  """
  return jax.tree.map(lambda x: np.array(x.addressable_shards[0].data)[0], tree)


def shard(batch: Batch) -> Batch:
  """This process's rows spread over its devices: [b ...] -> [devices b/devices ...]."""
  devices = jax.local_device_count()
  return {name: np.reshape(x, (devices, -1, *x.shape[1:])) for name, x in batch.items()}


def pmapped_train(step: Callable) -> Callable:
  """(replicated state, sharded batch, key) -> (replicated state, replicated sums); the state is donated."""
  return jax.pmap(step, axis_name=AXIS, in_axes=(0, 0, None), donate_argnums=0)


def pmapped(step: Callable, extra: int = 0) -> Callable:
  """(replicated state, sharded batch, `extra` more alike for every device) -> replicated results."""
  return jax.pmap(step, axis_name=AXIS, in_axes=(0, 0) + (None,) * extra)


def for_sizes(step: Callable, most: int = 64) -> Callable:
  """A compiled step(state, *arrays) that takes arrays of any number of shapes.

  Each shape has a program, which maps a few hundred pieces of memory, of which Linux grants a process 65,530:
  after some hundred photos of different sizes it would crash. After `most` shapes all programs are let go,
  those of other steps too, and are compiled again where they are needed.
  """
  seen: set[tuple[tuple[int, ...], ...]] = set()

  def call(state: Any, *arrays: Any) -> Any:
    shapes = tuple(np.shape(x) for x in jax.tree.leaves(arrays))
    if shapes not in seen and len(seen) == most:
      seen.clear()
      jax.clear_caches()
    seen.add(shapes)
    return step(state, *arrays)

  return call
