"""Augmentation on the host: one geometric pass over image, labels and objects, then colour, then blur.

Scale, rotation, flips, shift, crop and elastic deformation are one map from the output back to the source, so
pixels are resampled once, and only those of the crop. Outside the source labels are void. Half-pixel centres.

What an example may hold besides image, labels, id and index, and what becomes of it (other things are left
out):

  weight          float32 [h w], read bilinearly, 0 outside
  masks           uint8 [n h w] of 0 and 1, one an object, read by nearest neighbour, 0 outside
  boxes           float32 [n 4], x0 y0 x1 y1 in pixels, x0 <= x < x1; of the moved masks, or, without masks,
                  around the moved outlines and cut to the image
  keypoints       float32 [n p 3], x y (whole numbers at pixel centres) and visibility, 0 for none; those that
                  leave the image become zeros, left and right change their names in a mirror image
  areas           float32 [n], pixels of the moved masks, or, without masks, changed as those of the boxes
  classes, crowd, annotation_ids [n], image_id, tags   unchanged; tags are the whole image's

Objects of which nothing is left are taken out of all the [n] arrays.
"""

import dataclasses
import math

import cv2
import numpy as np

from jseg.data import colour, geometry, instances, spec
from jseg.typing import IGNORE_LABEL

# Greatest value of each option that is an amount.
_RANGES = {
  'rotate': 180.0,
  'around': 1.0,
  'rare': 1.0,
  'translate': 10_000,
  'elastic': 1000.0,
  'brightness': 1.0,
  'contrast': 1.0,
  'saturation': 1.0,
  'hue': 0.5,
  'gamma': 10.0,
  'blur': 100.0,
}


