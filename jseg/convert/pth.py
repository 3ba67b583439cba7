"""Weights that torch.save wrote, read without torch and without running anything that the file names.

Two layouts: a zip archive with data.pkl and one file for each storage (torch 1.6 and later), and before that
a row of pickles followed by the raw storages. A pickle may name any function to be called; here tensors and
ordered dictionaries are rebuilt, and everything else becomes an inert stand-in.
"""

import collections
import functools
import io
import pathlib
import pickle
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

_MAGIC = b'\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.'  # the older layout's first pickle

# A storage's type in the pickle -> its elements. NumPy has no bfloat16: its bits are read, then widened.
_BFLOAT16 = 'BFloat16Storage'
_STORAGES = {
  'FloatStorage': '<f4',
  'DoubleStorage': '<f8',
  'HalfStorage': '<f2',
  _BFLOAT16: '<u2',
  'LongStorage': '<i8',
  'IntStorage': '<i4',
  'ShortStorage': '<i2',
  'CharStorage': 'i1',
  'ByteStorage': 'u1',
  'BoolStorage': '?',
}
# Where trainers keep the weights among the other things they save.
_WRAPPERS = ('state_dict', 'model_state_dict', 'model_state', 'model')


class _Storage(NamedTuple):
  key: str
  kind: str  # a key of _STORAGES
  size: int  # elements


class _Tensor(NamedTuple):
  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  stride: tuple[int, ...]

  def __setstate__(self, state):
    del state  # of a parameter of torch 0.x: requires_grad, volatile, hooks


class _Inert:
  """Stands for an object of a class that is not rebuilt: takes whatever is done to it and does nothing."""

  origin = ''

  def __init__(self, *args, **kwargs):
    del args, kwargs

  def _nothing(self, *args):
    del args

  __setstate__ = __setitem__ = append = extend = add = _nothing


def _tensor(storage, offset, shape, stride, *rest) -> _Tensor:
  del rest  # requires_grad, hooks
  return _Tensor(storage, offset, tuple(shape), tuple(stride))


def _parameter(data, *rest):
  del rest  # requires_grad, hooks
  return data


_KNOWN = {
  ('collections', 'OrderedDict'): collections.OrderedDict,
  ('torch._utils', '_rebuild_tensor'): _tensor,
  ('torch._utils', '_rebuild_tensor_v2'): _tensor,
  ('torch._utils', '_rebuild_parameter'): _parameter,
  ('torch._utils', '_rebuild_parameter_with_state'): _parameter,
  ('torch.nn.parameter', 'Parameter'): _parameter,
}


