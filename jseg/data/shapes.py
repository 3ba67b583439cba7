"""Drawing for the embedded `shapes` set: textured shapes over a textured background, with exact truth.

Image i is a pure function of (seed, split, i) and the size: nothing is stored, nothing is fetched. Colour and
texture are drawn at random for every shape, so that only the outline tells the class. Outlines are not
anti-aliased. Along every outline the pixels on both sides are void, as a wider border is in the VOC's masks.
"""

import functools
import math
from typing import NamedTuple

import cv2
import numpy as np

from jseg.data import counts, instances, spec
from jseg.typing import IGNORE_LABEL

SHAPES = ('disc', 'square', 'triangle', 'ring', 'cross', 'star')  # train ids 1..6; 0 is the background
KEYPOINTS = ('centre', 'top', 'right', 'bottom', 'left')
SPLITS = ('train', 'val', 'test')

MIN_SIZE = 32  # below, a shape is a few pixels across
RADIUS = (0.16, 0.27)  # of the image side
TURN = math.radians(30.0)  # greatest rotation, either way
CANDIDATES = 5  # shapes tried for each image
MIN_VISIBLE = 0.75  # of a shape's pixels inside the image, once later ones are laid on top
CONTRAST = 90.0  # least distance of a shape's mean colour from the background's, in RGB units 0..255


class Placed(NamedTuple):
  """A shape in its place: class 0..5 (background not counted), its pixels, its keypoints (y, x).

  `mask` is the part inside the image and covers `window`, a pair of slices of the image.
  """

  kind: int
  mask: np.ndarray
  window: tuple[slice, slice]
  points: np.ndarray


class Shapes:
  """A split of drawn images; a Source.

  Besides image, labels, id and index an example holds what later tasks learn: masks [n h w] uint8 (1 on the
  visible part of each shape), boxes [n 4] float32 (x0 y0 x1 y1, x0 <= x < x1, tight on the visible mask),
  classes [n] int32 (train ids 1..6), keypoints [n 5 3] float32 (x, y of `KEYPOINTS` of the whole outline, and
  visibility: 2 seen, 1 covered by another shape, 0 outside the image).

  Raises:
    ValueError: unknown split, or a size or count out of range.
  """

  def __init__(self, split: str, *, size: int = 96, count: int = 2000, seed: int = 0):
    if split not in SPLITS:
      raise ValueError(f"split '{split}' is unknown for shapes; there are: {', '.join(SPLITS)}")
    if size < MIN_SIZE:
      raise ValueError(f'shapes: size {size} is too small; {MIN_SIZE} is the least')
    if count < 1 or seed < 0:
      raise ValueError(
        f'shapes: {count} images with seed {seed}; at least 1 image and a seed >= 0 are needed'
      )
    self.split, self.size, self.count, self.seed = split, size, count, seed

  def __len__(self) -> int:
    """The number of images."""
    return self.count

  @property
  def extents(self) -> np.ndarray:
    """Sizes and numbers of objects, int64 [n 4], see jseg.data.extents; no image is without a shape."""
    return np.tile(np.array([self.size, self.size, 1, 1]), (self.count, 1))

  def __getitem__(self, index: int) -> spec.Example:
    """Draws image `index`."""
    if not 0 <= index < self.count:
      raise IndexError(f'shapes: image {index} of {self.count}')
    rng = np.random.default_rng((self.seed, SPLITS.index(self.split), index))
    example = draw(rng, self.size)
    return {**example, 'id': f'{self.split}_{index:05d}', 'index': index}

  @functools.cached_property
  def counts(self) -> np.ndarray:
    """Pixels of each train id in every image, int64 [n 8], void last; draws them all."""
    return counts.read(self, len(SHAPES) + 1)


def draw(rng: np.random.Generator, size: int) -> spec.Example:
  """One image of `size` x `size` with its truth; everything but id and index."""
  base = rng.uniform(40, 215, 3)
  image = texture(rng, base, size, size)
  owner = np.full((size, size), -1, np.int16)  # which shape a pixel shows; -1: background
  placed: list[Placed] = []
  whole = np.zeros(CANDIDATES)  # pixels of each shape inside the image,
  shown = np.zeros(CANDIDATES)  # and of those the visible ones
  for _ in range(CANDIDATES):
    shape, n = place(rng, size), len(placed)
    under = owner[shape.window][shape.mask]
    covered = np.bincount(under + 1, minlength=CANDIDATES + 1)[1:]
    if (shown - covered < MIN_VISIBLE * whole).any():
      continue
    whole[n] = len(under)
    shown += np.where(np.arange(CANDIDATES) == n, len(under), -covered)
    owner[shape.window][shape.mask] = n
    paint = texture(rng, contrasting(rng, base), *shape.mask.shape)
    np.copyto(image[shape.window], paint, where=shape.mask[..., None])
    placed.append(shape)
  image += 4.0 * rng.standard_normal(image.shape, np.float32)
  return {'image': cv2.convertScaleAbs(np.maximum(image, 0)), **truth(owner, placed)}


