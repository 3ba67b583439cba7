"""What a run says of itself: metrics.jsonl, TensorBoard event files, one line on the terminal.

<workdir>/metrics.jsonl   one JSON object a line: {"step": 20, "split": "train", "loss": 0.7, ...}
<workdir>/tensorboard/    the same scalars as <split>/<name>, and image panels
"""

import json
import math
import os
import pathlib
from typing import Any

import numpy as np
import tensorboardX
from absl import logging


class Writers:
  """The writers of one training run; in processes other than the lead every method does nothing."""

  def __init__(self, workdir: str | pathlib.Path, *, lead: bool, start_step: int):
    """Opens the files and drops what a run that is taken up again had written after `start_step`.

    Args:
      workdir: made if missing.
      lead: whether this process writes.
      start_step: updates done so far; the next scalars belong to a later step.

    Raises:
      ValueError: the folder cannot be written to.
    """
    self._file = self._board = None
    if not lead:
      return
    workdir = pathlib.Path(workdir)
    path = workdir / 'metrics.jsonl'
    try:
      workdir.mkdir(parents=True, exist_ok=True)
      _drop_after(path, start_step)
      self._file = open(path, 'a')
      self._board = tensorboardX.SummaryWriter(str(workdir / 'tensorboard'), purge_step=start_step + 1)
    except OSError as error:
      raise ValueError(
        f'--workdir {workdir} cannot be written to ({error.strerror}); name another'
      ) from error

  def scalars(self, step: int, values: dict[str, float], split: str = 'train') -> None:
    """Writes one line and one TensorBoard point per value; what is not finite is null in the line.

    A full disk does not end the run: the line is written when there is room again.
    """
    if self._file is None or self._board is None:
      return
    record = {'step': step, 'split': split} | {name: float(value) for name, value in values.items()}
    try:
      self._file.write(json.dumps(_finite(record)) + '\n')
      self._file.flush()
    except OSError as error:  # what could not be flushed stays in the buffer for the next line
      logging.warning('step %d was not written to %s (%s)', step, self._file.name, error.strerror)
    for name, value in values.items():
      self._board.add_scalar(f'{split}/{name}', float(value), step)

  def panel(self, step: int, name: str, image: np.ndarray) -> None:
    """Shows an image, uint8 [h w 3], in TensorBoard."""
    if self._board is not None:
      self._board.add_image(name, image, step, dataformats='HWC')

  def progress(self, step: int, total: int, values: dict[str, float], left: float) -> None:
    """Prints one line.

    Args:
      step: updates done.
      total: updates in the whole run.
      values: scalars by name; the line takes the few that it knows, as far as they are there.
      left: estimated seconds until the last step.
    """
    if self._file is not None:
      print(progress_line(step, total, values, left), flush=True)

  def close(self) -> None:
    """Flushes and closes; nothing may be written afterwards."""
    if self._file is not None:
      self._file.close()
    if self._board is not None:
      self._board.close()
    self._file = self._board = None


def progress_line(step: int, total: int, values: dict[str, float], left: float) -> str:
  """'step 120/500  loss 0.7312  mean IU 45.6 %  lr 3.0e-03  812 images/s  data wait 3 %  ETA 0:01:12'."""
  forms = {
    'loss': lambda v: f'loss {v:.4f}',
    'mean_iu': lambda v: f'mean IU {100 * v:.1f} %',
    'learning_rate': lambda v: f'lr {v:.1e}',
    'images_per_second': lambda v: f'{v:.3g} images/s' if v < 100 else f'{v:.0f} images/s',
    'data_wait': lambda v: f'data wait {100 * v:.0f} %',
  }
  known = [form(values[name]) for name, form in forms.items() if name in values]
  minutes, seconds = divmod(round(left), 60)
  eta = f'ETA {minutes // 60}:{minutes % 60:02d}:{seconds:02d}'
  return '  '.join([f'step {step:{len(str(total))}d}/{total}', *known, eta])


def write_json(path: pathlib.Path, content: Any) -> None:
  """Writes the file whole or not at all; numbers that are not finite become null, which JSON can hold."""
  path.parent.mkdir(parents=True, exist_ok=True)
  _replace(path, json.dumps(_finite(content), indent=1) + '\n')


def _drop_after(path: pathlib.Path, step: int) -> None:
  """Keeps the lines up to this step; a line torn by a kill goes too."""
  if not path.exists():
    return
  lines = path.read_text(errors='replace').splitlines()
  _replace(path, ''.join(f'{line}\n' for line in lines if _step_of(line) <= step))


def _step_of(line: str) -> float:
  try:
    return float(json.loads(line)['step'])
  except (ValueError, KeyError, TypeError):
    return math.inf


def _replace(path: pathlib.Path, text: str) -> None:
  draft = path.with_name(f'.{path.name}.{os.getpid()}')
  draft.write_text(text)
  os.replace(draft, path)


def _finite(value: Any) -> Any:
  if isinstance(value, dict):
    return {name: _finite(item) for name, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [_finite(item) for item in value]
  return None if isinstance(value, float) and not math.isfinite(value) else value
