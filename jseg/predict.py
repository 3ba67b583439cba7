"""Segments photos with a trained run.

  python -m jseg.predict --workdir=runs/one --images=photo.jpg --output=out
  python -m jseg.predict --workdir=runs/one --images=folder --output=out

For every photo, at its own size: <name>.png, an 8-bit palette image whose values are the class numbers,
and <name>_overlay.png, the classes' colours over the photo. From Python:

  import jseg
  labels = jseg.load('runs/one').predict(image)  # uint8 [h w 3] -> uint8 [h w]
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from absl import app, flags
from jaxtyping import UInt8
from PIL import Image

from jseg.data import labels as label_images
from jseg.data import photos
from jseg.engine import resolve, weights, workdirs

_WORKDIR = flags.DEFINE_string('workdir', '', 'Of the trained run.')
_IMAGES = flags.DEFINE_string('images', '', 'A photo, or a folder of photos.')
_OUTPUT = flags.DEFINE_string('output', '', 'The folder to write to.')
_CHECKPOINT = flags.DEFINE_enum('checkpoint', 'best', ['best', 'latest'], 'Which checkpoint of the run.')


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


def main(_: Sequence[str]) -> None:
  """Predicts; bad input is one line on stderr and exit status 2."""
  try:
    _run()
  except (ValueError, OSError) as error:
    workdirs.fail('jseg.predict', error)


def _run() -> None:
  for name, flag in (('workdir', _WORKDIR), ('images', _IMAGES), ('output', _OUTPUT)):
    if not flag.value:
      raise ValueError(f'--{name} is missing; python -m jseg.predict --help tells what it takes')
  paths = photos.find(_IMAGES.value)
  output = pathlib.Path(_OUTPUT.value).expanduser()
  workdirs.claim(output)
  predictor = load(_WORKDIR.value, _CHECKPOINT.value)
  for number, path in enumerate(paths, 1):
    image = photos.read(path)
    predictions = predictor.predict(image)
    label_images.write_index(output / f'{path.stem}.png', predictions, predictor.spec.palette)
    overlay = label_images.overlay(image, predictions, predictor.spec.palette)
    Image.fromarray(overlay).save(output / f'{path.stem}_overlay.png')
    shares = np.bincount(predictions.ravel(), minlength=predictor.spec.num_classes) / predictions.size
    found = ', '.join(
      f'{predictor.spec.classes[k]} {shares[k]:.0%}' for k in np.argsort(-shares)[:4] if shares[k] > 0
    )
    print(f'{number}/{len(paths)} {path.name} {image.shape[1]}x{image.shape[0]}: {found}', flush=True)


if __name__ == '__main__':
  app.run(main)
