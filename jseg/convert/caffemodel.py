"""Trained Caffe networks (.caffemodel), read without Caffe: the few protobuf fields that hold weights.

Source: caffe.proto of BVLC/caffe: NetParameter, LayerParameter, V1LayerParameter and BlobProto. Arrays are
named <layer>.weight, <layer>.bias, <layer>.running_mean and <layer>.running_var, so that converters see the
names of torch. Channel order is the network's own: nearly all of them take BGR.
"""

import math
import pathlib
from collections.abc import Iterator

import numpy as np

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf's wire types
_LAYER, _V1_LAYER = 100, 2  # fields of NetParameter
# V1LayerParameter.LayerType; forks number their own types as they like, those are told by their blobs.
_V1_TYPES = {4: 'Convolution', 14: 'InnerProduct', 39: 'Deconvolution'}
# caffe-segnet and its kin fold the statistics into scale and shift. A variance of 1 less the epsilon of our
# normalisation (1e-5) leaves these as they are.
_FOLDED_VARIANCE = 1 - 1e-5

Field = tuple[int, int | memoryview]  # number and value


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The blobs of all layers, read-only where they need no arithmetic.

  BatchNorm's sums are divided by their factor. A BN layer of the forks (caffe-segnet, PSPNet, DeconvNet) has
  scale and shift, and mean and variance if it keeps them.

  Raises:
    ValueError: the file is cut off, is no Caffe network, or is of the first version of Caffe.
  """
  data = np.asarray(np.memmap(path, np.uint8, 'r')).data
  arrays: dict[str, np.ndarray] = {}
  for number, value in _fields(data):
    if number not in (_LAYER, _V1_LAYER) or not isinstance(value, memoryview):
      continue
    name, kind, blobs = _layer(value) if number == _LAYER else _v1_layer(value)
    for leaf, array in _named(kind, blobs).items() if blobs else ():
      if f'{name}.{leaf}' in arrays:
        raise ValueError(f"two layers are called '{name}'")
      arrays[f'{name}.{leaf}'] = array
  if not arrays:
    raise ValueError('no layer with weights in it: not a trained Caffe network')
  return arrays


def _varint(data: memoryview, position: int) -> tuple[int, int]:
  """The number at `position`, seven bits a byte, and where it ends."""
  value = 0
  for shift in range(0, 70, 7):
    if position >= len(data):
      raise ValueError('it is cut off')
    byte, position = data[position], position + 1
    value |= (byte & 0x7F) << shift
    if byte < 0x80:
      return value, position
  raise ValueError('not a protobuf message')


def _fields(data: memoryview) -> Iterator[Field]:
  """The fields of one message in turn."""
  position = 0
  while position < len(data):
    key, position = _varint(data, position)
    number, wire = key >> 3, key & 7
    if number == 0 or wire not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
      raise ValueError('not a protobuf message')
    if wire == _VARINT:
      value, position = _varint(data, position)
      yield number, value
      continue
    size = {_FIXED64: 8, _FIXED32: 4, _BYTES: 0}[wire]
    if wire == _BYTES:
      size, position = _varint(data, position)
    if position + size > len(data):
      raise ValueError('it is cut off')
    yield number, data[position : position + size]
    position += size


def _layer(data: memoryview) -> tuple[str, str, list[np.ndarray]]:
  """(name, type, blobs) of a LayerParameter."""
  texts, blobs = {1: '', 2: ''}, []
  for number, value in _fields(data):
    if number in texts and isinstance(value, memoryview):
      texts[number] = str(value, 'utf-8')
    elif number == 7 and isinstance(value, memoryview):
      blobs.append(_blob(value))
  return texts[1], texts[2], blobs


def _v1_layer(data: memoryview) -> tuple[str, str, list[np.ndarray]]:
  """(name, type or '', blobs) of a V1LayerParameter."""
  name, kind, blobs = '', '', []
  for number, value in _fields(data):
    if isinstance(value, int):
      if number == 5 and value in _V1_TYPES:
        kind = _V1_TYPES[value]
    elif number == 1:
      raise ValueError("of the first version of Caffe; Caffe's upgrade_net_proto_binary brings it up to date")
    elif number == 4:
      name = str(value, 'utf-8')
    elif number == 6:
      blobs.append(_blob(value))
  return name, kind, blobs


def _blob(data: memoryview) -> np.ndarray:
  """A BlobProto; of four sizes, the older form, or of any shape."""
  sizes, shape, parts = {}, None, []
  for number, value in _fields(data):
    if isinstance(value, int):
      sizes[number] = value
    elif number == 7:
      shape = _shape(value)
    elif number in (5, 8):
      parts.append(np.frombuffer(value, '<f4' if number == 5 else '<f8'))
  values = parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.float32), *parts])
  if shape is None:
    shape = tuple(sizes[i] for i in range(1, 5) if i in sizes)
  if math.prod(shape) != len(values):
    raise ValueError(f'a blob of shape {shape} has {len(values)} values')
  return values.reshape(shape)


def _shape(data: memoryview) -> tuple[int, ...]:
  dims: list[int] = []
  for number, value in _fields(data):
    if number != 1:
      continue
    if isinstance(value, int):
      dims.append(value)
      continue
    position = 0
    while position < len(value):
      dim, position = _varint(value, position)
      dims.append(dim)
  return tuple(dims)


def _named(kind: str, blobs: list[np.ndarray]) -> dict[str, np.ndarray]:
  """The blobs of a layer by the names of torch."""
  flat: list[np.ndarray] = [blob.reshape(-1) for blob in blobs]
  alike = len({len(blob) for blob in flat}) == 1
  if kind == 'BatchNorm' and len(blobs) == 3:
    factor = flat[2][0] if flat[2][0] else np.inf  # Caffe's rule: nothing was averaged yet
    return {'running_mean': flat[0] / factor, 'running_var': flat[1] / factor}
  if alike and kind in ('BN', '') and len(blobs) in (2, 4):
    names = ('weight', 'bias', 'running_mean', 'running_var')
    statistics = [np.zeros_like(flat[0]), np.full_like(flat[0], _FOLDED_VARIANCE)]
    return dict(zip(names, [*flat, *statistics][:4], strict=True))
  if kind == 'InnerProduct':
    flat[0] = blobs[0].reshape(blobs[0].shape[-2:])
  elif kind not in ('Scale', 'PReLU'):
    flat[0] = blobs[0]
  names = ['weight', 'bias', *(f'blob{i}' for i in range(2, len(flat)))]
  return dict(zip(names, flat, strict=False))
