"""The classes of somebody's own masks, as the file classes.json beside them states them.

The shortest form is a list of names, for masks that hold 0, 1, 2, ... in that order:

  ["background", "leaf", "rust"]

The longest says for each class what stands for it in the masks: one number or several, or a colour:

  {"classes": [{"name": "background", "colour": [0, 0, 0]},
               {"name": "leaf", "ids": [1, 4], "colour": [0, 128, 0]},
               {"name": "rust", "ids": 2, "colour": [200, 80, 0]}],
   "void": [255], "void_colours": [[224, 224, 192]]}

`ids` and `colour` may be left out: a class without ids has its place in the list, one without a colour is
painted in one of PASCAL VOC's. Pixels of `void` ids or colours are neither learned nor measured; 255 is void
unless a class has it.
"""

import dataclasses
import json
from typing import Any, NoReturn

from jseg.data import labels

NAME = 'classes.json'
MOST = 254  # ids of classes lie below the two that augmentation and void need

Colour = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Classes:
  """What the file says.

  Attributes:
    names: by train id.
    ids: what stands for each in index masks, the first being what is written.
    palette: colour of each, for pictures.
    void: ids that mean void.
    colours: colour in a mask -> id, void's too; empty if the file gives not every class a colour.
  """

  names: tuple[str, ...]
  ids: tuple[tuple[int, ...], ...]
  palette: tuple[Colour, ...]
  void: tuple[int, ...]
  colours: dict[Colour, int]

  @property
  def train_ids(self) -> dict[int, int]:
    """Id in the masks -> train id."""
    return {raw: train for train, ids in enumerate(self.ids) for raw in ids}

  @property
  def owner_palette(self) -> tuple[Colour, ...]:
    """Colour of every id up to the greatest; unused ones have the colour of void."""
    table = {raw: self.palette[train] for raw, train in self.train_ids.items()}
    table |= {raw: colour for colour, raw in self.colours.items() if raw in self.void}
    return tuple(
      table[i] if i in table else labels.VOID_COLOUR for i in range(max(*self.train_ids, *self.void) + 1)
    )


def parse(text: str, where: str) -> Classes:
  """The classes that the text of a classes.json states.

  Args:
    text: of the file.
    where: what errors call it.

  Raises:
    ValueError: it is no JSON, or says something that is not to be understood or contradicts itself.
  """
  try:
    given = json.loads(text)
  except ValueError as error:
    raise ValueError(f'{where}: not JSON ({error})') from error
  return _Reader(where).read({'classes': given} if isinstance(given, list) else given)


class _Reader:
  """Reads the parts of one file; `where` begins every complaint."""

  def __init__(self, where: str):
    self._where = where

  def read(self, given: Any) -> Classes:
    self._keys(given, ('classes', 'void', 'void_colours'), 'it')
    entries = given['classes'] if 'classes' in given else None
    if not isinstance(entries, list) or not 2 <= len(entries) <= MOST:
      self._fail(f'classes must be a list of 2 to {MOST} classes (background counts as one)')
    entries = [{'name': entry} if isinstance(entry, str) else entry for entry in entries]
    for entry in entries:
      self._keys(entry, ('name', 'ids', 'colour'), 'a class')
    names = tuple(self._name(entry) for entry in entries)
    ids = tuple(self._ids(entry['ids'] if 'ids' in entry else i, names[i]) for i, entry in enumerate(entries))
    taken = [raw for own in ids for raw in own]
    void = self._ids(given['void'], 'void') if 'void' in given else (255,) if 255 not in taken else ()
    self._once([*taken, *void], 'id')
    self._once(names, 'name')
    colours = [
      self._colour(entry['colour'], entry['name']) if 'colour' in entry else None for entry in entries
    ]
    void_colours = [self._colour(colour, 'void') for colour in self._list(given, 'void_colours')]
    if void_colours and not void:
      self._fail('void_colours need an id in void')
    self._once([colour for colour in [*colours, *void_colours] if colour], 'colour')
    table = {colour: own[0] for colour, own in zip(colours, ids, strict=True) if colour}
    complete = len(table) == len(names)
    spare = labels.bit_palette(len(names))
    return Classes(
      names=names,
      ids=ids,
      palette=tuple(colour or spare[i] for i, colour in enumerate(colours)),
      void=void,
      colours=table | dict.fromkeys(void_colours, void[0] if void else 0) if complete else {},
    )

  def _fail(self, what: str) -> NoReturn:
    raise ValueError(f'{self._where}: {what}; the head of jseg/data/classes.py shows what it may hold')

  def _keys(self, value: Any, known: tuple[str, ...], what: str) -> None:
    if not isinstance(value, dict):
      self._fail(f'{what} must be an object with {", ".join(known)}, not {json.dumps(value)}')
    for key in value:
      if key not in known:
        self._fail(f"{what} has '{key}'; there are: {', '.join(known)}")

  def _list(self, given: dict[str, Any], key: str) -> list[Any]:
    value = given[key] if key in given else []
    if not isinstance(value, list):
      self._fail(f'{key} must be a list, not {json.dumps(value)}')
    return value

  def _name(self, entry: dict[str, Any]) -> str:
    name = entry['name'] if 'name' in entry else ''
    if not isinstance(name, str) or not name.strip():
      self._fail(f'the class {json.dumps(entry)} has no name')
    return name.strip()

  def _ids(self, value: Any, what: str) -> tuple[int, ...]:
    ids = value if isinstance(value, list) else [value]
    if not (ids or what == 'void') or not all(type(i) is int and 0 <= i <= 255 for i in ids):
      self._fail(f"the ids of '{what}' are {json.dumps(value)}; they must be whole numbers 0..255")
    return tuple(ids)

  def _colour(self, value: Any, what: str) -> Colour:
    fits = (
      isinstance(value, list) and len(value) == 3 and all(type(i) is int and 0 <= i <= 255 for i in value)
    )
    if not fits:
      self._fail(f"a colour of '{what}' is {json.dumps(value)}; it must be [red, green, blue], each 0..255")
    return value[0], value[1], value[2]

  def _once(self, values: Any, what: str) -> None:
    seen = set()
    for value in values:
      if value in seen:
        self._fail(f'the {what} {value} is given twice')
      seen.add(value)
