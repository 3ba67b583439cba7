"""ISBI 2012 challenge: 30 slices of electron microscopy, 512x512, cell against membrane.

Arganda-Carreras et al. 2015, "Crowdsourcing the creation of image segmentation algorithms for connectomics".
The challenge's test labels are not public and U-Net was trained on all 30 slices (`trainval`). To measure
here, the last six are held out: neighbouring slices look alike, so they are one block and not drawn.
"""

import functools
import pathlib

import numpy as np
from PIL import Image, ImageSequence

from jseg.data import borders, labels, layout, prepare, spec, verify

SPLITS = {'train': 'train', 'val': 'val', 'trainval': 'train+val'}
HELD_OUT = 6

SPEC = spec.DatasetSpec(
  name='isbi',
  protocol='isbi2',
  classes=('membrane', 'cell'),
  palette=((0, 0, 0), (255, 255, 255)),
  raw_void=(),
  train_ids={0: 0, 255: 1},
  split_sizes={'train': 24, 'val': 6},
  class_pixels=(1_418_245, 4_873_211),
  class_image_pixels=(6_291_456, 6_291_456),
  source='counted over the 24 training masks: python -m jseg.dataset --verb=stats --name=isbi',
  owners=(
    'the training slices: train-volume.tif and train-labels.tif of '
    'imagej.net/events/isbi-2012-segmentation-challenge (open), or the same as image/0.png .. 29.png and '
    'label/0.png .. 29.png in data/membrane/train of github.com/zhixuhao/unet'
  ),
  folder='train',
)


class Weighted:
  """A Source of cells whose examples also have U-Net's weight map, `weight` float32 [h w].

  It is computed when an example is first read, and kept: 1 MiB a slice.
  """

  def __init__(self, source: spec.Source):
    self._source = source
    self._weights: dict[int, np.ndarray] = {}

  def __len__(self) -> int:
    """The number of examples."""
    return len(self._source)

  def __getitem__(self, index: int) -> spec.Example:
    """Reads and decodes one example; the weights are shared and not to be written to."""
    example = self._source[index]
    if index not in self._weights:
      weights = borders.weight_map(example['labels'], SPEC.classes.index('cell'))
      weights.flags.writeable = False
      self._weights[index] = weights
    return {**example, 'weight': self._weights[index]}


def open_split(
  split: str, *, source: str = '', directory: str = '', border_weights: bool = False
) -> spec.Source:
  """A split of the 30 labelled slices, prepared first if need be. The grey images have three equal channels.

  Args:
    split: 'train' (slices 0 to 23), 'val' (24 to 29) or 'trainval' (all, as published).
    source: the folder of the two volumes, or of image/ and label/; empty: use the copy that is prepared.
    directory: where the copy lives; empty: $JSEG_DATA, else ~/.cache/jseg.
    border_weights: examples also have `weight`, U-Net's map that favours what lies between two cells.

  Raises:
    ValueError: unknown split, nothing prepared, or a fault in the source, naming the file.
  """
  opened = prepare.open_split(
    SPEC, split, splits=tuple(SPLITS), scan=scan, source=source, directory=directory
  )
  return Weighted(opened) if border_weights else opened


def scan(source: str) -> verify.Scan:
  """Slices in their order in the volume; the last six are `val`.

  Raises:
    ValueError: this is not the folder at all.
  """
  root = pathlib.Path(source).expanduser().absolute()
  slices, problems = _volume(root) if (root / _VOLUME).is_file() else _files(source)
  pairs = {'train': slices[:-HELD_OUT], 'val': slices[-HELD_OUT:]}
  return layout.scanned(pairs, problems, SPLITS, root)


def _files(source: str) -> tuple[list[verify.Pair], list[str]]:
  root = layout.folder(SPEC, source, ['image', 'label'])
  names = layout.stems(root / 'image', '.png') | layout.stems(root / 'label', '.png')
  odd = sorted(name for name in names if not name.isdecimal())
  slices, problems = layout.paired(
    sorted(names - set(odd), key=int),
    lambda name: root / 'image' / f'{name}.png',
    lambda name: root / 'label' / f'{name}.png',
  )
  return slices, [*problems, *(f'{root}: {name}.png is not the number of a slice' for name in odd)]


_VOLUME, _LABELS = 'train-volume.tif', 'train-labels.tif'


def _volume(root: pathlib.Path) -> tuple[list[verify.Pair], list[str]]:
  layout.folder(SPEC, str(root), [_VOLUME, _LABELS])
  images, masks = root / _VOLUME, root / _LABELS
  counts = [_pages(path) for path in (images, masks)]
  if counts[0] != counts[1]:
    return [], [f'{masks}: has {counts[1]} slices, {_VOLUME} {counts[0]}']
  return [
    verify.Pair(str(i), images, masks, read=functools.partial(_read_slice, images, masks, i))
    for i in range(counts[0])
  ], []


def _pages(path: pathlib.Path) -> int:
  try:
    with Image.open(path) as volume:
      return sum(1 for _ in ImageSequence.Iterator(volume))
  except Exception as error:  # what a broken file raises is anything, a bomb warning too
    raise ValueError(f'{path}: not a readable volume ({labels.first_line(error)})') from error


def _read_slice(images: pathlib.Path, masks: pathlib.Path, index: int) -> tuple[np.ndarray, np.ndarray]:
  pages = []
  for path in (images, masks):
    try:
      with Image.open(path) as volume:
        volume.seek(index)
        pages.append(np.asarray(volume))
    except Exception as error:  # what a broken file raises is anything, a bomb warning too
      raise ValueError(f'{path}: slice {index} cannot be read ({labels.first_line(error)})') from error
    if pages[-1].ndim != 2 or pages[-1].dtype != np.uint8:
      raise ValueError(f'{path}: slice {index} is not 8-bit grey')
  return pages[0], pages[1]
