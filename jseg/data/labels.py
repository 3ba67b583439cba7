"""Label maps: reading index masks, raw ids to train ids, counting, and pictures of them.

Masks are read with Pillow only. OpenCV expands a palette PNG to colours, which loses the ids without a word.
"""

import io
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from jseg.data import spec
from jseg.typing import IGNORE_LABEL

VOID_COLOUR = (224, 224, 224)  # in no palette of ours; black is some owners' void and others' background
UNKNOWN = -1
MOST_PIXELS = 2**26  # of an image or a mask, 8192x8192; beyond lies what Pillow calls a decompression bomb


def remap_table(train_ids: Mapping[int, int], void: Sequence[int] = ()) -> np.ndarray:
  """The table raw id -> train id, int16 [256]: void ids give 255, ids in neither argument -1."""
  table = np.full(256, UNKNOWN, np.int16)
  for raw, train in train_ids.items():
    table[raw] = train
  table[list(void)] = IGNORE_LABEL
  return table


def spec_table(dataset: spec.DatasetSpec) -> np.ndarray:
  """The table of a dataset: raw ids, as its owners' files have them, to train ids."""
  return remap_table(dataset.train_ids or {i: i for i in range(dataset.num_classes)}, dataset.raw_void)


def between(stored: spec.DatasetSpec, wanted: spec.DatasetSpec) -> np.ndarray:
  """The table train id -> train id of another protocol of the same owners' ids, int16 [256], void to void."""
  old, new = spec_table(stored), spec_table(wanted)
  known = (old != UNKNOWN) & (old != IGNORE_LABEL)
  return remap_table(dict(zip(old[known].tolist(), new[known].tolist(), strict=True)), void=(IGNORE_LABEL,))


def owners_table(dataset: spec.DatasetSpec) -> np.ndarray:
  """The table train id -> id in the owners' files, int16 [256]; void becomes the first of their void ids.

  Raises:
    ValueError: the dataset does not say which of several ids a class is written with.
  """
  ids = dict(enumerate(dataset.written_ids()))
  return remap_table(ids | ({IGNORE_LABEL: dataset.raw_void[0]} if dataset.raw_void else {}))


def bit_palette(count: int, first: int = 0) -> tuple[tuple[int, int, int], ...]:
  """Colours first, first + 1, ... of PASCAL VOC's map, which spreads a number's bits over red, green, blue.

  Source: VOCdevkit, VOClabelcolormap.m. Colour 0 is black.
  """

  def level(n: int, channel: int) -> int:
    return sum((n >> (3 * place + channel) & 1) << (7 - place) for place in range(3))

  return tuple((level(n, 0), level(n, 1), level(n, 2)) for n in range(first, first + count))


def read_index(file: str | pathlib.Path | bytes, name: str = '') -> np.ndarray:
  """The ids a mask file holds, uint8 [h w]: grey values, or palette indices.

  Args:
    file: a path, or the bytes of a file.
    name: what errors call it; default: the path.

  Raises:
    ValueError: the file is broken, is neither 8-bit grey nor palette, or is a JPEG.
  """
  name = name or ('mask' if isinstance(file, bytes) else str(file))
  try:
    with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as mask:
      refusal = _refusal(mask, ('L', 'P'), 'an index mask; 8-bit grey (L) or palette (P) is')
      raw = None if refusal else np.array(mask)
  except Exception as error:  # what a broken file raises is anything from SyntaxError to a bomb warning
    raise ValueError(f'{name}: not a readable mask ({first_line(error)})') from error
  if raw is None:
    raise ValueError(f'{name}: {refusal}')
  return raw


def read_colours(path: pathlib.Path, ids: Mapping[tuple[int, int, int], int], hint: str = '') -> np.ndarray:
  """The ids, uint8 [h w], of a mask file (RGB or palette) that tells classes by their colours.

  Args:
    path: the file.
    ids: by colour, RGB 0..255.
    hint: what to do about an unknown colour, for the message; '{}' in it stands for the colour.

  Raises:
    ValueError: the file is broken, is no such picture, or has another colour; names it and how many pixels
      have it.
  """
  try:
    with Image.open(path) as mask:
      refusal = _refusal(mask, ('RGB', 'RGBA', 'P'), 'a mask of colours; RGB or palette (P) is')
      pixels = None if refusal else np.array(mask.convert('RGBA'))
  except Exception as error:
    raise ValueError(f'{path}: not a readable mask ({first_line(error)})') from error
  if pixels is None:
    raise ValueError(f'{path}: {refusal}')
  if pixels[..., 3].min() < 255:
    raise ValueError(f'{path}: is partly transparent; a mask of colours is opaque')
  packed = pixels[..., :3] @ np.array([1 << 16, 1 << 8, 1])  # [h w]
  table = sorted(((r << 16) + (g << 8) + b, number) for (r, g, b), number in ids.items())
  known, numbers = (np.array(column) for column in zip(*table, strict=True))
  place = np.searchsorted(known, packed).clip(max=len(known) - 1)
  wrong = packed[known[place] != packed]
  if wrong.size:
    values, counts = np.unique(wrong, return_counts=True)
    value = int(values[counts.argmax()])
    colour = f'{value >> 16} {value >> 8 & 255} {value & 255}'
    raise ValueError(
      f'{path}: colour {colour} in {counts.max()} pixels is that of no class{hint.format(colour)}'
    )
  return numbers[place].astype(np.uint8)


