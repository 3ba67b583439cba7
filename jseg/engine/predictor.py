"""A trained run as a function from an image to its classes, or to the objects in it."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import logging
from jaxtyping import UInt8

from jseg.data import buckets, detections
from jseg.engine import evaluate_instances, parallel, resolve, weights, workdirs
from jseg.tasks.task import Task, TrainState
from jseg.typing import Config


@dataclasses.dataclass(frozen=True)
class Predictor:
  """A trained run: `predict` maps one image to classes; `spec` names and colours them."""

  spec: Any
  _step: Callable
  _state: Any

  def maps(self, image: UInt8[np.ndarray, 'h w 3']) -> dict[str, np.ndarray]:
    """{name: [h w]} of all that the task predicts for an RGB image: 'predictions', and what else there is.

    A semantic run with eval.samples has 'uncertainty', float32, see tasks.semantic.predict_step.

    Raises:
      ValueError: the network cannot take an image of this size.
    """
    return {name: np.asarray(value[0]) for name, value in self._step(self._state, image[None]).items()}

  def predict(self, image: UInt8[np.ndarray, 'h w 3']) -> UInt8[np.ndarray, 'h w']:
    """The class of every pixel of an RGB image, 0..255; compiles once for each image size.

    Raises:
      ValueError: the network cannot take an image of this size.
    """
    return self.maps(image)['predictions']


@dataclasses.dataclass(frozen=True)
class Detector:
  """A trained run that finds objects: `predict` maps one image to them; `spec` names and colours them."""

  spec: Any
  layout: buckets.Layout
  _step: Callable
  _state: Any

  def predict(self, image: UInt8[np.ndarray, 'h w 3']) -> detections.Found:
    """The objects in an RGB image, at its own size; compiles once for each of the run's buckets.

    Raises:
      ValueError: no bucket of the run holds the image.
    """
    return evaluate_instances.find(functools.partial(self._step, self._state), image, self.layout)


def load(workdir: str | pathlib.Path, which: str = 'best') -> Predictor | Detector:
  """The run of a workdir, from its 'best' or 'latest' checkpoint.

  Raises:
    ValueError: the folder holds no run, or no good checkpoint.
  """
  workdir = pathlib.Path(workdir).expanduser().absolute()
  config = workdirs.get_config(str(workdir))
  spec = workdirs.dataset(workdir, config)
  task, state, _ = weights.trained(config, spec, workdir, which)
  return _of(config, spec, task, state)


def of_weights(config: Config) -> Predictor | Detector:
  """A config's network with the weights of its `init_from`, as they are.

  Raises:
    ValueError: `init_from` is empty, cannot be read, or leaves some of the network without weights.
  """
  if not config.init_from:
    raise ValueError('--config without --config.init_from: name the weights, or a trained run with --workdir')
  spec = resolve.spec(config)
  task, state, lines = weights.whole(config, spec)
  for line in lines:
    logging.info('%s', line.strip())
  return _of(config, spec, task, state)


def _of(config: Config, spec: Any, task: Task, state: TrainState) -> Predictor | Detector:
  step = parallel.for_sizes(jax.jit(task.predict_step))
  if resolve.measuring(config) is evaluate_instances:
    return Detector(spec, evaluate_instances.layout(config), step, state)
  return Predictor(spec, step, state)
