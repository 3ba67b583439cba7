"""The logarithm of NYU Depth v2's depth as grey images, 40 classes: the views and splits of `nyudv2`.

Depth between 0.5 m, black, and 10 m, white, as jseg.data.depths.logarithm says. FCN's folder has it in
data/depth, millimetres in 16 bits; of the owners' files the filled-in depths are taken.
"""

import dataclasses

from jseg.data import prepare, records, verify
from jseg.data.builders import nyudv2

SPLITS = nyudv2.SPLITS

SPEC = dataclasses.replace(nyudv2.SPEC, name='nyudv2_depth', protocol='nyud40_depth')


def open_split(split: str, *, source: str = '', directory: str = '') -> records.PreparedSource:
  """A split of NYUDv2's depth, prepared first if need be.

  Args:
    split: as nyudv2.open_split has it.
    source: as there.
    directory: where the copy lives; empty: $JSEG_DATA, else ~/.cache/jseg.

  Raises:
    ValueError: unknown split, nothing prepared, or a fault in the source, naming the file; h5py is needed and
      absent.
  """
  return prepare.open_split(SPEC, split, splits=SPLITS, scan=scan, source=source, directory=directory)


def scan(source: str) -> verify.Scan:
  """As `nyudv2.scan`.

  Raises:
    ValueError: it is neither FCN's folder nor that of the owners' files, or h5py is needed and absent.
  """
  return nyudv2.scan_seen(SPEC, source, 'depth')