def mode(path: pathlib.Path) -> str:
  """Pillow's mode of a mask file: 'L', 'P', 'RGB', ...

  Raises:
    ValueError: the file is broken.
  """
  try:
    with Image.open(path) as mask:
      return mask.mode
  except Exception as error:
    raise ValueError(f'{path}: not a readable mask ({first_line(error)})') from error


def _refusal(mask: ImageFile.ImageFile, modes: Sequence[str], wanted: str) -> str:
  """Why a file holds no ids, by its header; empty if it does."""
  if mask.width * mask.height > MOST_PIXELS:
    return f'the mask has {mask.height}x{mask.width} pixels; at most {MOST_PIXELS:,} are read'
  if mask.mode not in modes:
    return f'mode {mask.mode} is not {wanted}'
  if mask.format in ('JPEG', 'MPO'):
    return 'a JPEG cannot be a mask: its compression changes the ids; take the PNG that it was made from'
  # Pillow stretches grey of 2 or 4 bits to 0..255 when it reads it.
  if any(str(tile[3]).startswith(('L;2', 'L;4')) for tile in mask.tile):
    return 'the mask is grey of fewer than 8 bits, whose ids Pillow would stretch; save it with 8 bits'
  return ''


def remap(raw: np.ndarray, table: np.ndarray, name: str) -> np.ndarray:
  """Train ids (void 255), uint8 [h w], of raw ids. To be applied exactly once.

  Raises:
    ValueError: an id that `table` does not know; names the file, the id and how many pixels have it.
  """
  train = table[raw]
  if train.min() == UNKNOWN:
    value = int(raw[train == UNKNOWN].min())
    known = ', '.join(str(i) for i in np.flatnonzero(table != UNKNOWN))
    count = int((raw == value).sum())
    raise ValueError(f'{name}: label {value} in {count} pixels is no known id; known are {known}')
  return train.astype(np.uint8)


def palette_table(palette: Sequence[Sequence[int]]) -> np.ndarray:
  """Colours of all 256 label values, uint8 [256 3]; void and unused values have the void colour."""
  table = np.full((256, 3), VOID_COLOUR, np.uint8)
  table[: len(palette)] = palette
  return table


def colourise(labels: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
  """Labels [h w] as colours, uint8 [h w 3]."""
  return palette_table(palette)[labels]


def overlay(
  image: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]], alpha: float = 0.5
) -> np.ndarray:
  """Labels painted over the image with opacity `alpha` in 0..1, uint8 [h w 3]."""
  mixed = (1.0 - alpha) * image.astype(np.float32) + alpha * colourise(labels, palette).astype(np.float32)
  return np.rint(mixed).astype(np.uint8)


def write_index(
  path: str | pathlib.Path, labels: np.ndarray, palette: Sequence[Sequence[int]] | None = None
) -> None:
  """Writes labels [h w] as an 8-bit index PNG: palette mode if colours are given, else grey.

  Raises:
    ValueError: labels are not integers in 0..255.
  """
  if labels.min() < 0 or labels.max() > 255 or not np.issubdtype(labels.dtype, np.integer):
    raise ValueError(f'{path}: an index PNG holds integers 0..255, not {labels.dtype} up to {labels.max()}')
  mask = Image.fromarray(labels.astype(np.uint8))
  if palette is not None:
    mask.putpalette(palette_table(palette).tobytes())
  mask.save(path, format='PNG')


def write_owners(
  folder: pathlib.Path, name: str, predictions: np.ndarray, dataset: spec.DatasetSpec
) -> pathlib.Path:
  """Writes train ids [h w] as the dataset's owners write a mask: an index PNG of their ids.

  Args:
    folder: an existing one.
    name: of the image, without its ending.
    predictions: train ids; void where the owners have an id for it.
    dataset: its spec.

  Returns:
    The file, named as the owners want it.

  Raises:
    ValueError: an id that the dataset cannot write.
  """
  of_image, of_result = dataset.result_name
  stem = name.removesuffix(of_image)
  path = folder / f'{stem}{of_result if stem != name else ""}.png'
  raw = remap(predictions, owners_table(dataset), str(path))
  write_index(path, raw, dataset.owner_palette or None)
  return path


def first_line(error: BaseException) -> str:
  """The message of an error on one line, for use inside another message."""
  if isinstance(error, UnidentifiedImageError):
    return 'it is empty, or of no format that Pillow knows'  # its own message names an object in memory
  return (str(error).strip() or type(error).__name__).splitlines()[0]
