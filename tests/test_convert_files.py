"""Files of others' weights: what each format holds is read, what is damaged or foreign is one clear line."""

import importlib.machinery
import io
import os
import pathlib
import pickle
import sys
import types
import zipfile

import ml_dtypes
import numpy as np
import pytest
import weight_files as wf

from jseg.convert import files, hub

DATA = pathlib.Path(__file__).parent / 'data'  # written by torch 2.13: torch.save in both of its layouts


def read(path, content=None):
  if content is not None:
    path.write_bytes(content)
  return files.read(path)


def assert_same(found, wanted):
  assert found.keys() == wanted.keys()
  for name, array in wanted.items():
    assert found[name].dtype == np.asarray(array).dtype, name
    np.testing.assert_array_equal(found[name], array, err_msg=name)


def floats(*shape):
  return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def npz(arrays):
  file = io.BytesIO()
  np.savez(file, **arrays)
  return file.getvalue()


def caffemodel():
  """One network with every kind of layer that holds weights."""
  return (
    wf.field(1, 'net')
    + wf.layer('conv1/3x3', 'Convolution', floats(2, 3, 3, 3), floats(2))
    + wf.layer('relu', 'ReLU')
    + wf.layer('bn1', 'BatchNorm', np.float32([2, 4]), np.float32([6, 8]), np.float32([2]))
    + wf.layer('scale1', 'Scale', np.float32([1, 2]), np.float32([3, 4]))
    + wf.layer('fc', 'InnerProduct', np.arange(6.0).reshape(2, 3), np.float32([0, 1]))
  )


FORMATS = {
  '.npz': npz({'a.weight': floats(3, 4), 'a.bias': floats(4)}),
  '.safetensors': wf.safetensors({'a.weight': floats(3, 4), 'a.bias': floats(4)}),
  '.pth': (DATA / 'zipped.pth').read_bytes(),
  '.pt': (DATA / 'legacy.pth').read_bytes(),
  '.caffemodel': caffemodel(),
}


def test_npz(tmp_path):
  arrays = {'a.weight': floats(3, 4), 'b': np.int64(3), 'c': np.float16([1, 2])}
  assert_same(read(tmp_path / 'w.npz', npz(arrays)), arrays)
  wrapped = {f'module.{name}': array for name, array in arrays.items()}
  assert_same(read(tmp_path / 'w.npz', npz(wrapped)), arrays)
  mixed = {**wrapped, 'other': np.zeros(2)}  # not of every name: part of the names
  assert_same(read(tmp_path / 'w.npz', npz(mixed)), mixed)
  with pytest.raises(ValueError, match='w.npz cannot be read: Object arrays'):
    read(tmp_path / 'w.npz', npz({'a': np.array([{}], object)}))


def test_safetensors(tmp_path):
  arrays = {
    'a': floats(3, 4), 'b': floats(2).astype(np.float64), 'c': np.float16([0.5, -2]), 'd': np.int64(7),
    'e': np.array([True, False]), 'f': np.uint8([1, 255]), 'g': np.zeros((0, 3), np.float32),
  }  # fmt: skip
  path = tmp_path / 'w.safetensors'
  assert_same(read(path, wf.safetensors(arrays, {'format': 'pt'})), arrays)
  half = floats(5, 2).astype(ml_dtypes.bfloat16)
  assert_same(read(path, wf.safetensors({'h': half})), {'h': half.astype(np.float32)})
  for content, message in (
    (wf.safetensors({'a': floats(3)}).replace(b'F32', b'F8_'), "'a' is of type F8_; read are: F64, F32"),
    (wf.safetensors({'a': floats(3)}).replace(b'[3]', b'[4]'), r"'a' of shape \(4,\) has 12 bytes"),
    (wf.safetensors({}), 'holds no arrays'),
  ):
    with pytest.raises(ValueError, match=message):
      read(path, content)


