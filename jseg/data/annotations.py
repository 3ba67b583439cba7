"""Annotation files in COCO's format: read in pieces, and checked for what belongs together.

The format: cocodataset.org, "Data format". A list is held as text with the place of each of its elements, and
an annotation is decoded when it is asked for: decoded at once, COCO's largest file (450 MB) takes gigabytes.
"""

import json
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jseg.data import labels, progress

LISTS = ('images', 'annotations', 'categories')

_SPACE = re.compile(r'\s*')


class Photo(NamedTuple):
  """What a file says of an image: its name in the folder, and its size in pixels."""

  file_name: str
  height: int
  width: int


class Entry(NamedTuple):
  """An annotation: where in the text it stands, its category, its area in pixels (0 if there is none)."""

  start: int
  end: int
  category: int
  area: float


class File(NamedTuple):
  """An annotation file.

  path: where it is.
  text: what is in it.
  photos: by image id.
  entries: its annotations by their ids.
  of_photo: ids of the annotations of each image, in their order in the file; every image has an entry.
  problems: what does not belong together, a line each.
  """

  path: pathlib.Path
  text: str
  photos: Mapping[int, Photo]
  entries: Mapping[int, Entry]
  of_photo: Mapping[int, Sequence[int]]
  problems: Sequence[str]

  def annotation(self, number: int) -> dict[str, Any]:
    """The annotation of an id, as the file has it."""
    entry = self.entries[number]
    return json.loads(self.text[entry.start : entry.end])


def read(path: pathlib.Path, categories: Mapping[int, str]) -> File:
  """Reads an annotation file, saying every few seconds how far it is.

  Args:
    path: the file.
    categories: the name of each category id that may occur.

  Raises:
    ValueError: it is missing, no JSON, or no annotation file.
  """
  if not path.is_file():
    raise ValueError(f'{path} is missing')
  try:
    text = path.read_text(encoding='utf-8')
  except (OSError, ValueError) as error:
    raise ValueError(f'{path}: not a readable file ({labels.first_line(error)})') from error
  photos, entries, owner, problems, seen = {}, {}, {}, [], set()
  said = progress.Progress(f'{path.name}: read', len(text), progress.readable_size)
  for key, element, start, end in _elements(path, text):
    said.reach(start)
    seen.add(key)
    if start == end or key not in LISTS:
      continue
    number = _whole(path, key, element, 'id')
    if key == 'categories':
      problems += _category_faults(path, number, element, categories)
    elif key == 'images':
      if number in photos:
        problems.append(f'{path}: image {number} is listed twice')
      size = (_whole(path, key, element, side) for side in ('height', 'width'))
      photos[number] = Photo(_name(path, element), *size)
    else:
      category, image = (_whole(path, key, element, name) for name in ('category_id', 'image_id'))
      if number in entries:
        problems.append(f'{path}: annotation {number} is listed twice')
      elif category not in categories:
        problems.append(f'{path}: annotation {number} has category {category}; {_known(categories)}')
      else:
        entries[number], owner[number] = Entry(start, end, category, _area(element)), image
  absent = [key for key in LISTS if key not in seen]
  if absent:
    raise ValueError(f'{path}: not an annotation file, it has no list of {" and none of ".join(absent)}')
  of_photo: dict[int, list[int]] = {number: [] for number in photos}
  for number, image in owner.items():
    if image in of_photo:
      of_photo[image].append(number)
    else:
      problems.append(f'{path}: annotation {number} is of image {image}, which is not listed')
  return File(path, text, photos, entries, of_photo, problems)


def _category_faults(
  path: pathlib.Path, number: int, element: Mapping[str, Any], categories: Mapping[int, str]
) -> list[str]:
  name = element['name'] if 'name' in element else None
  if number not in categories:
    return [f'{path}: category {number} ({name}) is unknown; {_known(categories)}']
  if name != categories[number]:
    return [f"{path}: category {number} is called '{name}'; it has to be '{categories[number]}'"]
  return []


def _known(categories: Mapping[int, str]) -> str:
  return f'known are {", ".join(str(number) for number in categories)}'


def _area(element: Mapping[str, Any]) -> float:
  found: Any = element['area'] if 'area' in element else None
  return found if type(found) in (int, float) else 0.0  # a fault is told when it is drawn


def _whole(path: pathlib.Path, key: str, element: Any, name: str) -> int:
  found = element[name] if isinstance(element, dict) and name in element else None
  if type(found) is not int:
    raise ValueError(f'{path}: an element of {key} has no whole number "{name}": {_short(element)}')
  return found


def _name(path: pathlib.Path, element: Mapping[str, Any]) -> str:
  found = element['file_name'] if 'file_name' in element else None
  if not isinstance(found, str) or not found:
    raise ValueError(f'{path}: an element of images has no "file_name": {_short(element)}')
  return found


def _short(element: Any) -> str:
  text = json.dumps(element)
  return text if len(text) <= 80 else f'{text[:77]}...'


def _elements(path: pathlib.Path, text: str) -> Iterator[tuple[str, Any, int, int]]:
  """Each element of the lists of the one object in `text`: its list's key, itself, its start, its end.

  A list begins with an element None whose start is its end. What is no list is left out.
  """
  decode = json.JSONDecoder().raw_decode
  try:
    at = _after(text, 0, '{')
    while True:
      key, at = decode(text, at)
      at = _after(text, at, ':')
      if text.startswith('[', at):
        at = _after(text, at, '[')
        yield str(key), None, at, at
        while not text.startswith(']', at):
          element, end = decode(text, at)
          yield str(key), element, at, end
          at = _after(text, end, ',', ']')
        at += 1
      else:
        _, at = decode(text, at)
      at = _after(text, at, ',', '}')
      if text.startswith('}', at):
        break
    if _blank(text, at + 1) != len(text):
      raise json.JSONDecodeError('Extra data', text, at + 1)
  except json.JSONDecodeError as error:
    raise ValueError(f'{path}: not readable as JSON ({labels.first_line(error)})') from error


def _after(text: str, at: int, mark: str, last: str = '') -> int:
  """Where the text goes on after `mark` and the space around it; where `last` is, if that comes instead."""
  at = _blank(text, at)
  if last and text.startswith(last, at):
    return at
  if not text.startswith(mark, at):
    raise json.JSONDecodeError(f"Expecting '{mark}'", text, at)
  return _blank(text, at + 1)


def _blank(text: str, at: int) -> int:
  found = _SPACE.match(text, at)
  return found.end() if found else at
