"""A trained run as a function from an image to its classes."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from jseg.engine import weights, workdirs


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


def load(workdir: str | pathlib.Path, which: str = 'best') -> Predictor:
  """The run of a workdir, from its 'best' or 'latest' checkpoint.

  Raises:
    ValueError: the folder holds no run, or no good checkpoint.
  """
  workdir = pathlib.Path(workdir).expanduser().absolute()
  config = workdirs.get_config(str(workdir))
  spec = workdirs.dataset(workdir, config)
  task, state, _ = weights.trained(config, spec, workdir, which)
  return Predictor(spec, jax.jit(task.predict_step), state)