@pytest.mark.parametrize('name', ['zipped.pth', 'legacy.pth'])
def test_torch(name):
  """Strides, offsets into a shared storage, all types, parameters old and new, beside what trainers save."""
  base = np.arange(40, dtype=np.float32)
  wanted = {
    'conv.weight': np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) / 8,
    'turned': np.arange(12.0).reshape(3, 4).T,
    'part': base[8:32].reshape(4, 6)[:, 1::2],
    'rest': base[33:],
    'half': np.float16([0.5, -2.0, 65504.0]),
    'brain': np.float32(np.array([1.0, -0.15625, 3.0e38, 2.0**-126], ml_dtypes.bfloat16)),
    'count': np.int64(7),
    'flags': np.array([True, False]),
    'bytes': np.uint8([1, 255]),
    'none': np.zeros((0, 3), np.float32),
    'old': np.float32([3, 4]),
  }
  assert_same(files.read(DATA / name), wanted)


def zipped(tree, **storages):
  """A .pth file of the newer layout with any pickle in it."""
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w') as archive:
    archive.writestr('archive/data.pkl', tree if isinstance(tree, bytes) else pickle.dumps(tree, 2))
    for key, data in storages.items():
      archive.writestr(f'archive/data/{key.removeprefix("s")}', data)
  return file.getvalue()


class Evil:
  def __reduce__(self):
    return os.mkdir, (str(self.path),)


@pytest.mark.parametrize('legacy', [False, True])
def test_nothing_in_a_pickle_is_run(tmp_path, legacy):
  evil = Evil()
  evil.path = tmp_path / 'made'
  tree = pickle.dumps({'state_dict': {'a': evil}}, 2)
  assert pickle.loads(tree) and evil.path.is_dir()  # the pickle does it where it may
  evil.path.rmdir()
  content = zipped(tree)
  if legacy:
    parts = (0x1950A86A20F9469CFC6C, 1001, {'little_endian': True})
    content = b''.join(pickle.dumps(part, 2) for part in parts) + tree + pickle.dumps([], 2)
  with pytest.raises(ValueError, match='w.pth cannot be read: holds no state_dict'):
    read(tmp_path / 'w.pth', content)
  assert not evil.path.exists()


def tensor(key, offset, shape, stride, count=4):
  """The pickle of {'a': a tensor}, written out since no torch is at hand."""
  ints = lambda values: '(' + ''.join(f'I{v}\n' for v in values) + 't'  # noqa: E731
  storage = f'(Vstorage\nctorch\nFloatStorage\nV{key}\nVcpu\nI{count}\ntQ'
  return (
    f'(dVa\nctorch._utils\n_rebuild_tensor_v2\n({storage}I{offset}\n{ints(shape)}{ints(stride)}I00\n(dtRs.'
  )


def test_tensors_stay_in_their_storage(tmp_path):
  path, data = tmp_path / 'w.pth', np.float32([1, 2, 3, 4]).tobytes()
  good = zipped(tensor('0', 1, [3], [1]).encode(), s0=data)
  assert_same(read(path, good), {'a': np.float32([2, 3, 4])})
  for offset, shape, stride in (
    (2, [3], [1]),
    (-1, [3], [1]),
    (0, [2], [4]),
    (3, [2], [-1]),
    (0, [2, 2], [1]),
  ):
    with pytest.raises(ValueError, match='reaches beyond its storage|no proper shape'):
      read(path, zipped(tensor('0', offset, shape, stride).encode(), s0=data))
  with pytest.raises(ValueError, match='reaches beyond its storage'):
    read(path, zipped(tensor('0', 0, [2], [1], count=4).encode(), s0=data[:8]))
  with pytest.raises(ValueError, match='damaged'):
    read(path, zipped(tensor('1', 0, [2], [1]).encode(), s0=data))


def test_what_is_no_state_dict_is_named(tmp_path, monkeypatch):
  path = tmp_path / 'w.pth'
  with pytest.raises(ValueError, match='holds no state_dict, but: epoch, optimizer'):
    read(path, zipped({'epoch': 3, 'optimizer': {}}))
  monkeypatch.setitem(sys.modules, 'nets', types.ModuleType('nets'))
  model = type('Model', (), {'__module__': 'nets'})
  sys.modules['nets'].Model = model
  with pytest.raises(
    ValueError, match='holds a nets.Model, whose code would have to run; save its state_dict'
  ):
    read(path, zipped(model()))
  content = tensor('0', 0, [2], [1]).replace('s.', 'sVb\ncnets\nModel\n(tRs.')
  with pytest.raises(ValueError, match="'b' is a nets.Model, which is not read"):
    read(path, zipped(content.encode(), s0=np.zeros(4, np.float32).tobytes()))
  with pytest.raises(ValueError, match='torch.save did not write it'):
    read(path, npz({'a': floats(2)}))


