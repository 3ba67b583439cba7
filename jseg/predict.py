r"""Segments photos with a trained run.

  python -m jseg.predict --workdir=runs/one --images=photo.jpg --output=out
  python -m jseg.predict --workdir=runs/one --images=folder --output=out
  python -m jseg.predict --workdir=runs/city --images=leftImg8bit/test --output=out --ids=owners

or with weights that others trained, of the network and classes of a config:

  python -m jseg.predict --config=configs/fcn_resnet50_coco.py --config.init_from=fcn_resnet50_coco.pth \
    --images=photo.jpg --output=out

For every photo, at its own size: <name>.png, an 8-bit palette image whose values are the class numbers,
and <name>_overlay.png, the classes' colours over the photo; of a run with stochastic passes (eval.samples)
also <name>_uncertainty.png, their variance as 8-bit grey, white being the greatest of that photo, which is
printed. With --ids=owners only index masks as the data's owners write them, in their ids and under their
names, so that the folder can go to their server (Cityscapes: labelIds; ADE20K: 1..150; VOC: palette files).

Of a run that finds instances: <name>_overlay.png, boxes, masks, classes, scores and keypoints over the photo,
of objects of --score or more; and <name>.json, every object as COCO's format of results has it, with its
class.

From Python:

  import jseg
  labels = jseg.load('runs/one').predict(image)  # uint8 [h w 3] -> uint8 [h w]
"""

import functools
import pathlib
from collections.abc import Sequence

import numpy as np
from absl import app, flags
from ml_collections import config_flags
from PIL import Image

from jseg.data import detections, drawing, photos, spec
from jseg.data import labels as label_images
from jseg.engine import predictor, workdirs, writers

_WORKDIR = flags.DEFINE_string('workdir', '', 'Of the trained run.')
_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'In place of --workdir: a file of configs/, whose init_from names the weights.'
)
_IMAGES = flags.DEFINE_string('images', '', 'A photo, or a folder of photos.')
_OUTPUT = flags.DEFINE_string('output', '', 'The folder to write to.')
_IDS = flags.DEFINE_enum(
  'ids',
  'train',
  ['train', 'owners'],
  "Which numbers masks hold: the classes', or those of the data's owners.",
)
_SCORE = flags.DEFINE_float('score', 0.5, 'Of a run that finds instances: the least score of what is drawn.')
_CHECKPOINT = flags.DEFINE_enum('checkpoint', 'best', ['best', 'latest'], 'Which checkpoint of the run.')


def main(_: Sequence[str]) -> None:
  """Predicts; bad input is one line on stderr and exit status 2."""
  try:
    _run()
  except (ValueError, OSError) as error:
    workdirs.fail('jseg.predict', error)


def _run() -> None:
  if _WORKDIR.value and _CONFIG.value is not None:
    raise ValueError(f'--workdir={_WORKDIR.value} and --config exclude each other: a run has its own config')
  needed = [('images', _IMAGES), ('output', _OUTPUT)]
  for name, flag in needed if _CONFIG.value is not None else [('workdir', _WORKDIR), *needed]:
    if not flag.value:
      raise ValueError(f'--{name} is missing; python -m jseg.predict --help tells what it takes')
  paths = photos.find(_IMAGES.value)
  output = pathlib.Path(_OUTPUT.value).expanduser()
  with workdirs.claimed(output):
    _predict(paths, output)


def _predict(paths: Sequence[pathlib.Path], output: pathlib.Path) -> None:
  """Writes what the run finds in each photo, and says it in a line."""
  workdirs.claim(output)
  if _CONFIG.value is None:
    run = predictor.load(_WORKDIR.value, _CHECKPOINT.value)
  else:
    run = predictor.of_weights(_CONFIG.value)
  if isinstance(run, predictor.Detector) and _IDS.value == 'owners':
    raise ValueError(
      "--ids=owners is for masks of classes; the JSON of instances has the owners' ids as it is"
    )
  for number, path in enumerate(paths, 1):
    image = photos.read(path)
    start = f'{number}/{len(paths)} {path.name} {image.shape[1]}x{image.shape[0]}'
    if isinstance(run, predictor.Detector):
      print(f'{start}: {_instances(output, path, number, image, run)}', flush=True)
      continue
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
    print(f'{start}: {found}', flush=True)


def _instances(
  output: pathlib.Path, path: pathlib.Path, number: int, image: np.ndarray, run: predictor.Detector
) -> str:
  """Writes picture and JSON of the objects in a photo; says in a few words what they are."""
  found, classes = run.predict(image), run.spec.classes
  picture = drawing.instances(image, found, classes, least=_SCORE.value)
  Image.fromarray(picture).save(output / f'{path.stem}_overlay.png')
  entries = detections.results(found, number, run.spec.written_ids())
  named = [{'class': classes[int(k)], **entry} for k, entry in zip(found.classes, entries, strict=True)]
  size = {'id': number, 'file_name': path.name, 'height': image.shape[0], 'width': image.shape[1]}
  writers.write_json(output / f'{path.stem}.json', {'image': size, 'instances': named})
  kept = found.classes[found.scores >= _SCORE.value]
  kinds, counts = np.unique(kept, return_counts=True)
  order = np.argsort(-counts, kind='stable')[:4]
  return ', '.join(f'{counts[i]} {classes[int(kinds[i])]}' for i in order) or 'nothing'


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
