"""Bad files, twenty kinds and more: refused by name and reason, or read to the pixels that are meant.

What is refused is refused by preparing and reported by verifying, with the same line. What is not must come
out of the copy, which training decodes with OpenCV, as Pillow reads it from the owners' file.
"""

import io
import json
import os
import pathlib
import shutil
import tempfile

import layouts
import numpy as np
import pytest
import runs
import scipy.io
from PIL import Image
from test_camvid import make_camvid

from jseg import dataset
from jseg.data import images, labels, layout, records, verify
from jseg.data.builders import camvid, siftflow
from jseg.engine import resolve

SHAPE = (12, 16)
RNG = np.random.default_rng(3)
PIXELS = np.kron(RNG.integers(0, 256, (3, 4, 3), np.uint8), np.ones((4, 4, 1), np.uint8))  # JPEG bears it


@pytest.fixture
def source(tmp_path):
  make_camvid(tmp_path / 'CamVid')
  return tmp_path / 'CamVid'


def save(path, image, **options):
  """Writes an image over a file, in the format of `options`, else of its ending."""
  file = io.BytesIO()
  image.save(file, **{'format': 'PNG'} | options)
  path.write_bytes(file.getvalue())


def refused(source, tmp_path, message, capsys):
  """Preparing ends with the one line that verifying reports beside nothing else."""
  with pytest.raises(ValueError, match=message) as error:
    camvid.open_split('train', source=str(source), directory=str(tmp_path / 'data'))
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'data' / 'camvid').exists()
  capsys.readouterr()
  assert dataset.run('verify', 'camvid', str(source), '') == 1
  out = capsys.readouterr().out.splitlines()
  assert out[0] == str(error.value)
  assert out[-2].endswith('; 1 problem')


def first(source, tmp_path):
  assert list(verify.all_problems(camvid.SPEC, camvid.scan(str(source)))) == []
  return camvid.open_split('train', source=str(source), directory=str(tmp_path / 'data'))[0]


def with_exif(orientation):
  exif = Image.Exif()
  exif[274] = orientation
  return exif


def wide(mode='RGB'):
  """A PNG of 16 bits a channel."""
  import cv2

  deep = PIXELS.astype(np.uint16) * 257
  return cv2.imencode('.png', deep if mode == 'RGB' else deep[..., 0])[1].tobytes()


IMAGE = 'train/train_00.png: '
IMAGES = {  # what becomes of train/train_00.png, and the line
  'truncated JPEG': (
    lambda p: (save(p, Image.fromarray(PIXELS), format='JPEG'), p.write_bytes(p.read_bytes()[:-40])),
    IMAGE + r'not a readable image \(.*truncated',
  ),
  'empty': (lambda p: p.write_bytes(b''), IMAGE + 'not a readable image'),
  'text': (lambda p: p.write_text('no picture'), IMAGE + 'not a readable image'),
  '16-bit colour': (lambda p: p.write_bytes(wide()), IMAGE + 'the image has mode RGB of 16 bits; save it'),
  '16-bit grey': (lambda p: p.write_bytes(wide('L')), IMAGE + 'the image has mode I;16 of 16 bits; save it'),
  'floats with NaN': (
    lambda p: save(p, Image.fromarray(np.full(SHAPE, np.nan, np.float32)), format='TIFF'),
    IMAGE + 'the image has mode F; save it with 8 bits a channel',
  ),
  'transparent': (
    lambda p: save(p, Image.fromarray(np.dstack([PIXELS, np.full(SHAPE, 254, np.uint8)]))),
    IMAGE + 'the image is partly transparent; lay it on a background',
  ),
  'transparent colour': (
    lambda p: save(p, Image.fromarray(PIXELS), transparency=tuple(map(int, PIXELS[0, 0]))),
    IMAGE + 'the image is partly transparent',
  ),
  'transparent palette': (
    lambda p: save(
      p,
      Image.fromarray(PIXELS).quantize(16),
      transparency=int(np.array(Image.fromarray(PIXELS).quantize(16))[0, 0]),
    ),  # fmt: skip
    IMAGE + 'the image is partly transparent',
  ),
  'huge': (
    lambda p: save(p, Image.new('1', (8192, 8193))),
    IMAGE + r'the image has 8193x8192 pixels; at most 67,108,864 are read: cut it up',
  ),
  'bomb': (
    lambda p: save(p, Image.new('1', (20_000, 20_000))),
    IMAGE + r'not a readable image \(Image size \(400000000 pixels\) exceeds limit',
  ),
  'one pixel': (
    lambda p: save(p, Image.new('RGB', (1, 1))),
    r'trainannot/train_00.png: the mask is 12x16, its image 1x1 \(height x width\)$',
  ),
  'TIFF turned by a tag': (
    lambda p: save(p, Image.fromarray(PIXELS), format='TIFF', tiffinfo={274: 3}),
    IMAGE + 'the image is a TIFF with an orientation tag',
  ),
  'turned by a tag': (
    lambda p: save(p, Image.fromarray(PIXELS.transpose(1, 0, 2)), format='JPEG', exif=with_exif(6)),
    r"train_00.png: the mask is 12x16, its image 16x12 .*; the image's orientation tag is not heeded: turn",
  ),
}


