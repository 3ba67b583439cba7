"""Segments photos with a trained run.

  python -m jseg.predict --workdir=runs/one --images=photo.jpg --output=out
  python -m jseg.predict --workdir=runs/one --images=folder --output=out

  python -m jseg.predict --workdir=runs/city --images=leftImg8bit/test --output=out --ids=owners

For every photo, at its own size: <name>.png, an 8-bit palette image whose values are the class numbers,
and <name>_overlay.png, the classes' colours over the photo; of a run with stochastic passes (eval.samples)
also <name>_uncertainty.png, their variance as 8-bit grey, white being the greatest of that photo, which is
printed. With --ids=owners only index masks as the data's owners write them, in their ids and under their
names, so that the folder can go to their server (Cityscapes: labelIds; ADE20K: 1..150; VOC: palette files).

From Python:

  import jseg
  labels = jseg.load('runs/one').predict(image)  # uint8 [h w 3] -> uint8 [h w]
"""

import functools
import pathlib
from collections.abc import Sequence

import numpy as np
from absl import app, flags
from PIL import Image

from jseg.data import labels as label_images
from jseg.data import photos, spec
from jseg.engine import predictor, workdirs

_WORKDIR = flags.DEFINE_string('workdir', '', 'Of the trained run.')
_IMAGES = flags.DEFINE_string('images', '', 'A photo, or a folder of photos.')
_OUTPUT = flags.DEFINE_string('output', '', 'The folder to write to.')
_IDS = flags.DEFINE_enum(
  'ids',
  'train',
  ['train', 'owners'],
  "Which numbers masks hold: the classes', or those of the data's owners.",
)
_CHECKPOINT = flags.DEFINE_enum('checkpoint', 'best', ['best', 'latest'], 'Which checkpoint of the run.')


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
  run = predictor.load(_WORKDIR.value, _CHECKPOINT.value)
  for number, path in enumerate(paths, 1):
    image = photos.read(path)
    maps = run.maps(image)
    predictions = maps['predictions']
    if _IDS.value == 'owners':
      label_images.write_owners(output, path.stem, predictions, run.spec)
    else:
      _write(output, path.stem, image, maps, run.spec)
    shares = np.bincount(predictions.ravel(), minlength=run.spec.num_classes) / predictions.size
    found = ', '.join(
      f'{run.spec.classes[k]} {shares[k]:.0%}' for k in np.argsort(-shares)[:4] if shares[k] > 0
    )
    if 'uncertainty' in maps:
      found += f'; greatest uncertainty {maps["uncertainty"].max():.3g}'
    print(f'{number}/{len(paths)} {path.name} {image.shape[1]}x{image.shape[0]}: {found}', flush=True)


def _write(
  output: pathlib.Path, stem: str, image: np.ndarray, maps: dict[str, np.ndarray], dataset: spec.DatasetSpec
) -> None:
  label_images.write_index(output / f'{stem}.png', maps['predictions'], dataset.palette)
  overlay = label_images.overlay(image, maps['predictions'], dataset.palette)
  Image.fromarray(overlay).save(output / f'{stem}_overlay.png')
  if 'uncertainty' in maps:
    greatest = max(maps['uncertainty'].max(), np.finfo(np.float32).tiny)
    grey = np.round(255 * maps['uncertainty'] / greatest).astype(np.uint8)
    Image.fromarray(grey).save(output / f'{stem}_uncertainty.png')


if __name__ == '__main__':
  app.run(main, flags_parser=functools.partial(workdirs.parse_flags, 'jseg.predict'))