def truth(owner: np.ndarray, placed: list[Placed]) -> spec.Example:
  """Labels and instances, from which shape every pixel shows and the shapes in drawing order."""
  classes = np.array([p.kind for p in placed], np.int32)
  labels = np.concatenate([[0], classes + 1]).astype(np.uint8)[owner + 1]
  edge = np.zeros(owner.shape, bool)
  across, down = owner[:, :-1] != owner[:, 1:], owner[:-1] != owner[1:]
  for side, differs in ((edge[:, :-1], across), (edge[:, 1:], across), (edge[:-1], down), (edge[1:], down)):
    side |= differs
  labels[edge] = IGNORE_LABEL
  masks = (owner[None] == np.arange(len(placed))[:, None, None]).astype(np.uint8)
  return {
    'labels': labels,
    'masks': masks,
    'boxes': np.array([instances.box_of(m) for m in masks], np.float32).reshape(-1, 4),
    'classes': classes + 1,
    'keypoints': np.stack([visibility(p.points, i, owner) for i, p in enumerate(placed)]).astype(np.float32),
  }


def place(rng: np.random.Generator, size: int) -> Placed:
  """A random shape at a random place, turned a little, most of it inside the image."""
  kind = int(rng.integers(len(SHAPES)))
  radius = rng.uniform(*RADIUS) * size
  angle = rng.uniform(-TURN, TURN)
  cy, cx = rng.uniform(0.6 * radius, size - 0.6 * radius, 2)
  reach = math.ceil(radius) + 1
  y0, x0 = int(cy) - reach, int(cx) - reach  # a square that holds the whole shape
  y1, x1 = y0 + 2 * reach + 1, x0 + 2 * reach + 1
  dy = (np.arange(y0, y1, dtype=np.float32)[:, None] - cy) / radius
  dx = (np.arange(x0, x1, dtype=np.float32)[None] - cx) / radius
  cos, sin = math.cos(angle), math.sin(angle)
  whole = inside(SHAPES[kind], cos * dy - sin * dx, sin * dy + cos * dx)
  window = slice(max(y0, 0), min(y1, size)), slice(max(x0, 0), min(x1, size))
  mask = whole[window[0].start - y0 : window[0].stop - y0, window[1].start - x0 : window[1].stop - x0]
  return Placed(kind, mask, window, np.concatenate([[(cy, cx)], extremes(whole) + (y0, x0)]))


def inside(shape: str, v: np.ndarray, u: np.ndarray) -> np.ndarray:
  """Where a shape of circumradius 1 about the origin is, bool; v points down, u right."""
  if shape == 'disc':
    return v**2 + u**2 <= 0.85**2
  if shape == 'ring':
    distance = v**2 + u**2
    return (distance <= 0.95**2) & (distance >= 0.5**2)
  if shape == 'square':
    return np.maximum(abs(v), abs(u)) <= math.sqrt(0.5)
  if shape == 'cross':
    a, b = abs(v), abs(u)
    return (np.minimum(a, b) <= 0.28) & (np.maximum(a, b) <= 0.95)
  if shape == 'triangle':
    return (v <= 0.5) & (math.sqrt(3.0) * abs(u) - v <= 1.0)
  # A pentagram: inside at least four of the five lines through its points.
  turns = 2.0 * math.pi * np.arange(5) / 5
  lines = sum((math.cos(t) * v + math.sin(t) * u <= math.cos(0.4 * math.pi)).astype(np.int8) for t in turns)
  return np.asarray(lines) >= 4


def extremes(window: np.ndarray) -> np.ndarray:
  """(y, x) of the topmost, rightmost, bottommost and leftmost pixel of a mask; the middle one of several."""
  rows, columns = np.flatnonzero(window.any(1)), np.flatnonzero(window.any(0))
  top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]

  def middle(line: np.ndarray) -> int:
    set_ = np.flatnonzero(line)
    return int(set_[len(set_) // 2])

  return np.array(
    [
      (top, middle(window[top])),
      (middle(window[:, right]), right),
      (bottom, middle(window[bottom])),
      (middle(window[:, left]), left),
    ],
    float,
  )


def visibility(points: np.ndarray, instance: int, owner: np.ndarray) -> np.ndarray:
  """(x, y, visibility) [p 3] of points (y, x) [p 2]; points outside the image become zeros."""
  size = owner.shape[0]
  y, x = np.rint(points).astype(int).T
  within = (y >= 0) & (y < size) & (x >= 0) & (x < size)
  shown = owner[y.clip(0, size - 1), x.clip(0, size - 1)]
  seen = np.where(shown > instance, 1, 2)  # later shapes lie on top
  return np.concatenate([points[:, ::-1], seen[:, None]], axis=1) * within[:, None]


def contrasting(rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
  """A random colour at least `CONTRAST` away from `base`."""
  while True:  # most of the colour cube qualifies whatever the base
    colour = rng.uniform(15, 240, 3)
    if np.linalg.norm(colour - base) >= CONTRAST:
      return colour


def texture(rng: np.random.Generator, colour: np.ndarray, height: int, width: int) -> np.ndarray:
  """A smooth random field around a colour plus stripes, float32 [height width 3], about 0..255."""
  cells = int(rng.integers(2, 8))
  field = (colour + rng.normal(0.0, 12.0, (cells, cells, 3))).astype(np.float32)
  image = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
  turn, wave = rng.uniform(0.0, math.pi), rng.uniform(4.0, 14.0)
  fy, fx = 2.0 * math.pi / wave * math.sin(turn), 2.0 * math.pi / wave * math.cos(turn)
  y, x = np.arange(height, dtype=np.float32) * fy, np.arange(width, dtype=np.float32) * fx
  # sin(y + x) as an outer sum of products: two sines a row and a column, not one a pixel.
  stripes = np.outer(np.sin(y), np.cos(x)) + np.outer(np.cos(y), np.sin(x))
  image += (rng.uniform(0.0, 12.0) * stripes).astype(np.float32)[..., None]
  return image
