"""Reading the photos people have: any format, mode and orientation, as 8-bit RGB."""

import pathlib
from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm')


def find(path: str) -> list[pathlib.Path]:
  """The photo a path names, or the photos of the folder it names (of its subfolders, if it has none), sorted.

  Raises:
    ValueError: nothing is there, no file of it is a photo, or two would be written under one name.
  """
  place = pathlib.Path(path).expanduser()
  if place.is_file():
    return [place]
  if not place.is_dir():
    raise ValueError(f'{path}: no such photo or folder')
  photos = _photos(place.iterdir()) or _photos(place.rglob('*'))
  if not photos:
    raise ValueError(f'{path}: no photo in this folder; looked for {", ".join(ENDINGS)}')
  stems: dict[str, pathlib.Path] = {}
  for photo in photos:
    if stems.setdefault(photo.stem, photo) != photo:
      both = ' and '.join(str(p.relative_to(place)) for p in (stems[photo.stem], photo))
      raise ValueError(f'{path}: {both} share a name; rename one')
  return photos


def _photos(paths: Iterable[pathlib.Path]) -> list[pathlib.Path]:
  return sorted(path for path in paths if path.suffix.lower() in ENDINGS)


def is_plain(path: pathlib.Path) -> bool:
  """Whether any decoder gives of a file what `read` does: 8-bit RGB or grey, JPEG or PNG, not to be turned.

  Raises:
    ValueError: the file is broken or is no image.
  """
  try:
    with Image.open(path) as photo:
      exif = photo.getexif()
      turned = ExifTags.Base.Orientation in exif and exif[ExifTags.Base.Orientation] != 1
      known = photo.format in ('JPEG', 'PNG') and photo.mode in ('RGB', 'L')
      return known and not turned and 'transparency' not in photo.info
  except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
    raise ValueError(f'{path}: not a readable image ({str(error).splitlines()[0]})') from error


def read(path: pathlib.Path) -> UInt8[np.ndarray, 'h w 3']:
  """A photo as RGB, turned as its camera was held; 16-bit is scaled down, transparency is put on white.

  Raises:
    ValueError: the file is broken or is no image.
  """
  try:
    with Image.open(path) as photo:
      photo = ImageOps.exif_transpose(photo)
      if photo.mode.startswith('I'):
        wide = np.asarray(photo).astype(np.float64)
        return np.repeat(np.clip(wide / 257, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
      if 'A' in photo.mode or 'transparency' in photo.info:
        white = Image.new('RGBA', photo.size, 'white')
        photo = Image.alpha_composite(white, photo.convert('RGBA'))
      return np.array(photo.convert('RGB'))
  except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
    raise ValueError(f'{path}: not a readable image ({str(error).splitlines()[0]})') from error