def test_caffemodel(tmp_path):
  found = read(tmp_path / 'w.caffemodel', caffemodel())
  wanted = {
    'conv1/3x3.weight': floats(2, 3, 3, 3),
    'conv1/3x3.bias': floats(2),
    'bn1.running_mean': np.float32([1, 2]),
    'bn1.running_var': np.float32([3, 4]),
    'scale1.weight': np.float32([1, 2]),
    'scale1.bias': np.float32([3, 4]),
    'fc.weight': np.arange(6.0).reshape(2, 3),
    'fc.bias': np.float32([0, 1]),
  }
  assert_same(found, wanted)


def test_caffemodel_of_v1(tmp_path):
  content = (
    wf.v1_layer('conv1_1', 4, floats(2, 3, 3, 3), floats(2))
    + wf.v1_layer('fc6', 14, floats(2, 18), floats(2))
    + wf.v1_layer('up', 39, floats(2, 2, 4, 4))
    + wf.v1_layer('bn', 77, *(floats(2)[None, :, None, None] + i for i in range(4)))
    + wf.v1_layer('relu', 18)
  )
  found = read(tmp_path / 'w.caffemodel', content)
  statistics = ('weight', 'bias', 'running_mean', 'running_var')
  wanted = {
    'conv1_1.weight': floats(2, 3, 3, 3),
    'conv1_1.bias': floats(2),
    'fc6.weight': floats(2, 18),
    'fc6.bias': floats(2),
    'up.weight': floats(2, 2, 4, 4),
    **{f'bn.{name}': floats(2) + i for i, name in enumerate(statistics)},
  }
  assert_same(found, wanted)


def test_caffe_normalisation(tmp_path):
  """BN of the forks: with statistics, or with those folded into scale and shift, which then stay."""
  c = floats(3)[None, :, None, None]
  content = wf.layer('a', 'BN', c, c + 1, c + 2, c + 3) + wf.layer('b', 'BN', c, c + 1)
  content += wf.v1_layer('d', 77, c, c + 1)
  content += wf.layer('c', 'BatchNorm', floats(3), floats(3), np.float32([0]))
  found = read(tmp_path / 'w.caffemodel', content)
  for i, name in enumerate(('weight', 'bias', 'running_mean', 'running_var')):
    np.testing.assert_array_equal(found[f'a.{name}'], floats(3) + i)
  x = floats(5, 3)
  y = (x - found['b.running_mean']) / np.sqrt(found['b.running_var'] + 1e-5) * found['b.weight'] + found[
    'b.bias'
  ]
  np.testing.assert_allclose(y, x * floats(3) + (floats(3) + 1), rtol=1e-6)
  for leaf in ('weight', 'bias', 'running_mean', 'running_var'):
    np.testing.assert_array_equal(found[f'd.{leaf}'], found[f'b.{leaf}'])
  np.testing.assert_array_equal(found['c.running_mean'], np.zeros(3))


def test_caffemodel_faults(tmp_path):
  conv = wf.layer('a', 'Convolution', floats(2, 3, 3, 3))
  v0 = wf.field(2, wf.field(1, wf.field(1, 'conv1') + wf.field(50, wf.blob(floats(2, 2)))))
  for content, message in (
    (conv + conv, "two layers are called 'a'"),
    (v0, 'of the first version of Caffe'),
    (wf.field(1, 'net') + wf.layer('relu', 'ReLU'), 'no layer with weights'),
    (b'name: "net"\nlayer {}\n', 'not a protobuf message'),
    (
      wf.field(100, wf.field(1, 'a') + wf.field(7, wf.field(7, wf.field(1, b'\3')))),
      r'shape \(3,\) has 0 values',
    ),
  ):
    with pytest.raises(ValueError, match=message):
      read(tmp_path / 'w.caffemodel', content)


