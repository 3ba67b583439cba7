"""Looking at a dataset's image files: sound or not, and whether OpenCV will see what is meant.

A copy keeps the bytes of a file, and training decodes them with OpenCV, which drops opacity, cuts 16 bits to
8 and converts CMYK in its own way, all without a word. Files for which that changes nothing are kept as they
are; others are read here, with Pillow, and kept as PNG; what has no one meaning is refused.
"""

import hashlib
import io
import pathlib
import re
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile

from jseg.data import labels

# Modes of each format that OpenCV decodes to the very pixels of Pillow's convert('RGB'); tests compare them.
_KEPT = {
  'JPEG': ('L', 'RGB'),
  'MPO': ('L', 'RGB'),  # a JPEG with a second picture behind the first
  'PNG': ('1', 'L', 'P', 'RGB', 'LA', 'RGBA'),  # opacity only where it is full
}
_CONVERTED = ('1', 'L', 'P', 'RGB', 'LA', 'PA', 'RGBA', 'RGBX', 'CMYK', 'YCbCr')
_ORIENTATION = 274


class Checked(NamedTuple):
  """A sound image: its size; its pixels uint8 [h w 3] unless the file's bytes serve; a hash of the bytes."""

  height: int
  width: int
  pixels: np.ndarray | None
  digest: bytes
  turned: bool  # a tag asks for another orientation, which is not heeded: masks lie on the pixels as stored


def check(path: pathlib.Path) -> Checked:
  """Decodes the whole file once.

  Raises:
    ValueError: it is broken, larger than labels.MOST_PIXELS, has other than 8 bits a channel, or is partly
      transparent; one line naming the file and the reason.
  """
  try:
    data = path.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
      refusal, pixels = _refusal(image), None
      if not refusal:
        image.load()  # opening reads the header only; a truncated file shows here
        if not _opaque(image):
          refusal = 'is partly transparent; lay it on a background and save it without'
        elif image.mode not in (_KEPT[image.format] if image.format in _KEPT else ()):
          # By way of opacity, which is full, or Pillow would warn of a palette's.
          pixels = np.array(image.convert('RGBA' if 'transparency' in image.info else 'RGB').convert('RGB'))
      height, width = image.height, image.width
      turned = not refusal and image.getexif().get(_ORIENTATION, 1) not in (0, 1)
  except Exception as error:  # what a broken file raises is anything from struct.error to a bomb warning
    raise ValueError(f'{path}: not a readable image ({labels.first_line(error)})') from error
  if refusal:
    raise ValueError(f'{path}: the image {refusal}')
  return Checked(height, width, pixels, hashlib.blake2b(data, digest_size=16).digest(), turned)


def _refusal(image: ImageFile.ImageFile) -> str:
  """What is wrong with an image by its header; empty if nothing."""
  if image.width * image.height > labels.MOST_PIXELS:
    return f'has {image.height}x{image.width} pixels; at most {labels.MOST_PIXELS:,} are read: cut it up'
  # Pillow gives 16-bit colours as RGB, cut to 8; only how it would read them tells.
  deep = any(re.search(r';16', str(tile[3])) for tile in image.tile)
  if deep or image.mode not in _CONVERTED:
    return f'has mode {image.mode}{" of 16 bits" if deep else ""}; save it with 8 bits a channel'
  if image.format == 'TIFF' and image.getexif().get(_ORIENTATION, 1) not in (0, 1):
    return 'is a TIFF with an orientation tag, which Pillow heeds and masks do not; save it without'
  return ''


def _opaque(image: Image.Image) -> bool:
  if image.mode not in ('LA', 'PA', 'RGBA') and 'transparency' not in image.info:
    return True
  return bool(np.asarray(image.convert('RGBA'))[..., 3].min() == 255)
