"""Label maps: modes of mask files, the table of ids, pictures."""

import numpy as np
import pytest
from PIL import Image

from jseg.data import labels

RAW = np.array([[0, 1, 2], [11, 11, 2]], np.uint8)
PALETTE = ((10, 20, 30), (200, 0, 0), (0, 200, 0))


def test_palette_files_keep_their_indices(tmp_path):
  mask = Image.fromarray(RAW)
  mask.putpalette([7, 7, 7] * 256)  # one colour for all: only indices tell the classes apart
  mask.save(tmp_path / 'm.png')
  np.testing.assert_array_equal(labels.read_index(tmp_path / 'm.png'), RAW)
  np.testing.assert_array_equal(labels.read_index((tmp_path / 'm.png').read_bytes()), RAW)


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', '1', 'I;16'])
def test_other_modes_are_refused_by_name(tmp_path, mode):
  Image.fromarray(RAW).convert(mode).save(tmp_path / 'm.png')
  with pytest.raises(ValueError, match=rf'm.png: mode {mode} is not an index mask'):
    labels.read_index(tmp_path / 'm.png')


def test_broken_files_give_one_line_with_their_name(tmp_path):
  path = tmp_path / 'm.png'
  rng = np.random.default_rng(0)
  Image.fromarray(rng.integers(0, 9, (40, 40), np.uint8)).save(path)
  whole = path.read_bytes()
  broken = [whole[:n] for n in (0, 1, 8, 20, 33, 50, len(whole) // 2)]
  for place in (1, 12, 17, 25, 30, 45, 60):
    broken.append(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
  refused = 0
  for content in broken:
    path.write_bytes(content)
    try:
      labels.read_index(path)
    except ValueError as error:
      refused += 1
      assert str(path) in str(error) and '\n' not in str(error)
  assert refused >= 12  # Pillow does not check the sum of every chunk


def test_missing_file_is_named(tmp_path):
  with pytest.raises(ValueError, match=r'gone.png: not a readable mask'):
    labels.read_index(tmp_path / 'gone.png')


def test_remap_by_the_table():
  table = labels.remap_table({0: 1, 1: 0, 2: 5}, void=(11,))
  np.testing.assert_array_equal(labels.remap(RAW, table, 'm'), [[1, 0, 5], [255, 255, 5]])
  assert labels.remap(RAW, table, 'm').dtype == np.uint8


def test_unknown_ids_are_named_with_their_count():
  table = labels.remap_table({0: 0, 1: 1, 2: 2})
  with pytest.raises(ValueError, match=r'some/m.png: label 11 in 2 pixels is no known id; known are 0, 1, 2'):
    labels.remap(RAW, table, 'some/m.png')


def test_pictures():
  truth = np.array([[0, 1], [2, 255]], np.uint8)
  colours = labels.colourise(truth, PALETTE)
  assert [tuple(c) for c in colours.reshape(4, 3)] == [*PALETTE, labels.VOID_COLOUR]
  image = np.full((2, 2, 3), 100, np.uint8)
  np.testing.assert_array_equal(labels.overlay(image, truth, PALETTE, alpha=0.0), image)
  np.testing.assert_array_equal(labels.overlay(image, truth, PALETTE, alpha=1.0), colours)
  assert tuple(labels.overlay(image, truth, PALETTE, alpha=0.25)[0, 1]) == (125, 75, 75)


@pytest.mark.parametrize('palette', [None, PALETTE])
def test_written_masks_read_back(tmp_path, palette):
  truth = np.array([[0, 1, 2], [255, 2, 1]], np.int32)
  labels.write_index(tmp_path / 'm.png', truth, palette)
  np.testing.assert_array_equal(labels.read_index(tmp_path / 'm.png'), truth)
  with Image.open(tmp_path / 'm.png') as mask:
    assert mask.mode == ('L' if palette is None else 'P')
    if palette:
      np.testing.assert_array_equal(np.asarray(mask.convert('RGB')), labels.colourise(truth, palette))


def test_what_does_not_fit_an_index_file_is_refused(tmp_path):
  for wrong in (np.array([[256]]), np.array([[-1]]), np.array([[0.5]])):
    with pytest.raises(ValueError, match='integers 0..255'):
      labels.write_index(tmp_path / 'm.png', wrong)