@pytest.mark.parametrize(('damage', 'message'), IMAGES.values(), ids=IMAGES.keys())
def test_images_that_are_refused(source, tmp_path, damage, message, capsys):
  damage(source / 'train' / 'train_00.png')
  refused(source, tmp_path, message, capsys)


def grey_of_bits(bits):
  """A grey PNG of fewer bits, which Pillow cannot write: 16x12 pixels, every one the largest value."""
  import struct
  import zlib

  def chunk(kind, content):
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))

  rows = (b'\0' + b'\x11' * (16 * bits // 8)) * 12
  head = struct.pack('>IIBBBBB', 16, 12, bits, 0, 0, 0, 0)
  return (
    b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')
  )


MASK = 'trainannot/train_00.png: '
MASKS = {  # what becomes of trainannot/train_00.png, and the line
  'empty': (lambda p: p.write_bytes(b''), MASK + 'not a readable mask'),
  'truncated': (lambda p: p.write_bytes(p.read_bytes()[:-50]), MASK + 'not a readable mask'),
  'another size': (
    lambda p: save(p, Image.new('L', (12, 16))),
    MASK + r'the mask is 16x12, its image 12x16 \(height x width\)$',
  ),
  'colours': (lambda p: save(p, Image.new('RGB', (16, 12))), MASK + 'mode RGB is not an index mask'),
  'black and white': (lambda p: save(p, Image.new('1', (16, 12))), MASK + 'mode 1 is not an index mask'),
  '16-bit': (
    lambda p: save(p, Image.fromarray(np.zeros(SHAPE, np.uint16))),
    MASK + 'mode I;16 is not an index mask',
  ),
  'floats with NaN': (
    lambda p: save(p, Image.fromarray(np.full(SHAPE, np.nan, np.float32)), format='TIFF'),
    MASK + 'mode F is not an index mask',
  ),
  'JPEG': (
    lambda p: save(p, Image.new('L', (16, 12)), format='JPEG'),
    MASK + 'a JPEG cannot be a mask: its compression changes the ids; take the PNG',
  ),
  'four bits': (lambda p: p.write_bytes(grey_of_bits(4)), MASK + 'the mask is grey of fewer than 8 bits'),
  'two bits': (lambda p: p.write_bytes(grey_of_bits(2)), MASK + 'the mask is grey of fewer than 8 bits'),
  'unknown id': (
    lambda p: save(p, Image.new('L', (16, 12), 200)),
    MASK + 'label 200 in 192 pixels is no known id; known are 0, 1, ',
  ),
  'huge': (lambda p: save(p, Image.new('L', (8192, 8193))), MASK + 'the mask has 8193x8192 pixels; at most'),
  'bomb': (
    lambda p: save(p, Image.new('1', (20_000, 20_000))),
    MASK + r'not a readable mask \(Image size \(400000000 pixels\) exceeds limit',
  ),
}


@pytest.mark.parametrize(('damage', 'message'), MASKS.values(), ids=MASKS.keys())
def test_masks_that_are_refused(source, tmp_path, damage, message, capsys):
  damage(source / 'trainannot' / 'train_00.png')
  refused(source, tmp_path, message, capsys)


def test_nan_in_a_mat_file_is_refused(tmp_path):
  layouts.siftflow(tmp_path / 'SiftFlowDataset')
  pair = siftflow.scan(str(tmp_path / 'SiftFlowDataset')).pairs['train'][0]
  raw = np.zeros((16, 16))
  raw[3, 4] = np.nan
  scipy.io.savemat(pair.mask, {'S': raw})
  with pytest.raises(ValueError, match=rf'^{pair.mask}: S holds NaN, not ids 0..255$'):
    verify.read_pair(pair, labels.spec_table(siftflow.SPEC))


ALPHA = np.full((*SHAPE, 1), 255, np.uint8)
READ = {  # image, how it is saved
  'grey JPEG': (Image.fromarray(PIXELS[..., 0]), {'format': 'JPEG'}),
  'progressive JPEG': (Image.fromarray(PIXELS), {'format': 'JPEG', 'progressive': True, 'subsampling': 2}),
  'CMYK': (Image.fromarray(PIXELS).convert('CMYK'), {'format': 'JPEG', 'quality': 95}),
  'orientation tag': (Image.fromarray(PIXELS), {'format': 'JPEG', 'exif': with_exif(3)}),
  'orientation tag of PNG': (Image.fromarray(PIXELS), {'exif': with_exif(6)}),
  'opaque RGBA': (Image.fromarray(np.dstack([PIXELS, ALPHA])), {}),
  'opaque LA': (Image.fromarray(np.dstack([PIXELS[..., :1], ALPHA])), {}),
  'grey PNG': (Image.fromarray(PIXELS[..., 0]), {}),
  'palette of 4 bits': (Image.fromarray(PIXELS).quantize(16), {'bits': 4}),
  'palette of 8 bits': (Image.fromarray(PIXELS).quantize(200), {}),
  'palette with opacity': (
    Image.fromarray(PIXELS).quantize(16),
    {'transparency': b'\xff' * 16},
  ),
  'black and white': (Image.fromarray(PIXELS[..., 0]).convert('1'), {}),
  'BMP': (Image.fromarray(PIXELS), {'format': 'BMP'}),
  'TIFF': (Image.fromarray(PIXELS), {'format': 'TIFF', 'compression': 'tiff_lzw'}),
  'TIFF in CMYK': (Image.fromarray(PIXELS).convert('CMYK'), {'format': 'TIFF'}),
  'GIF': (Image.fromarray(PIXELS).quantize(64), {'format': 'GIF'}),
  'WebP': (Image.fromarray(PIXELS), {'format': 'WEBP', 'lossless': True}),
}


@pytest.mark.parametrize(('image', 'options'), READ.values(), ids=READ.keys())
def test_images_that_are_read_rightly(source, tmp_path, image, options):
  """All under the name train_00.png, whatever they are: an ending decides nothing."""
  path = source / 'train' / 'train_00.png'
  save(path, image, **options)
  with Image.open(path) as stored:
    expected = np.array(stored.convert('RGBA' if 'transparency' in stored.info else 'RGB').convert('RGB'))
  example = first(source, tmp_path)
  np.testing.assert_array_equal(example['image'], expected)
  if 'format' not in options or options['format'] != 'JPEG':
    np.testing.assert_array_equal(expected, np.array(image.convert('RGB')))


def test_the_bytes_of_usual_files_are_kept(source, tmp_path):
  """No second compression, and none but the odd ones grow."""
  save(source / 'train' / 'train_00.png', Image.fromarray(PIXELS), format='JPEG')
  examples = camvid.open_split('train', source=str(source), directory=str(tmp_path / 'data'))
  for i, record in enumerate(examples._records):
    assert record['image'] == (source / 'train' / f'train_{i:02d}.png').read_bytes()


def test_one_pixel_is_an_image(source, tmp_path):
  Image.new('RGB', (1, 1), (9, 8, 7)).save(source / 'train' / 'train_00.png')
  Image.new('L', (1, 1), 4).save(source / 'trainannot' / 'train_00.png')
  example = first(source, tmp_path)
  assert example['image'].tolist() == [[[9, 8, 7]]] and example['labels'].tolist() == [[4]]


def test_a_wholly_void_mask_is_read_and_said(source, tmp_path, capsys):
  Image.new('L', (16, 12), 11).save(source / 'trainannot' / 'train_00.png')
  assert (first(source, tmp_path)['labels'] == 255).all()
  capsys.readouterr()
  assert dataset.run('verify', 'camvid', str(source), '') == 0
  assert f'{source}/trainannot/train_00.png: train_00 is void in every pixel' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['Straße_übung', '道路', 'e\u0301'])
def test_names_beyond_ascii(source, tmp_path, name):
  for folder in ('train', 'trainannot'):
    (source / folder / 'train_00.png').rename(source / folder / f'{name}.png')
  text = (source / 'train.txt').read_text().replace('train_00', name)
  (source / 'train.txt').write_text(text, encoding='utf-8')
  assert first(source, tmp_path)['id'] == name


def test_names_that_are_no_text(tmp_path):
  name = os.fsdecode(b'\xff\xfe')
  Image.fromarray(PIXELS).save(tmp_path / 'i.png')
  pair = verify.Pair(name, tmp_path / 'i.png', tmp_path / 'm.png')
  with pytest.raises(ValueError, match=r'i.png: the name is not UTF-8; rename'):
    verify.read_pair(pair, labels.spec_table(camvid.SPEC))


def test_a_list_that_is_no_text(source, tmp_path):
  (source / 'val.txt').write_bytes(b'\xff\xfe\x00')
  with pytest.raises(ValueError, match=r'val.txt: not a list in UTF-8'):
    camvid.scan(str(source))
  with pytest.raises(ValueError, match=r'val.txt: not a list in UTF-8'):
    layout.listed(source / 'val.txt')


def test_links_in_a_circle(source, tmp_path, capsys):
  path = source / 'train' / 'train_00.png'
  path.unlink()
  path.symlink_to(path)
  refused(source, tmp_path, rf'{path} is a symbolic link that leads nowhere or in a circle$', capsys)
  path.unlink()
  path.symlink_to(tmp_path / 'nowhere')
  refused(source, tmp_path, rf'{path} is a symbolic link that leads nowhere or in a circle$', capsys)
  (source / 'train' / 'loop').symlink_to(source / 'train')  # no file of ours: nobody walks into it
  path.unlink()
  Image.fromarray(PIXELS).save(path)
  first(source, tmp_path)


def test_links_that_lead_somewhere_are_files(source, tmp_path):
  path = source / 'train' / 'train_00.png'
  path.rename(tmp_path / 'elsewhere.png')
  path.symlink_to(tmp_path / 'elsewhere.png')
  first(source, tmp_path)


def test_files_that_may_not_be_read():
  """Root may read everything, so root looks with another user's rights."""
  folder = pathlib.Path(tempfile.mkdtemp())
  try:
    folder.chmod(0o755)
    path = folder / 'i.png'
    Image.fromarray(PIXELS[..., 0]).save(path)
    images.check(path)  # so that whatever Pillow imports for it is there
    path.chmod(0)
    root = os.geteuid() == 0
    try:
      os.seteuid(65534 if root else os.geteuid())
      for read, kind in ((images.check, 'image'), (labels.read_index, 'mask')):
        with pytest.raises(ValueError) as error:
          read(path)
        assert str(error.value).startswith(f'{path}: not a readable {kind} ([Errno 13] Permission denied')
    finally:
      if root:
        os.seteuid(0)
  finally:
    shutil.rmtree(folder)


def test_an_empty_split_an_orphan_and_a_namesake(source, tmp_path, capsys):
  Image.fromarray(PIXELS).save(source / 'val' / 'val_00.jpg')
  with pytest.raises(ValueError, match='val/val_00.jpg: is not listed in val.txt$'):
    camvid.open_split('train', source=str(source), directory=str(tmp_path / 'data'))
  lines = list(verify.all_problems(camvid.SPEC, camvid.scan(str(source))))
  assert lines == [
    f'{source}/val/val_00.jpg: is not listed in val.txt',
    f'{source}/val/val_00.jpg: val_00.png has the same name; which of them is meant?',
  ]
  (source / 'val' / 'val_00.jpg').unlink()
  (source / 'val.txt').write_text('')
  for file in [*(source / 'val').iterdir(), *(source / 'valannot').iterdir()]:
    file.unlink()
  refused(source, tmp_path, r'val.txt: lists no images$', capsys)


def copy_image(source, old, new):
  (source / new).write_bytes((source / old).read_bytes())


def test_images_that_are_there_twice(source):
  """Within a split, and across: what is tested would have been learned."""
  copy_image(source, 'train/train_00.png', 'train/train_02.png')
  copy_image(source, 'train/train_01.png', 'test/test_01.png')
  lines = list(verify.all_problems(camvid.SPEC, camvid.scan(str(source))))
  assert lines == [
    f'{source}/train/train_02.png: the same image as {source}/train/train_00.png, both in train',
    f'{source}/test/test_01.png: the same image as {source}/train/train_01.png, that in train, this in test: '
    'a leak',
  ]


def test_an_id_that_a_part_has_twice(source):
  found = camvid.scan(str(source))
  train = found.pairs['train']
  doubled = [*train[:2], train[2]._replace(id=train[0].id)]
  (line,) = verify.all_problems(camvid.SPEC, found._replace(pairs={**found.pairs, 'train': doubled}))
  assert line == f'{train[2].image}: train has train_00 already, {train[0].image}'


def test_images_that_two_parts_share_by_design_are_no_leak(tmp_path):
  """SBD's training set has images of VOC's val, under masks of its own."""
  from jseg.data.builders import voc

  source = tmp_path / 'VOCdevkit'
  layouts.voc_sbd(source)
  for name in ('2007_102',):
    image = source / 'benchmark_RELEASE' / 'dataset' / 'img' / f'{name}.jpg'
    image.write_bytes((source / 'VOC2012' / 'JPEGImages' / f'{name}.jpg').read_bytes())
  found = voc.scan(str(source))
  assert list(verify.all_problems(voc.SPEC, found)) == []
  lines = list(verify.all_problems(voc.SPEC, found._replace(repeated=())))
  assert len(lines) == 1 and lines[0].endswith('2007_102.jpg, that in val, this in sbd_voc: a leak')


def break_some(source):
  (source / 'train' / 'train_01.png').write_bytes(b'')
  (source / 'valannot' / 'val_00.png').unlink()


def test_skipping_leaves_out_says_and_remembers(source, tmp_path, capsys):
  break_some(source)
  data = str(tmp_path / 'data')
  broken = [
    f'{source}/val.txt line 1: {source}/valannot/val_00.png is missing',
    f'{source}/train/train_01.png: ',
  ]
  with pytest.raises(ValueError, match='val_00.png is missing'):
    dataset.run('prepare', 'camvid', str(source), data)
  with pytest.raises(
    ValueError, match=r'^camvid: 2 of 7 pairs are bad so far, more than max_bad_fraction=0.2 '
  ):
    dataset.run('prepare', 'camvid', str(source), data, 'skip', 0.2)
  assert not (tmp_path / 'data' / 'camvid').exists()
  capsys.readouterr()
  assert dataset.run('prepare', 'camvid', str(source), data, 'skip', 0.3) == 0
  out, err = capsys.readouterr()
  said = f'camvid: warning: 2 of 7 pairs were left out as faulty; see {data}/camvid/prepared.json'
  assert out.splitlines() == [
    'camvid train: 2 images', 'camvid val: 1 images', 'camvid test: 2 images', said,
    f'camvid is prepared in {data}/camvid',
  ]  # fmt: skip
  for line in broken:
    assert sum(f'camvid: left out: {line}' in words for words in err.splitlines()) == 1
  stamp = json.loads((tmp_path / 'data' / 'camvid' / 'prepared.json').read_text())
  assert stamp['of'] == 7 and [
    line.startswith(start) for line, start in zip(stamp['left_out'], broken, strict=True)
  ]
  examples = camvid.open_split('train', directory=data)
  assert capsys.readouterr().err.splitlines() == [said]
  assert [examples[i]['id'] for i in range(len(examples))] == ['train_00', 'train_02']


def run_config(source, tmp_path, **changes):
  config = runs.tiny()
  config.data.name, config.data.source, config.data.dir = 'camvid', str(source), str(tmp_path / 'data')
  with config.unlocked():
    config.data.options = {}
  for key, value in changes.items():
    setattr(config.data, key, value)
  return config


def test_a_run_has_the_policy_of_its_config(source, tmp_path, monkeypatch):
  break_some(source)
  with pytest.raises(ValueError, match='val_00.png is missing'):
    resolve.source(run_config(source, tmp_path), 'train')
  skip = run_config(source, tmp_path, bad_sample='skip', max_bad_fraction=0.3)
  assert len(resolve.source(skip, 'train')) == 2
  assert len(resolve.source(skip, 'val')) == 1
  # A stricter run of the same source does not take what a laxer one left.
  with pytest.raises(ValueError, match='val_00.png is missing'):
    resolve.source(run_config(source, tmp_path), 'train')
  with pytest.raises(ValueError, match='1 of 7 pairs are bad so far, more than max_bad_fraction=0.1'):
    resolve.source(run_config(source, tmp_path, bad_sample='skip', max_bad_fraction=0.1), 'train')
  monkeypatch.setattr(records, 'write', lambda *_: pytest.fail('prepared again'))
  assert len(resolve.source(skip, 'train')) == 2
  assert len(resolve.source(run_config('', tmp_path), 'train')) == 2


def test_a_part_of_which_nothing_is_sound(source, tmp_path):
  for file in (source / 'val').iterdir():
    file.write_bytes(b'')
  with pytest.raises(ValueError, match='^camvid: no pair of val is sound$'):
    dataset.run('prepare', 'camvid', str(source), str(tmp_path / 'data'), 'skip', 1.0)


def test_policies_that_are_none(source, tmp_path):
  for changes, message in (
    ({'bad_sample': 'drop'}, "bad_sample 'drop' is unknown; there are: raise, skip"),
    ({'max_bad_fraction': 1.5}, 'max_bad_fraction is 1.5; it is a share, in 0..1'),
    ({'max_bad_fraction': float('nan')}, 'max_bad_fraction is nan; it is a share'),
  ):
    with pytest.raises(ValueError, match=message):
      resolve.source(run_config(source, tmp_path, **changes), 'train')
    with pytest.raises(ValueError, match=message):
      dataset.run('verify', 'camvid', str(source), '', **changes)


def test_other_figures_that_go_round_are_explained():
  pair = verify.Pair('a', layouts.Image, layouts.Image)
  scan = verify.Scan({'train': [pair] * 468, 'val': [pair] * 101, 'test': [pair]}, [], camvid.SPLITS)
  assert verify.size_warnings(camvid.SPEC, scan) == [
    'camvid: warning: train has 468 images, published are 367; '
    "468 is train and val together, an older split: use 'trainval'",
    'camvid: warning: test has 1 images, published are 233',
  ]
