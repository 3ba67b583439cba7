"""SIFT Flow with its 3 geometric classes, 256x256: the images and splits of `siftflow`.

Source of the classes, their order and void (-1 in the files): github.com/shelhamer/fcn.berkeleyvision.org,
data/sift-flow/classes.txt.
"""

import functools
import pathlib

import numpy as np

from jseg.data import labels, matlab, prepare, records, spec, verify
from jseg.data.builders import siftflow

SPLITS = siftflow.SPLITS
MINUS_ONE = 255  # what -1 is in 8 bits

SPEC = spec.DatasetSpec(
  name='siftflow_geo',
  protocol='siftflow3',
  classes=('sky', 'horizontal', 'vertical'),
  palette=labels.bit_palette(3, first=1),  # the owners give no colours
  raw_void=(MINUS_ONE, 0),
  train_ids={1: 0, 2: 1, 3: 2},
  split_sizes=siftflow.SPEC.split_sizes,
  owners=siftflow.SPEC.owners,
  folder=siftflow.SPEC.folder,
)


def open_split(split: str, *, source: str = '', directory: str = '') -> records.PreparedSource:
  """A split of SIFT Flow with geometric labels, prepared first if need be.

  Args:
    split: 'train' or 'test'.
    source: the folder with Images/, GeoLabels/ and TestSet1.txt; empty: use the copy that is prepared.
    directory: where the copy lives; empty: $JSEG_DATA, else ~/.cache/jseg.

  Raises:
    ValueError: unknown split, nothing prepared, or a fault in the source, naming the file.
  """
  return prepare.open_split(SPEC, split, splits=tuple(SPLITS), scan=scan, source=source, directory=directory)


def scan(source: str) -> verify.Scan:
  """As `siftflow.scan`.

  Raises:
    ValueError: this is not the folder at all.
  """
  found = siftflow.scan_labels(SPEC, source, 'GeoLabels')
  pairs = {
    part: [pair._replace(read=functools.partial(_read, pair.mask, pair.entry)) for pair in listed]
    for part, listed in found.pairs.items()
  }
  return found._replace(pairs=pairs)


def _read(mask: pathlib.Path, entry: str) -> tuple[None, np.ndarray]:
  return None, matlab.read_index(mask, entry, minus_one=MINUS_ONE)
