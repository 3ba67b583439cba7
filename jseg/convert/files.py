"""Files of weights as flat {name: array}: .npz, .safetensors, .pth and .caffemodel; NumPy is all it takes."""

import json
import math
import pathlib
import zipfile
from typing import Any

import numpy as np

from jseg.convert import caffemodel, pth

# bfloat16 is read as its bits, then widened.
_BFLOAT16 = 'BF16'
_SAFETENSORS = {
  'F64': '<f8', 'F32': '<f4', 'F16': '<f2', _BFLOAT16: '<u2', 'I64': '<i8', 'I32': '<i4', 'I16': '<i2',
  'I8': 'i1', 'U64': '<u8', 'U32': '<u4', 'U16': '<u2', 'U8': 'u1', 'BOOL': '?',
}  # fmt: skip


def _npz(path: pathlib.Path) -> dict[str, np.ndarray]:
  if not zipfile.is_zipfile(path):
    raise ValueError('not the zip archive that numpy.savez writes, or cut off')
  with path.open('rb') as opened, np.load(opened, allow_pickle=False) as file:
    return {name: file[name] for name in file.files}


def _safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Source: the format's specification: the header's length in 8 bytes, the header in JSON, the arrays."""
  data = np.asarray(np.memmap(path, np.uint8, 'r'))
  start = 8 + int.from_bytes(data[:8].tobytes(), 'little')
  if start > len(data):
    raise ValueError('its header is cut off, or it is another format')
  header = json.loads(data[8:start].tobytes())
  return {name: _tensor(name, e, data[start:]) for name, e in header.items() if name != '__metadata__'}


def _tensor(name: str, entry: dict[str, Any], data: np.ndarray) -> np.ndarray:
  kind, shape, (begin, end) = entry['dtype'], entry['shape'], entry['data_offsets']
  if kind not in _SAFETENSORS:
    raise ValueError(f"'{name}' is of type {kind}; read are: {', '.join(_SAFETENSORS)}")
  dtype = np.dtype(_SAFETENSORS[kind])
  if not 0 <= begin <= end <= len(data):
    raise ValueError(f"it is cut off: '{name}' ends at byte {end} of {len(data)}")
  if end - begin != math.prod(shape) * dtype.itemsize:
    raise ValueError(f"'{name}' of shape {tuple(shape)} has {end - begin} bytes")
  array = np.frombuffer(data[begin:end], dtype).reshape(shape)
  return pth.widened(array) if kind == _BFLOAT16 else array


_READERS = {
  '.npz': _npz,
  '.safetensors': _safetensors,
  '.pth': pth.read,
  '.pt': pth.read,
  '.tar': pth.read,  # model.pth.tar is no tar archive
  '.bin': pth.read,  # pytorch_model.bin
  '.caffemodel': caffemodel.read,
}
SUFFIXES = tuple(_READERS)
_PREFIX = 'module.'  # of every name, where a network was saved inside DataParallel


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """All arrays of a file of weights by name; some are read-only views of the file.

  Raises:
    ValueError: no such file, another format, damaged, cut off, or without arrays; names file and reason.
  """
  if not path.is_file():
    raise ValueError(f'there is no file {path}')
  if path.suffix not in _READERS:
    raise ValueError(f'{path} is of no known format; names end in one of: {", ".join(SUFFIXES)}')
  try:
    arrays = _READERS[path.suffix](path)
  except Exception as error:  # zipfile, pickle, json and NumPy throw what they like at a damaged file
    reason = str(error) if isinstance(error, ValueError) else f'damaged ({type(error).__name__}: {error})'
    raise ValueError(f'{path} cannot be read: {" ".join(reason.split())[:300]}') from error
  if not arrays:
    raise ValueError(f'{path} holds no arrays')
  if all(name.startswith(_PREFIX) for name in arrays):
    return {name.removeprefix(_PREFIX): array for name, array in arrays.items()}
  return arrays