@pytest.mark.parametrize('suffix', FORMATS)
def test_every_cut_is_seen(tmp_path, suffix):
  content, path = FORMATS[suffix], tmp_path / f'w{suffix}'
  whole = read(path, content)
  for length in sorted({*range(0, len(content), max(1, len(content) // 150)), len(content) - 1}):
    try:
      found = read(path, content[:length])
    except ValueError as error:
      assert str(path) in str(error) and '\n' not in str(error)
    else:  # between two layers a cut leaves a network that is whole
      assert suffix == '.caffemodel' and found.keys() < whole.keys()


@pytest.mark.parametrize('suffix', FORMATS)
def test_no_damage_escapes_as_another_error(tmp_path, suffix):
  """A flipped bit in the arrays themselves shows only where the format has checksums: zip archives."""
  rng, path, refused = np.random.default_rng(0), tmp_path / f'w{suffix}', 0
  whole = read(path, FORMATS[suffix])
  for _ in range(300):
    content = bytearray(FORMATS[suffix])
    for place in rng.integers(len(content), size=rng.integers(1, 4)):
      content[place] ^= 1 << rng.integers(8)
    try:
      found = read(path, bytes(content))
    except ValueError as error:
      assert str(path) in str(error) and '\n' not in str(error)
      refused += 1
    else:
      if suffix in ('.npz', '.pth'):  # an array may be lost with its place in the archive's list
        assert_same(found, {name: whole[name] for name in found})
  assert refused > 30


def test_foreign_files_are_refused(tmp_path):
  for suffix in FORMATS:
    path = tmp_path / f'w{suffix}'
    for other, content in {
      **FORMATS,
      'text': b'hello\n' * 50,
      'zeros': bytes(500),
      'page': b'<!DOCTYPE',
    }.items():
      if other != suffix and {other, suffix} != {'.pth', '.pt'}:
        with pytest.raises(ValueError, match=f'w{suffix} (cannot be read|holds no arrays)'):
          read(path, content)
  with pytest.raises(ValueError, match='there is no file'):
    read(tmp_path / 'none.pth')
  with pytest.raises(ValueError, match='of no known format; names end in one of: .npz, .safetensors'):
    read(tmp_path / 'w.h5', b'')


class Hub(types.ModuleType):
  """A stand-in for huggingface_hub."""

  def __init__(self, folder, names):
    super().__init__('huggingface_hub')
    self.__spec__ = importlib.machinery.ModuleSpec('huggingface_hub', None)
    self.folder, self.names, self.asked = folder, names, []

  def list_repo_files(self, repository):
    if repository == 'nobody/nothing':
      raise OSError('404\nRepository not found')
    return self.names

  def hf_hub_download(self, repository, name):
    self.asked.append((repository, name))
    return str(self.folder / name)


def test_hub(tmp_path, monkeypatch):
  def install(*names):
    module = Hub(tmp_path, list(names))
    monkeypatch.setitem(sys.modules, 'huggingface_hub', module)
    return module

  module = install('README.md', 'pytorch_model.bin', 'model.safetensors')
  assert hub.fetch('hf:timm/resnet50.a1_in1k') == tmp_path / 'model.safetensors'
  assert hub.fetch('hf:timm/resnet50.a1_in1k/some/w.pth') == tmp_path / 'some' / 'w.pth'
  assert module.asked == [
    ('timm/resnet50.a1_in1k', 'model.safetensors'), ('timm/resnet50.a1_in1k', 'some/w.pth'),
  ]  # fmt: skip
  install('pytorch_model.bin', 'x.npz')
  assert hub.fetch('hf:a/b').name == 'pytorch_model.bin'
  install('README.md', 'vgg.pth')
  assert hub.fetch('hf:a/b').name == 'vgg.pth'
  install('a.pth', 'b.pth')
  with pytest.raises(ValueError, match='name one of its files, hf:a/b/<file>; there are: a.pth, b.pth'):
    hub.fetch('hf:a/b')
  with pytest.raises(ValueError, match="'hf:nobody/nothing' cannot be fetched: 404 Repository not found"):
    hub.fetch('hf:nobody/nothing')
  with pytest.raises(ValueError, match='is no address on the hub'):
    hub.fetch('hf:resnet50')


def test_hub_says_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ValueError, match=r"needs huggingface_hub: pip install 'jseg\[hf\]'"):
    hub.fetch('hf:a/b')
