"""Label maps inside MATLAB files."""

import pathlib

import numpy as np
import scipy.io

from jseg.data import labels


def read_index(path: pathlib.Path, entry: str) -> np.ndarray:
  """The ids that a variable of a .mat file (up to version 7) holds, uint8 [h w].

  Args:
    path: the file.
    entry: the variable's name; fields of a struct follow with dots: 'GTcls.Segmentation'.

  Raises:
    ValueError: the file is broken, has no such variable, or the variable is no map of ids 0..255.
  """
  variable, *fields = entry.split('.')
  try:
    value = scipy.io.loadmat(path, variable_names=[variable])[variable]
    for field in fields:
      value = value[field].flat[0]
  except Exception as error:  # what a broken file raises is anything from zlib.error to TypeError
    raise ValueError(f'{path}: not a readable mask, {entry} ({labels.first_line(error)})') from error
  if not isinstance(value, np.ndarray) or value.ndim != 2 or value.dtype.kind not in 'uif':
    raise ValueError(f'{path}: {entry} is not a map of ids')
  if value.min() < 0 or value.max() > 255 or (value != np.floor(value)).any():
    raise ValueError(f'{path}: {entry} holds {value.min():g} to {value.max():g}, not ids 0..255')
  return value.astype(np.uint8)
