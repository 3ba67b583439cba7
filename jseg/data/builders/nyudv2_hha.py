"""NYU Depth v2's depth as HHA, 40 classes: the views and splits of `nyudv2`.

Disparity, height and angle with gravity, as jseg.data.depths.hha says. FCN's folder has it in data/hha; of
the owners' files it is computed from the filled-in depths, which takes one to two seconds an image.
"""

import dataclasses

from jseg.data import prepare, records, verify
from jseg.data.builders import nyudv2

SPLITS = nyudv2.SPLITS

SPEC = dataclasses.replace(nyudv2.SPEC, name='nyudv2_hha', protocol='nyud40_hha')


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
  return nyudv2.scan_seen(SPEC, source, 'hha')
