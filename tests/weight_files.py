"""Writers of the formats that jseg.convert.files reads, for its tests: safetensors and Caffe's protobuf."""

import json
import struct

import ml_dtypes
import numpy as np

_NAMES = {'float64': 'F64', 'float32': 'F32', 'float16': 'F16', 'int64': 'I64', 'uint8': 'U8', 'bool': 'BOOL'}


def safetensors(arrays, metadata=None):
  """The bytes of a .safetensors file."""
  header, data = {} if metadata is None else {'__metadata__': metadata}, b''
  for name, array in arrays.items():
    kind = 'BF16' if array.dtype == ml_dtypes.bfloat16 else _NAMES[array.dtype.name]
    begin, data = len(data), data + array.tobytes()
    header[name] = {'dtype': kind, 'shape': list(array.shape), 'data_offsets': [begin, len(data)]}
  text = json.dumps(header).encode()
  return struct.pack('<Q', len(text)) + text + data


def varint(value):
  out = b''
  while value >= 0x80:
    out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
  return out + bytes([value])


def field(number, value):
  """One field of a message: a number, text, or bytes (a message, packed numbers)."""
  if isinstance(value, int):
    return varint(number << 3) + varint(value)
  value = value.encode() if isinstance(value, str) else value
  return varint(number << 3 | 2) + varint(len(value)) + value


def blob(array, legacy=False):
  """A BlobProto; legacy: of four sizes, those in front being 1."""
  array = np.asarray(array)
  if legacy:
    sizes = (1,) * (4 - array.ndim) + array.shape
    shape = b''.join(field(i, n) for i, n in enumerate(sizes, 1))
  else:
    shape = field(7, field(1, b''.join(varint(n) for n in array.shape)))
  if array.dtype == np.float64:
    return shape + field(8, array.astype('<f8').tobytes())
  return shape + field(5, array.astype('<f4').tobytes())


def layer(name, kind, *blobs):
  """A LayerParameter as a field of NetParameter."""
  body = field(1, name) + field(2, kind) + field(3, 'below') + field(4, name) + field(10, 1)
  return field(100, body + b''.join(field(7, blob(b)) for b in blobs))


def v1_layer(name, kind, *blobs):
  """A V1LayerParameter as a field of NetParameter; kind is its number."""
  body = field(2, 'below') + field(3, name) + field(4, name) + field(5, kind)
  return field(2, body + b''.join(field(6, blob(b, legacy=True)) for b in blobs))