class _Unpickler(pickle._Unpickler):
  """Reads one pickle; `storages` fills with what its tensors refer to.

  pickle's form in Python: the one in C may allocate gigabytes when a damaged file says so.
  """

  def __init__(self, file, storages: dict[str, _Storage]):
    super().__init__(file, encoding='utf-8')  # as torch reads those of Python 2
    self._storages = storages

  def find_class(self, module: str, name: str) -> Any:
    if (module, name) in _KNOWN:
      return _KNOWN[module, name]
    if module == 'torch' and name in _STORAGES:
      return name
    return type(name, (_Inert,), {'origin': f'{module}.{name}'})

  def persistent_load(self, pid: Any) -> _Storage:
    kind, storage_type, key, _, size, *view = pid
    if kind != 'storage' or storage_type not in _STORAGES:
      raise ValueError(f'a tensor lies in {storage_type.origin}, which is not read')
    if any(part is not None for part in view):
      raise ValueError('a storage is a view of another; save it again with a newer torch')
    self._storages[key] = _Storage(key, storage_type, size)
    return self._storages[key]


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The arrays of the state_dict in a .pth file, read-only; bfloat16 as float32.

  Raises:
    ValueError: there is no state_dict in it, or a tensor leaves its storage.
    Exception: whatever zipfile and pickle throw at a damaged file.
  """
  if zipfile.is_zipfile(path):
    return _zipped(path)
  return _legacy(path)


def widened(bits: np.ndarray) -> np.ndarray:
  """bfloat16 given as uint16 bits, as float32."""
  return (bits.astype(np.uint32) << 16).view(np.float32)


def _zipped(path: pathlib.Path) -> dict[str, np.ndarray]:
  with zipfile.ZipFile(path) as archive:
    names = archive.namelist()
    pickles = [name for name in names if name.endswith('/data.pkl')]
    if len(pickles) != 1:
      raise ValueError('a zip archive without data.pkl: torch.save did not write it')
    root = pickles[0].removesuffix('data.pkl')
    if f'{root}byteorder' in names and archive.read(f'{root}byteorder') != b'little':
      raise ValueError('written on a big-endian machine')
    tree = _Unpickler(io.BytesIO(archive.read(pickles[0])), {}).load()
    raw = functools.cache(lambda key: archive.read(f'{root}data/{key}'))
    return _arrays(tree, lambda storage: raw(storage.key))


def _legacy(path: pathlib.Path) -> dict[str, np.ndarray]:
  storages: dict[str, _Storage] = {}
  with path.open('rb') as file:
    if file.read(len(_MAGIC)) != _MAGIC:
      raise ValueError('torch.save did not write it, or it is cut off')
    _, system = (_Unpickler(file, {}).load() for _ in range(2))  # the layout's version comes first
    if not system['little_endian']:
      raise ValueError('written on a big-endian machine')
    tree = _Unpickler(file, storages).load()
    keys = _Unpickler(file, {}).load()
    position = file.tell()
  data, raw = np.asarray(np.memmap(path, np.uint8, 'r')), {}
  for key in keys:
    storage = storages[key]
    size = int.from_bytes(data[position : position + 8].tobytes(), 'little')
    end = position + 8 + size * np.dtype(_STORAGES[storage.kind]).itemsize
    if size != storage.size or end > len(data):
      raise ValueError('its storages are cut off')
    raw[key], position = data[position + 8 : end], end
  return _arrays(tree, lambda storage: raw[storage.key])


def _arrays(tree: Any, raw: Callable[[_Storage], Any]) -> dict[str, np.ndarray]:
  """The arrays of the state_dict somewhere in `tree`; raw(storage): its bytes."""
  if isinstance(tree, Mapping):
    for key in _WRAPPERS:
      if isinstance(inner := tree[key] if key in tree else None, Mapping):
        return _arrays(inner, raw)
  if isinstance(tree, _Inert):
    raise ValueError(f'holds a {tree.origin}, whose code would have to run; save its state_dict() instead')
  if not isinstance(tree, Mapping) or not any(isinstance(value, _Tensor) for value in tree.values()):
    holds = ', '.join(map(str, tree)) if isinstance(tree, Mapping) else type(tree).__name__
    raise ValueError(f'holds no state_dict, but: {holds[:200] or "nothing"}')
  for name, value in tree.items():
    if isinstance(value, _Inert):
      raise ValueError(f"'{name}' is a {value.origin}, which is not read")
  return {str(name): _array(v, raw(v.storage)) for name, v in tree.items() if isinstance(v, _Tensor)}


def _array(tensor: _Tensor, raw: Any) -> np.ndarray:
  storage, offset, shape, stride = tensor
  elements = np.frombuffer(raw, _STORAGES[storage.kind])
  if len(shape) != len(stride) or min((offset, *shape, *stride)) < 0:
    raise ValueError('a tensor has no proper shape')
  last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
  if len(elements) != storage.size or (all(shape) and last >= len(elements)):
    raise ValueError('a tensor reaches beyond its storage')
  # Checked just above: as_strided itself would read any memory.
  view = np.lib.stride_tricks.as_strided(
    elements[offset:], shape, [s * elements.itemsize for s in stride], writeable=False
  )
  return widened(view) if storage.kind == _BFLOAT16 else view
