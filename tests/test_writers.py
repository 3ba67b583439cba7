import json
import math

import numpy as np
import pytest

from jseg.engine import writers


def lines(folder):
  return [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]


def board(folder):
  """{tag: [(step, value)]} of all event files, read record by record without TensorFlow."""
  from tensorboardX.proto import event_pb2

  found = {}
  for path in sorted(folder.glob('tensorboard/events*')):
    data, at = path.read_bytes(), 0
    while at < len(data):
      size = int.from_bytes(data[at : at + 8], 'little')
      event = event_pb2.Event.FromString(data[at + 12 : at + 12 + size])
      at += 12 + size + 4
      for value in event.summary.value:
        found.setdefault(value.tag, []).append((event.step, value))
  return found


def test_scalars_and_panels(tmp_path):
  out = writers.Writers(tmp_path / 'run', lead=True, start_step=0)
  out.scalars(1, {'loss': 0.5, 'mean_iu': np.float32(0.25)})
  out.scalars(1, {'loss': float('nan')}, split='val')
  assert lines(tmp_path / 'run') == [  # on disk before close: a killed run keeps its lines
    {'step': 1, 'split': 'train', 'loss': 0.5, 'mean_iu': 0.25},
    {'step': 1, 'split': 'val', 'loss': None},
  ]
  out.panel(1, 'val/0', np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
  out.close()
  found = board(tmp_path / 'run')
  assert [(step, value.simple_value) for step, value in found['train/loss']] == [(1, 0.5)]
  assert math.isnan(found['val/loss'][0][1].simple_value)
  image = found['val/0'][0][1].image
  assert (image.height, image.width, image.colorspace) == (2, 4, 3)


def test_resumed_run_has_no_duplicates(tmp_path):
  out = writers.Writers(tmp_path, lead=True, start_step=0)
  for step in (1, 2, 3, 4):
    out.scalars(step, {'loss': float(step)})
  out.close()
  with open(tmp_path / 'metrics.jsonl', 'a') as file:
    file.write('{"step": 2, "split": "trai')  # torn by a kill
  out = writers.Writers(tmp_path, lead=True, start_step=2)
  for step in (3, 4):
    out.scalars(step, {'loss': 10.0 * step})
  out.close()
  assert [(r['step'], r['loss']) for r in lines(tmp_path)] == [(1, 1), (2, 2), (3, 30), (4, 40)]
  assert sorted(p.name for p in tmp_path.iterdir()) == ['metrics.jsonl', 'tensorboard']


def test_a_full_disk_does_not_end_the_run(tmp_path, caplog):
  out = writers.Writers(tmp_path, lead=True, start_step=0)
  real = out._file

  class Full:
    name = real.name

    def write(self, text):
      raise OSError(28, 'No space left on device')

  out._file = Full()
  out.scalars(1, {'loss': 1.0})
  out._file = real
  out.scalars(2, {'loss': 2.0})
  out.close()
  assert 'step 1 was not written' in caplog.text and 'No space left' in caplog.text
  assert [r['step'] for r in lines(tmp_path)] == [2]


def test_only_the_lead_writes(tmp_path, capsys):
  out = writers.Writers(tmp_path / 'run', lead=False, start_step=0)
  out.scalars(1, {'loss': 0.5})
  out.panel(1, 'x', np.zeros((2, 2, 3), np.uint8))
  out.progress(1, 2, {'loss': 0.5}, 1.0)
  out.close()
  assert not (tmp_path / 'run').exists() and capsys.readouterr().out == ''


def test_progress_line(tmp_path, capsys):
  values = {
    'loss': 0.73119, 'mean_iu': 0.4561, 'learning_rate': 3e-3, 'images_per_second': 811.7, 'data_wait': 0.031,
    'grad_norm/all': 3.0,
  }  # fmt: skip
  expected = 'step  20/500  loss 0.7312  mean IU 45.6 %  lr 3.0e-03  812 images/s  data wait 3 %  ETA 1:01:12'
  assert writers.progress_line(20, 500, values, 3672.2) == expected
  assert writers.progress_line(5, 5, {'images_per_second': 0.5}, 0.4) == 'step 5/5  0.5 images/s  ETA 0:00:00'
  out = writers.Writers(tmp_path, lead=True, start_step=0)
  out.progress(20, 500, values, 3672.2)
  out.close()
  assert capsys.readouterr().out == expected + '\n'


def test_workdir_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(ValueError, match='cannot be written to') as error:
    writers.Writers(tmp_path / 'file' / 'run', lead=True, start_step=0)
  assert '\n' not in str(error.value)


def test_write_json_is_whole_and_strict(tmp_path, monkeypatch):
  path = tmp_path / 'deep' / 'result.json'
  writers.write_json(path, {'mean_iu': float('nan'), 'per_class': (0.5, float('inf'))})
  assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
    'mean_iu': None,
    'per_class': [0.5, None],
  }

  def refuse(*args):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(writers.os, 'replace', refuse)
  with pytest.raises(OSError):
    writers.write_json(path, {'mean_iu': 1.0})
  assert json.loads(path.read_text())['mean_iu'] is None
