"""Mutated files through every reader of others' files: a ValueError on one line, or a legal result.

No crash, no hang, nothing outside a folder, and no label that the table does not know.
"""

import collections
import contextlib
import io
import json
import pathlib
import random
import signal
import tarfile
import time
import zipfile
import zlib

import cv2
import ml_collections
import numpy as np
import pytest
import runs
from PIL import Image

from jseg.data import archives, labels, prepare, records, verify
from jseg.data.builders import camvid
from jseg.engine import workdirs

TABLE = labels.spec_table(camvid.SPEC)
RNG = np.random.default_rng(11)
SECONDS = 20  # for one input; they take milliseconds


class Hang(BaseException):
  """Not an Exception, so that nothing under test can take it for a broken file."""


@contextlib.contextmanager
def time_limit():
  def stop(*_):
    raise Hang

  before = signal.signal(signal.SIGALRM, stop)
  signal.setitimer(signal.ITIMER_REAL, SECONDS)
  try:
    yield
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def encoded(pixels, **options):
  file = io.BytesIO()
  (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(file, **options)
  return file.getvalue()


RGB = np.kron(RNG.integers(0, 256, (6, 5, 3), np.uint8), np.ones((3, 3, 1), np.uint8))
IDS = RNG.integers(0, 12, RGB.shape[:2], np.uint8)
IMAGES = [
  encoded(RGB, format='JPEG'),
  encoded(RGB, format='JPEG', progressive=True, optimize=True),
  encoded(RGB[..., 0], format='JPEG'),
  encoded(Image.fromarray(RGB).convert('CMYK'), format='JPEG'),
  encoded(RGB, format='PNG'),
  encoded(Image.fromarray(RGB).quantize(16), format='PNG', transparency=b'\xff' * 16),
  encoded(np.dstack([RGB, np.full_like(IDS, 255)]), format='PNG'),
  encoded(RGB, format='BMP'),
  encoded(RGB, format='TIFF'),
]
_PALETTE = Image.fromarray(IDS)
_PALETTE.putpalette(bytes(range(36)))
MASKS = [encoded(IDS, format='PNG'), encoded(_PALETTE, format='PNG'), encoded(_PALETTE, format='PNG', bits=4)]
IMAGE_FIRST, MASK_FIRST = IMAGES[0], MASKS[0]


def mutated(data, rng):
  """One to four changes of the kinds that disks, networks and ill will make."""
  data = bytearray(data)
  for _ in range(rng.randint(1, 4)):
    at = rng.randrange(len(data) + 1)
    kind = rng.choice(['flip', 'byte', 'word', 'cut', 'insert', 'delete', 'repeat', 'zeros'])
    size = rng.randint(1, 40)
    if kind == 'flip' and at < len(data):
      data[at] ^= 1 << rng.randrange(8)
    elif kind == 'byte' and at < len(data):
      data[at] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    elif kind == 'word':
      data[at : at + 4] = rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, rng.randrange(2**32)]).to_bytes(
        4, 'big'
      )
    elif kind == 'cut' and rng.random() < 0.5:
      del data[at:]
    elif kind == 'insert':
      data[at:at] = rng.randbytes(size)
    elif kind == 'delete':
      del data[at : at + size]
    elif kind == 'repeat':
      data[at:at] = data[at : at + size]
    elif kind == 'zeros':
      data[at : at + size] = bytes(len(data[at : at + size]))
  return bytes(data)


def with_checksums(png):
  """A mutated PNG whose chunks have right checksums again: what is behind them is reached."""
  out, at = png[:8], 8
  while at + 12 <= len(png):
    length = int.from_bytes(png[at : at + 4], 'big')
    body = png[at + 4 : at + 8 + length]
    if at + 12 + length > len(png):
      return out + png[at:]
    out += png[at : at + 4] + body + zlib.crc32(body).to_bytes(4, 'big')
    at += 12 + length
  return out + png[at:]


def picture(originals, rng):
  data = mutated(rng.choice(originals), rng)
  return with_checksums(data) if data[:4] == b'\x89PNG' and rng.random() < 0.7 else data


def check_ids(ids):
  assert ids.dtype == np.uint8 and ids.ndim == 2
  assert set(np.unique(ids)) <= {*range(11), 255}


def fuzz_pair(rng, folder):
  """A broken image with a sound mask, a sound image with a broken mask."""
  image, mask = IMAGE_FIRST, MASK_FIRST
  if rng.random() < 0.6:
    image = picture(IMAGES, rng)
  else:
    mask = picture(MASKS, rng)
  (folder / 'i.png').write_bytes(image)
  (folder / 'm.png').write_bytes(mask)
  sound = verify.read_pair(verify.Pair('x', folder / 'i.png', folder / 'm.png'), TABLE)
  pixels, ids = sound.pixels, sound.ids
  check_ids(ids)
  if pixels is None:  # the bytes are kept, so training's decoder must see the same picture
    pixels = cv2.imdecode(
      np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    )
    assert pixels is not None, 'OpenCV does not decode what was accepted'
    with Image.open(io.BytesIO(image)) as seen:
      expected = np.array(seen.convert('RGBA' if 'transparency' in seen.info else 'RGB').convert('RGB'))
    if image[:4] == b'\x89PNG':
      np.testing.assert_array_equal(pixels, expected)
  assert pixels.dtype == np.uint8 and pixels.shape[:2] == ids.shape


def fuzz_index(rng, folder):
  raw = labels.read_index(picture(MASKS, rng), 'm.png')
  assert raw.dtype == np.uint8 and raw.ndim == 2
  check_ids(labels.remap(raw, TABLE, 'm.png'))


