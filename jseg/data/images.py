"""Looking at a dataset's image files: sound or not, and whether OpenCV will see what is meant.

A copy keeps the bytes of a file, and training decodes them with OpenCV, which drops opacity, cuts 16 bits to
8 and converts CMYK in its own way, all without a word. So every file is decoded by both: where OpenCV sees
the pixels that Pillow does, the bytes are kept; where not, a PNG of Pillow's; what has no one meaning is
refused.
"""

import hashlib
import io
import pathlib
import re
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageFile

from jseg.data import labels

_CONVERTED = ('1', 'L', 'P', 'RGB', 'LA', 'PA', 'RGBA', 'RGBX', 'CMYK', 'YCbCr')
_ORIENTATION = 274
_LOSSY_MEAN = 1.0  # grey levels by which two JPEG decoders may differ in the mean; the two here do not at all


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
        else:
          # By way of opacity, which is full, or Pillow would warn of a palette's.
          meant = np.array(image.convert('RGBA' if 'transparency' in image.info else 'RGB').convert('RGB'))
          lossy = image.format in ('JPEG', 'MPO') and image.mode in ('L', 'RGB')
          seen = decode(data)
          if seen is None and image.format in ('JPEG', 'MPO', 'PNG'):
            raise ValueError('Pillow reads it, OpenCV does not: it is damaged')
          pixels = None if _alike(seen, meant, _LOSSY_MEAN if lossy else 0.0) else meant
      height, width = image.height, image.width
      turned = not refusal and image.getexif().get(_ORIENTATION, 1) not in (0, 1)
  except Exception as error:  # what a broken file raises is anything from struct.error to a bomb warning
    raise ValueError(f'{path}: not a readable image ({labels.first_line(error)})') from error
  if refusal:
    raise ValueError(f'{path}: the image {refusal}')
  return Checked(height, width, pixels, hashlib.blake2b(data, digest_size=16).digest(), turned)


def decode(data: bytes) -> np.ndarray | None:
  """An image file's bytes as training sees them, uint8 [h w 3]; None if OpenCV cannot decode them.

  An orientation tag is not heeded: masks lie on the pixel grid as stored.
  """
  try:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
  except cv2.error:  # raised for some broken files; for most there is just no image
    return None


def _alike(seen: np.ndarray | None, meant: np.ndarray, most: float) -> bool:
  """Whether the mean difference is no more than `most`."""
  if seen is None or seen.shape != meant.shape:
    return False
  return float(np.mean(cv2.mean(cv2.absdiff(seen, meant))[:3])) <= most


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
