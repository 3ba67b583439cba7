"""What MATLAB files hold: label maps, lists of numbers, frames of a stack."""

import importlib.util
import pathlib

import numpy as np
import scipy.io

from jseg.data import labels


def read_index(path: pathlib.Path, entry: str, minus_one: int = -1) -> np.ndarray:
  """The ids that a variable of a .mat file (up to version 7) holds, uint8 [h w].

  Args:
    path: the file.
    entry: the variable's name; fields of a struct follow with dots: 'GTcls.Segmentation'.
    minus_one: what -1 becomes, where owners write it for void; default: -1 is refused.

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
  if value.dtype.kind == 'f' and np.isnan(value).any():
    raise ValueError(f'{path}: {entry} holds NaN, not ids 0..255')
  value = np.where(value == -1, np.float64(minus_one), value)
  if value.min() < 0 or value.max() > 255 or (value != np.floor(value)).any():
    raise ValueError(f'{path}: {entry} holds {value.min():g} to {value.max():g}, not ids 0..255')
  return value.astype(np.uint8)


def read_numbers(path: pathlib.Path, variable: str) -> list[int]:
  """The whole numbers of a vector in a .mat file (up to version 7).

  Raises:
    ValueError: the file is broken or has no such variable.
  """
  try:
    return [int(n) for n in np.ravel(scipy.io.loadmat(path, variable_names=[variable])[variable])]
  except Exception as error:
    raise ValueError(f'{path}: {variable} cannot be read ({labels.first_line(error)})') from error


def need_hdf5(path: pathlib.Path, extra: str) -> None:
  """Raises ValueError if h5py, which reads .mat files of version 7.3, is absent; `extra` installs it."""
  if importlib.util.find_spec('h5py') is None:
    raise ValueError(f"{path} is HDF5 and needs h5py; type: pip install -e '.[{extra}]'")


def read_frame(path: pathlib.Path, variable: str, index: int) -> np.ndarray:
  """Entry `index` along the last MATLAB axis (the first of HDF5) of a variable in a .mat file of version 7.3.

  Raises:
    ValueError: the file is broken or has no such entry.
  """
  import h5py

  try:
    with h5py.File(path) as file:
      return np.asarray(file[variable][index])  # pyright: ignore[reportIndexIssue]
  except (OSError, KeyError, ValueError, IndexError) as error:
    raise ValueError(f'{path}: {variable} {index} cannot be read ({labels.first_line(error)})') from error