def fuzz_record(rng, folder):
  """A record of a copy that has rotted, past what ArrayRecord's own checksums find."""
  source = records.PreparedSource.__new__(records.PreparedSource)
  source._objects = None
  broken = rng.random() < 0.5
  record = {
    'image': picture(IMAGES[:1] + IMAGES[4:5], rng) if broken else IMAGE_FIRST,
    'mask': MASK_FIRST if broken else picture(MASKS, rng),
    'id': b'x',
  }
  source._records, source._folder, source._table = [record], folder, TABLE
  example = source[0]
  check_ids(example['labels'])
  assert example['image'].dtype == np.uint8 and example['image'].shape == (*example['labels'].shape, 3)


def other_value(value, rng, depth=0):
  """A JSON value with something in it replaced by something of another kind."""
  if isinstance(value, dict) and value and rng.random() < 0.8:
    key = rng.choice(list(value))
    return value | {rng.choice([key, key, key, 'other']): other_value(value[key], rng, depth + 1)}
  return rng.choice(
    [None, True, -1, 2**70, 1e400, 'word', '', [], [[1]], {}, {'a': {}}, [None, 'x'], {'train': 3}]
  )


def json_text(value, rng):
  if rng.random() < 0.5:
    return mutated(json.dumps(value).encode(), rng)
  if rng.random() < 0.02:
    return b'[' * 100_000
  return json.dumps(other_value(value, rng)).encode()


STAMP = {
  'version': '1.0.0', 'digest': 'ab', 'splits': {'train': 'train', 'val': 'val'}, 'left_out': ['a'], 'of': 3,
  'source': '/x',
}  # fmt: skip


def fuzz_stamp(rng, folder):
  """A copy of which only the stamp is there: not prepared, or its records are missing."""
  home = folder / 'data' / 'camvid'
  home.mkdir(parents=True, exist_ok=True)
  (home / prepare.STAMP).write_bytes(json_text(STAMP, rng))
  place, parts = prepare.ensure(camvid.SPEC, source='', directory=str(folder / 'data'), scan=camvid.scan)
  assert place == home / '1.0.0'
  assert parts and all(isinstance(word, str) for pair in parts.items() for word in pair)
  assert all(isinstance(line, str) for line in prepare.left_out(place))


CONFIG = json.loads(runs.tiny().to_json_best_effort())


def fuzz_config(rng, folder):
  (folder / 'config.json').write_bytes(json_text(CONFIG, rng))
  assert isinstance(workdirs.get_config(str(folder)), ml_collections.ConfigDict)


def packed(kind):
  file = io.BytesIO()
  members = {'CamVid/train.txt': b'a b\n' * 9, 'CamVid/train/a.png': MASK_FIRST, 'README': b'r'}
  if kind == 'zip':
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
      for name, content in members.items():
        archive.writestr(name, content)
  else:
    with tarfile.open(fileobj=file, mode=kind) as archive:
      for name, content in members.items():
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
  return file.getvalue()


ARCHIVES = [
  (ending, packed(kind))
  for ending, kind in {'.zip': 'zip', '.tar': 'w', '.tgz': 'w:gz', '.tar.bz2': 'w:bz2'}.items()
]


def fuzz_archive(rng, folder):
  ending, data = rng.choice(ARCHIVES)
  header = rng.random() < 0.5
  data = mutated(data[:600], rng) + data[600:] if header else mutated(data, rng)
  place = folder / 'archive'
  place.mkdir(exist_ok=True)
  (place / f'a{ending}').write_bytes(data)
  try:
    with archives.unpacked([place / f'a{ending}'], place / 'inside') as top:
      for path in top.rglob('*'):
        assert not path.is_symlink() and (path.is_file() or path.is_dir())
  finally:
    assert [path.name for path in place.iterdir()] == [f'a{ending}']
    (place / f'a{ending}').unlink()


TARGETS = [fuzz_pair, fuzz_pair, fuzz_index, fuzz_record, fuzz_stamp, fuzz_config, fuzz_archive]


def run(count, seed, folder):
  """Counts what came of each reader; every fifth input of a kind at least has to be refused."""
  outcomes = collections.Counter()
  began = time.monotonic()
  for number in range(count):
    rng = random.Random(f'{seed} {number}')
    target = TARGETS[number % len(TARGETS)]
    here = pathlib.Path(folder)
    with time_limit():
      try:
        target(rng, here)
        outcomes[target.__name__, 'read'] += 1
      except ValueError as error:
        assert error.args and '\n' not in str(error), f'{target.__name__} {number}: {error}'
        outcomes[target.__name__, 'refused'] += 1
      except BaseException as error:
        raise AssertionError(f'{target.__name__} {number} of seed {seed}: {error!r}') from error
  print(f'{count} inputs in {time.monotonic() - began:.1f} s: {dict(sorted(outcomes.items()))}')
  for target in set(TARGETS):
    read, refused = (outcomes[target.__name__, kind] for kind in ('read', 'refused'))
    assert refused > 0.1 * (read + refused) and read, f'{target.__name__}: the changes change nothing'


@pytest.mark.filterwarnings('ignore')  # what a library mumbles over a broken file is not looked at here
def test_a_few_hundred_mutated_inputs(tmp_path):
  run(700, 'few', tmp_path)


@pytest.mark.long
@pytest.mark.filterwarnings('ignore')
def test_ten_thousand_mutated_inputs(tmp_path):
  run(10_000, 'many', tmp_path)
