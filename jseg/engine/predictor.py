"""A trained run as a function from an image to its classes."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from jseg.engine import resolve, weights, workdirs


@dataclasses.dataclass(frozen=True)
class Predictor:
  """A trained run: `predict` maps one image to classes; `spec` names and colours them."""

  spec: Any
  _step: Callable
  _state: Any

  def predict(self, image: UInt8[np.ndarray, 'h w 3']) -> UInt8[np.ndarray, 'h w']:
    """The class of every pixel of an RGB image, 0..255; compiles once for each image size.

    Raises:
      ValueError: the network cannot take an image of this size.
    """
    return np.asarray(self._step(self._state, image[None])['predictions'][0])


def load(workdir: str | pathlib.Path, which: str = 'best') -> Predictor:
  """The run of a workdir, from its 'best' or 'latest' checkpoint.

  Raises:
    ValueError: the folder holds no run, or no good checkpoint.
  """
  workdir = pathlib.Path(workdir).expanduser().absolute()
  config = workdirs.get_config(str(workdir))
  task, state, _ = weights.trained(config, workdir, which)
  return Predictor(resolve.spec(config), jax.jit(task.predict_step), state)
