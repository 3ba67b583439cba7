"""SIFT Flow with its 33 semantic classes, 256x256: 2,486 / 200 images.

Liu et al. 2011, "Nonparametric scene parsing via label transfer"; files and test list of Tighe and Lazebnik
2010. Of the 2,488 training images two have no annotation and are left out, as FCN does. Cow, desert and moon
are absent from the test set; a class in neither truth nor prediction does not enter the mean.
"""

import pathlib
import re

from jseg.data import labels, layout, prepare, records, spec, verify

SPLITS = {'train': 'train', 'test': 'test'}
UNANNOTATED = ('highway_bost181', 'street_urb506')

SPEC = spec.DatasetSpec(
  name='siftflow',
  protocol='siftflow33',
  classes=(
    'awning',
    'balcony',
    'bird',
    'boat',
    'bridge',
    'building',
    'bus',
    'car',
    'cow',
    'crosswalk',
    'desert',
    'door',
    'fence',
    'field',
    'grass',
    'moon',
    'mountain',
    'person',
    'plant',
    'pole',
    'river',
    'road',
    'rock',
    'sand',
    'sea',
    'sidewalk',
    'sign',
    'sky',
    'staircase',
    'streetlight',
    'sun',
    'tree',
    'window',
  ),
  palette=labels.bit_palette(33, first=1),  # the owners give no colours
  raw_void=(0,),
  train_ids={raw: raw - 1 for raw in range(1, 34)},
  split_sizes={'train': 2486, 'test': 200},
  other_sizes={2488: 'all training images, two of which have no annotation'},
  owners='SiftFlowDataset.zip from www.cs.unc.edu/~jtighe/Papers/ECCV10 (research)',
  folder='SiftFlowDataset',
)

_INNER = 'spatial_envelope_256x256_static_8outdoorcategories'


def open_split(split: str, *, source: str = '', directory: str = '') -> records.PreparedSource:
  """A split of SIFT Flow, prepared first if need be.

  Args:
    split: 'train' or 'test'.
    source: the folder with Images/, SemanticLabels/ and TestSet1.txt; empty: use the copy that is prepared.
    directory: where the copy lives; empty: $JSEG_DATA, else ~/.cache/jseg.

  Raises:
    ValueError: unknown split, nothing prepared, or a fault in the source, naming the file.
  """
  return prepare.open_split(SPEC, split, splits=tuple(SPLITS), scan=scan, source=source, directory=directory)


def scan(source: str) -> verify.Scan:
  """The test set as TestSet1.txt lists it, and every other image but the two without annotation, by name.

  Raises:
    ValueError: this is not the folder at all.
  """
  return scan_labels(SPEC, source, 'SemanticLabels')


def scan_labels(dataset: spec.DatasetSpec, source: str, tree: str) -> verify.Scan:
  """`scan` of one of the two labellings: `tree` is SemanticLabels or GeoLabels.

  Raises:
    ValueError: this is not the folder at all.
  """
  root = layout.folder(dataset, source, [f'Images/{_INNER}', f'{tree}/{_INNER}', 'TestSet1.txt'])
  lines, problems = layout.listed(root / 'TestSet1.txt')
  # Lines are paths in the style of Windows, with an ending: category_name.jpg is what counts.
  test = {pathlib.PurePosixPath(re.split(r'[/\\]', line)[-1]).stem: where for line, where in lines.items()}
  images, masks = root / 'Images' / _INNER, root / tree / _INNER
  everything = layout.stems(images, '.jpg') | layout.stems(masks, '.mat')
  pairs = {}
  chosen = {'train': sorted(everything - test.keys() - set(UNANNOTATED)), 'test': list(test)}
  for split, names in chosen.items():
    pairs[split], faults = layout.paired(
      names,
      lambda name: images / f'{name}.jpg',
      lambda name: masks / f'{name}.mat',
      entry='S',
      where=test if split == 'test' else None,
    )
    problems += faults
  return layout.scanned(pairs, problems, SPLITS, root)