@dataclasses.dataclass(frozen=True)
class Augment:
  """What is done to a training example at random; the defaults do nothing.

  Attributes:
    crop: (height, width) of the result in pixels; empty: the size of the image itself. The place is uniform;
      an image that is smaller is padded, at a uniform place.
    flip: mirror left and right with probability 0.5.
    vflip: mirror up and down with probability 0.5.
    scale: (least, greatest) factor on both sides, drawn uniformly, as PSPNet's published code does.
    rotate: greatest angle in degrees, drawn uniformly from both directions, about the image centre.
    around: probability that the crop is laid around all pixels of a set of classes, drawn uniformly from the
      sets of those that the image has, void and class 0, the background, left out: their bounding box, each
      side lengthened by up to a half, is scaled to fit into the crop, in place of `scale`. It is what is left
      of DecoupledNet's combinatorial cropping without its region proposals.
    rare: probability that the crop is centred on a pixel of a class drawn uniformly from those that the image
      has (void is none), as near as the image's borders allow: RefineNet's code, for which it is 1. That is
      before translate and elastic; a scale below 1 may skip that pixel, but not its place.
    translate: greatest shift in whole pixels of the result, drawn for both axes, uniformly from both
      directions; FCN tried 32.
    elastic: standard deviation, in pixels of the result, of a 3x3 grid of displacements that are drawn from a
      Gaussian and interpolated bicubically between the centres of 3x3 cells (U-Net: 10).
    padding: what the image has outside the source. 'mean': the source's mean colour, close to zero once the
      task has subtracted a mean. 'zero': black. 'mirror': the source mirrored about its outermost pixels.
    brightness: the image is multiplied by 1 + u, u uniform in +-brightness.
    contrast: distances from the mean grey are multiplied by 1 + u, u uniform in +-contrast.
    saturation: distances from each pixel's grey are multiplied by 1 + u, u uniform in +-saturation.
    hue: colours turn in the YIQ plane by u full turns, u uniform in +-hue.
    gamma: values, as shares of 255, are raised to the power (1 + gamma)^u, u uniform in +-1.
    blur: greatest standard deviation, in pixels, of a Gaussian blur; drawn uniformly from 0.

  Raises:
    ValueError: a value out of range.
  """

  crop: tuple[int, ...] = ()
  flip: bool = False
  vflip: bool = False
  scale: tuple[float, float] = (1.0, 1.0)
  rotate: float = 0.0
  around: float = 0.0
  rare: float = 0.0
  translate: int = 0
  elastic: float = 0.0
  padding: str = 'mean'
  brightness: float = 0.0
  contrast: float = 0.0
  saturation: float = 0.0
  hue: float = 0.0
  gamma: float = 0.0
  blur: float = 0.0

  def __post_init__(self):
    if len(self.crop) not in (0, 2) or any(side < 1 for side in self.crop):
      raise ValueError(f'augment: crop {tuple(self.crop)} is not (height, width) in pixels, nor empty')
    if len(self.scale) != 2 or not 0.0 < self.scale[0] <= self.scale[1] < math.inf:
      raise ValueError(
        f'augment: scale {tuple(self.scale)} is not (least, greatest) with 0 < least <= greatest'
      )
    values = dataclasses.asdict(self)
    for name, greatest in _RANGES.items():
      if not 0 <= values[name] <= greatest:
        raise ValueError(f'augment: {name} is {values[name]}; it lies in 0..{greatest:g}')
    for name in ('rare', 'around'):
      if values[name] and not self.crop:
        raise ValueError(
          f'augment: {name} is {values[name]}, but whole images are taken; set data.crop, or {name}=0.0'
        )
    if self.padding not in geometry.PADDING:
      known = ', '.join(geometry.PADDING)
      raise ValueError(f"augment: padding '{self.padding}' is unknown; there are: {known}")

  def __call__(self, example: spec.Example, rng: np.random.Generator) -> spec.Example:
    """An augmented copy; what the example may hold is said at the top of this file.

    The result depends on the example and on what `rng` yields, and on nothing else.

    Raises:
      ValueError: a mirror image of keypoints whose left and right are unknown.
    """
    where = self._place(example['labels'], rng)
    image, labels, outside = geometry.image_and_labels(
      example['image'], example['labels'], where, self.padding
    )
    image = self.recoloured(image, rng)
    result = {'image': image, 'labels': labels, 'id': example['id'], 'index': example['index']}
    if 'weight' in example:
      result['weight'] = geometry.weight(example['weight'], where, outside)
    result |= {name: example[name] for name in ('image_id', 'tags') if name in example}
    objects = {name: example[name] for name in instances.KEYS if name in example}
    return {**result, **instances.moved(objects, where)}

  def _place(self, labels: np.ndarray, rng: np.random.Generator) -> geometry.Place:
    """Draws where the result lies. An option that is off draws what it drew before there were later ones."""
    height, width = labels.shape
    factor = rng.uniform(*self.scale)
    angle = rng.uniform(-self.rotate, self.rotate)
    mirrored = self.flip and rng.random() < 0.5
    upturned = self.vflip and rng.random() < 0.5
    size = self.crop or (height, width)
    box = None
    if self.around and rng.random() < self.around:
      box = _around_classes(labels, rng)
      factor = min(n / side for n, (_, side) in zip(size, box, strict=True)) if box else factor
    # The scaled image's size is rounded, and each axis then has the exact factor that gives this size.
    scaled = max(1, round(height * factor)), max(1, round(width * factor))
    held = (None, None)
    if box:
      y, x = (min(int(centre), n - 1) for (centre, _), n in zip(box, labels.shape, strict=True))
      held = geometry.in_scaled((y, x), labels.shape, scaled, angle)
    elif self.rare and rng.random() < self.rare:
      pixel = _of_any_class(labels, rng)
      held = geometry.in_scaled(pixel, labels.shape, scaled, angle) if pixel else held
    top, left = (_offset(rng, *line) for line in zip(scaled, size, held, strict=True))
    if self.translate:
      top, left = (n + int(rng.integers(-self.translate, self.translate, endpoint=True)) for n in (top, left))
    bend = rng.normal(0.0, self.elastic, (3, 3, 2)) if self.elastic else None
    return geometry.place(
      (height, width),
      (size[0], size[1]),
      scaled=scaled,
      angle=angle,
      start=(top, left),
      mirrored=(upturned, mirrored),
      bend=bend,
    )

  def recoloured(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image uint8 [h w 3] with its colours changed and blurred at random, as the options say."""
    if self.brightness or self.contrast or self.saturation or self.hue:
      bright, contrast, saturation = (
        1.0 + rng.uniform(-r, r) for r in (self.brightness, self.contrast, self.saturation)
      )
      turn = rng.uniform(-self.hue, self.hue)
      image = colour.linear(image, brightness=bright, contrast=contrast, saturation=saturation, turn=turn)
    if self.gamma:
      image = colour.gamma(image, (1.0 + self.gamma) ** rng.uniform(-1.0, 1.0))
    if self.blur:
      sigma = rng.uniform(0.0, self.blur)
      image = cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0.05 else image
    return image


def _offset(rng: np.random.Generator, size: int, window: int, held: int | None = None) -> int:
  """Where a window starts in a line of `size` pixels; negative if the line lies inside the window.

  Drawn uniformly, or with pixel `held` as near to its centre as that allows. The window leaves the line only
  to hold a pixel that is not on the line.
  """
  least, greatest = min(0, size - window), max(0, size - window)
  if held is None:
    return int(rng.integers(least, greatest, endpoint=True))
  start = min(max(held - window // 2, least), greatest)
  return min(max(start, held - window + 1), held)


def _of_any_class(labels: np.ndarray, rng: np.random.Generator) -> tuple[int, int] | None:
  """A pixel (y, x), drawn uniformly, of a class drawn uniformly from those present; None if all is void."""
  counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel()
  counts[IGNORE_LABEL] = 0
  present = np.flatnonzero(counts)
  if not len(present):
    return None
  chosen = present[rng.integers(len(present))]
  places = np.flatnonzero(labels.ravel() == chosen)
  y, x = divmod(int(places[rng.integers(len(places))]), labels.shape[1])
  return y, x


def _around_classes(labels: np.ndarray, rng: np.random.Generator) -> tuple[tuple[float, float], ...] | None:
  """(centre, length) in rows and columns around all of a set of classes, lengthened; None without classes."""
  counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel()
  counts[[0, IGNORE_LABEL]] = 0
  present = np.flatnonzero(counts)
  if not len(present):
    return None
  bits = int(rng.integers(1, 2 ** len(present)))  # a set that is not empty
  chosen = np.isin(labels, [c for i, c in enumerate(present) if bits >> i & 1])
  box = []
  for axis in (1, 0):
    line = np.flatnonzero(chosen.any(axis))
    box.append(((line[0] + line[-1] + 1) / 2, (line[-1] + 1 - line[0]) * rng.uniform(1.0, 1.5)))
  return tuple(box)
