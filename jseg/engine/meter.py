"""What a run knows of its last steps: sums, speed, time spent waiting for data, and whether all is finite."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jseg.data import pipeline
from jseg.engine import evaluate, optimizers, parallel
from jseg.tasks.task import Task
from jseg.typing import Config


class NonFiniteError(ValueError):
  """The loss of a step is not a finite number."""


class Meter:
  """What is known of the steps since the last report: sums, time, and time spent waiting for data."""

  def __init__(self, config: Config, task: Task, source: Any, checkpoints: Any, out: Any):
    self._config, self._task, self._source = config, task, source
    self._checkpoints, self._writers = checkpoints, out
    self._pending: list[tuple[int, Any, np.ndarray]] = []
    self._rate = optimizers.schedule(dict(config.optim), config.train.steps)
    self._total: dict[str, Any] | None = None
    self._last: dict[str, Any] = {}
    self._steps = 0
    self._waited = 0.0
    self._began = time.monotonic()

  def waiting(self, wait: Callable[[], Any]) -> Any:
    """The result of wait(), whose time counts as waiting for data."""
    began = time.monotonic()
    result = wait()
    self._waited += time.monotonic() - began
    return result

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """A context whose time belongs to no step."""
    began = time.monotonic()
    yield
    self._began += time.monotonic() - began

  def add(self, step: int, sums: Any, index: np.ndarray) -> None:
    """Takes a dispatched step's sums, still on the devices."""
    self._pending.append((step, sums, index))
    self._steps += 1

  def settle(self, lag: int) -> None:
    """Awaits all but the newest `lag` steps and stops the run if a loss is not finite."""
    while len(self._pending) > lag:
      step, sums, index = self._pending.pop(0)
      sums = parallel.unreplicate(sums)
      if not math.isfinite(float(sums['loss'][0])):
        self._stop(step, float(sums['loss'][0]), index)
      self._last = {name: value for name, value in sums.items() if name.startswith('grad_norm/')}
      kept = {name: value for name, value in sums.items() if name not in self._last}
      self._total = evaluate.add(self._total, kept)

  def _stop(self, step: int, loss: float, index: np.ndarray) -> None:
    ids = pipeline.ids(self._source, index)
    saved = self._checkpoints.latest_step()
    message = (
      f'loss is {loss} at step {step} (learning rate {float(self._rate(step - 1)):.3g}); its images: '
      f'{", ".join(ids)}; nothing of it was saved, the last checkpoint is '
      f'{"none" if saved is None else f"step {saved}"}; lower optim.lr or look at these images'
    )
    raise NonFiniteError(message)

  def report(self, step: int) -> None:
    """Writes the averages since the last report and begins anew."""
    now, config = time.monotonic(), self._config
    seconds = max(now - self._began, 1e-9)
    assert self._total is not None
    scalars = self._task.summarise(self._total | self._last)
    scalars['learning_rate'] = float(self._rate(step - 1))
    scalars['images_per_second'] = self._steps * config.data.batch_size / seconds
    scalars['data_wait'] = self._waited / seconds
    self._writers.scalars(step, scalars, split='train')
    left = (config.train.steps - step) * seconds / self._steps
    self._writers.progress(step, config.train.steps, scalars, left)
    self._total, self._steps, self._waited, self._began = None, 0, 0.0, time.monotonic()
