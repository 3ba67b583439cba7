"""Finding photos in a folder."""

import layouts
import pytest

from jseg.data import photos


def test_a_folder_or_else_its_subfolders(tmp_path):
  for name in ('b/x.png', 'a/y.jpg', 'a/inner/z.JPG'):
    layouts.image(tmp_path / name, (2, 2), 'L')
  (tmp_path / 'notes.txt').write_text('')
  found = [path.relative_to(tmp_path).as_posix() for path in photos.find(str(tmp_path))]
  assert found == ['a/inner/z.JPG', 'a/y.jpg', 'b/x.png']
  layouts.image(tmp_path / 'own.png', (2, 2))
  assert photos.find(str(tmp_path)) == [tmp_path / 'own.png']
  assert photos.find(str(tmp_path / 'a' / 'y.jpg')) == [tmp_path / 'a' / 'y.jpg']


def test_two_that_would_be_written_under_one_name_are_refused(tmp_path):
  for name in ('b/x.png', 'a/x.jpg'):
    layouts.image(tmp_path / name, (2, 2))
  with pytest.raises(ValueError, match=r'a/x.jpg and b/x.png share a name; rename one'):
    photos.find(str(tmp_path))
  (tmp_path / 'empty').mkdir()
  with pytest.raises(ValueError, match='no photo in this folder; looked for .jpg'):
    photos.find(str(tmp_path / 'empty'))
