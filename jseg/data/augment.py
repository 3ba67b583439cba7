"""Augmentation on the host: one geometric pass over image and labels together, then colour, then blur.

Scale, rotation, flip and crop are one affine map from the output back to the source, so only pixels of the
crop are ever computed. The image is read bilinearly without antialiasing, labels by nearest neighbour, both
with half-pixel centres. Outside the source labels are void and the image has the source's mean colour, which
is close to zero once the task has subtracted a mean.
"""

import dataclasses
import math

import cv2
import numpy as np

from jseg.data import spec
from jseg.typing import IGNORE_LABEL

# Marks pixels outside the source while labels are resampled; no dataset has a class of that id.
OUTSIDE = 254

_RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


@dataclasses.dataclass(frozen=True)
class Augment:
  """What is done to a training example at random; the defaults do nothing.

  Attributes:
    crop: (height, width) of the result in pixels; empty: the size of the image itself. The place is uniform;
      an image that is smaller is padded, at a uniform place.
    flip: mirror left and right with probability 0.5.
    scale: (least, greatest) factor on both sides, drawn uniformly, as PSPNet's published code does.
    rotate: greatest angle in degrees, drawn uniformly from both directions, about the image centre.
    brightness: the image is multiplied by 1 + u, u uniform in +-brightness.
    contrast: distances from the mean grey are multiplied by 1 + u, u uniform in +-contrast.
    saturation: distances from each pixel's grey are multiplied by 1 + u, u uniform in +-saturation.
    hue: colours turn in the YIQ plane by u full turns, u uniform in +-hue.
    blur: greatest standard deviation, in pixels, of a Gaussian blur; drawn uniformly from 0.

  Raises:
    ValueError: a value out of range.
  """

  crop: tuple[int, ...] = ()
  flip: bool = False
  scale: tuple[float, float] = (1.0, 1.0)
  rotate: float = 0.0
  brightness: float = 0.0
  contrast: float = 0.0
  saturation: float = 0.0
  hue: float = 0.0
  blur: float = 0.0

  def __post_init__(self):
    if len(self.crop) not in (0, 2) or any(side < 1 for side in self.crop):
      raise ValueError(f'augment: crop {tuple(self.crop)} is not (height, width) in pixels, nor empty')
    if len(self.scale) != 2 or not 0.0 < self.scale[0] <= self.scale[1] < math.inf:
      raise ValueError(
        f'augment: scale {tuple(self.scale)} is not (least, greatest) with 0 < least <= greatest'
      )
    ranges = {
      'rotate': 180.0,
      'brightness': 1.0,
      'contrast': 1.0,
      'saturation': 1.0,
      'hue': 0.5,
      'blur': 100.0,
    }
    for name, greatest in ranges.items():
      value = dataclasses.asdict(self)[name]
      if not 0.0 <= value <= greatest:
        raise ValueError(f'augment: {name} is {value}; it lies in 0..{greatest:g}')

  def __call__(self, example: spec.Example, rng: np.random.Generator) -> spec.Example:
    """An augmented copy with image, labels, id and index; what else the example held is left out.

    The result depends on the example and on what `rng` yields, and on nothing else.
    """
    image, labels = self._geometry(example['image'], example['labels'], rng)
    image = self._colour(image, rng)
    if self.blur:
      sigma = rng.uniform(0.0, self.blur)
      image = cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0.05 else image
    return {'image': image, 'labels': labels, 'id': example['id'], 'index': example['index']}

  def _geometry(
    self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
  ) -> tuple[np.ndarray, np.ndarray]:
    height, width = labels.shape
    factor = rng.uniform(*self.scale)
    angle = rng.uniform(-self.rotate, self.rotate)
    mirrored = self.flip and rng.random() < 0.5
    out_h, out_w = self.crop or (height, width)
    # The scaled image's size is rounded, and each axis then has the exact factor that gives this size.
    size = max(1, round(height * factor)), max(1, round(width * factor))
    top, left = _offset(rng, size[0], out_h), _offset(rng, size[1], out_w)
    if size == (height, width) and angle == 0.0:
      image, labels = _crop(image, labels, top, left, (out_h, out_w))
      image, labels = (image[:, ::-1], labels[:, ::-1]) if mirrored else (image, labels)
      return np.ascontiguousarray(image), np.ascontiguousarray(labels)
    to_source = _inverse_map((height, width), size, angle, (top, left), out_w if mirrored else 0)
    return _warp(image, labels, to_source, (out_h, out_w))

  def _colour(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All four are linear in RGB: one matrix and an offset, rounded and clipped once."""
    if not (self.brightness or self.contrast or self.saturation or self.hue):
      return image
    bright, contrast, saturation = (
      1.0 + rng.uniform(-r, r) for r in (self.brightness, self.contrast, self.saturation)
    )
    turn = 2.0 * math.pi * rng.uniform(-self.hue, self.hue)
    grey = _RGB_TO_YIQ[0]
    mean = float(grey @ cv2.mean(image)[:3]) * bright
    rotation = np.array(
      [[1, 0, 0], [0, math.cos(turn), -math.sin(turn)], [0, math.sin(turn), math.cos(turn)]], float
    )
    chroma = np.linalg.inv(_RGB_TO_YIQ) @ rotation @ _RGB_TO_YIQ
    saturate = saturation * np.eye(3) + (1.0 - saturation) * np.ones((3, 1)) * grey
    matrix = chroma @ saturate
    offset = matrix @ np.full(3, (1.0 - contrast) * mean)
    return cv2.transform(image, np.concatenate([contrast * bright * matrix, offset[:, None]], axis=1))


def _offset(rng: np.random.Generator, size: int, window: int) -> int:
  """Where a window starts in a line of `size` pixels; negative if the line lies inside the window."""
  return int(rng.integers(min(0, size - window), max(0, size - window), endpoint=True))


def _crop(
  image: np.ndarray, labels: np.ndarray, top: int, left: int, out: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
  """The window of size `out` at (top, left), with padding where it leaves the image."""
  height, width = labels.shape
  y0, x0, y1, x1 = max(0, top), max(0, left), min(height, top + out[0]), min(width, left + out[1])
  if (y1 - y0, x1 - x0) == out:
    return image[y0:y1, x0:x1], labels[y0:y1, x0:x1]
  canvas = np.empty((*out, 3), np.uint8)
  canvas[:] = _mean_colour(image)
  padded = np.full(out, IGNORE_LABEL, np.uint8)
  inner = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
  canvas[inner], padded[inner] = image[y0:y1, x0:x1], labels[y0:y1, x0:x1]
  return canvas, padded


def _inverse_map(
  source: tuple[int, int], scaled: tuple[int, int], angle: float, start: tuple[int, int], mirror: int
) -> np.ndarray:
  """The affine map [2 3] from output (x, y) pixel centres to source ones.

  Output -> (mirrored, if `mirror` is the output's width) -> shifted by `start` into the scaled image ->
  turned by -angle degrees about its centre -> divided by the scale factors.
  """
  height, width = scaled
  flip = np.array([[-1.0, 0, mirror], [0, 1, 0], [0, 0, 1]]) if mirror else np.eye(3)
  centred = np.array([[1.0, 0, start[1] - width / 2], [0, 1, start[0] - height / 2], [0, 0, 1]])
  cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
  turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
  ratio_y, ratio_x = source[0] / height, source[1] / width
  grow = np.array([[ratio_x, 0, source[1] / 2], [0, ratio_y, source[0] / 2], [0, 0, 1]])
  half = np.array([[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # pixel i covers [i, i + 1): its centre is i + 0.5
  return (np.linalg.inv(half) @ grow @ turn @ centred @ flip @ half)[:2]


def _warp(
  image: np.ndarray, labels: np.ndarray, to_source: np.ndarray, out: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
  """Resamples image and labels on the grid `to_source` gives; image edges are extended, then painted over."""
  size, inverse = (out[1], out[0]), cv2.WARP_INVERSE_MAP
  image_out = cv2.warpAffine(
    image, to_source, size, flags=cv2.INTER_LINEAR | inverse, borderMode=cv2.BORDER_REPLICATE
  )
  labels_out = cv2.warpAffine(
    labels,
    to_source,
    size,
    flags=cv2.INTER_NEAREST | inverse,
    borderMode=cv2.BORDER_CONSTANT,
    borderValue=(OUTSIDE,),
  )
  outside = labels_out == OUTSIDE
  if outside.any():
    image_out[outside] = _mean_colour(image)
    labels_out[outside] = IGNORE_LABEL
  return image_out, labels_out


def _mean_colour(image: np.ndarray) -> np.ndarray:
  return np.rint(cv2.mean(image)[:3]).astype(np.uint8)
