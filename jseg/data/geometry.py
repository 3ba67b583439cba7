"""Where each pixel of a result lies in its source, and reading images, labels, masks and points there.

Coordinates are (x, y) with whole numbers at pixel centres. Everything moves by one map, so each array is read
once: images bilinearly without antialiasing, labels and masks by nearest neighbour.
"""

import dataclasses
import math

import cv2
import numpy as np

from jseg.typing import IGNORE_LABEL

# Marks pixels outside the source while labels are resampled; no dataset has a class of that id.
OUTSIDE = 254

PADDING = ('mean', 'zero', 'mirror')


@dataclasses.dataclass(frozen=True)
class Place:
  """A map from the pixels of a result to points of its source.

  source, size: (height, width) of the two. matrix: float64 [2 3], affine. maps: None, or float32 [h w] twice,
  the x and the y of each pixel of the result where the map is not affine; `matrix` is its affine part.
  """

  source: tuple[int, int]
  size: tuple[int, int]
  matrix: np.ndarray
  maps: tuple[np.ndarray, np.ndarray] | None = None

  @property
  def shifts(self) -> bool:
    """Whether it only moves by whole pixels and mirrors: then nothing is resampled."""
    linear, offset = self.matrix[:, :2], self.matrix[:, 2]
    return self.maps is None and bool((abs(linear) == np.eye(2)).all() and (offset == np.rint(offset)).all())

  @property
  def mirrors(self) -> bool:
    """Whether the result is a mirror image; mirrored twice, it is turned."""
    return bool(np.linalg.det(self.matrix[:, :2]) < 0)


def place(
  source: tuple[int, int],
  size: tuple[int, int],
  *,
  scaled: tuple[int, int],
  angle: float = 0.0,
  start: tuple[int, int] = (0, 0),
  mirrored: tuple[bool, bool] = (False, False),
  bend: np.ndarray | None = None,
) -> Place:
  """The place of a window in an image that is scaled and turned first.

  Args:
    source: (height, width) of the image.
    size: of the window.
    scaled: of the image once it is scaled; each axis has the exact factor that gives this size.
    angle: in degrees, about the image's centre.
    start: (top, left) of the window in the scaled image; may be negative.
    mirrored: (up and down, left and right), of the window.
    bend: displacements (x, y) [3 3 2] of the window's pixels, see `_maps`; None for none.
  """
  flip = np.eye(3)
  for axis in (0, 1):
    if mirrored[1 - axis]:
      flip[axis, axis], flip[axis, 2] = -1.0, size[1 - axis]
  centred = np.array([[1.0, 0, start[1] - scaled[1] / 2], [0, 1, start[0] - scaled[0] / 2], [0, 0, 1]])
  half = np.array([[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # pixel i covers [i, i + 1): its centre is i + 0.5
  turned = _turned(source, scaled, angle)
  matrix = (np.linalg.inv(half) @ turned @ centred @ flip @ half)[:2]
  return Place(source, size, matrix, None if bend is None else _maps(bend, matrix, size))


def in_scaled(
  point: tuple[int, int], source: tuple[int, int], scaled: tuple[int, int], angle: float
) -> tuple[int, int]:
  """The pixel (y, x) of the scaled and turned image that a source pixel (y, x) falls into.

  It lies outside that image if turning took it there.
  """
  y, x = point
  back = np.linalg.inv(_turned(source, scaled, angle)) @ (x + 0.5, y + 0.5, 1.0)
  return math.floor(back[1] + scaled[0] / 2), math.floor(back[0] + scaled[1] / 2)


def _turned(source: tuple[int, int], scaled: tuple[int, int], angle: float) -> np.ndarray:
  """From the scaled image, its centre the origin, to the source: turned by -angle, divided by the factors."""
  cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
  turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
  ratio_y, ratio_x = source[0] / scaled[0], source[1] / scaled[1]
  return np.array([[ratio_x, 0, source[1] / 2], [0, ratio_y, source[0] / 2], [0, 0, 1]]) @ turn


def _maps(grid: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
  """The maps of a place of which displacements (x, y) [3 3 2] of the window's pixels are given.

  The window is cut into 3x3 equal cells; each vector stands at the centre of its cell. Between them stands
  OpenCV's bicubic interpolation (a = -0.75), the outermost vectors repeated beyond the grid. It is linear, so
  the few vectors are turned into the source's instead of all the pixels' ones.
  """
  vectors = np.moveaxis(grid @ matrix[:, :2].T, -1, 0).astype(np.float32)
  maps = []
  for (across, down, offset), displaced in zip(matrix, vectors, strict=True):
    field = cv2.resize(np.ascontiguousarray(displaced), (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    field += (across * np.arange(size[1]) + offset).astype(np.float32)
    field += (down * np.arange(size[0])[:, None]).astype(np.float32)
    maps.append(field)
  return maps[0], maps[1]


def image_and_labels(
  image: np.ndarray, labels: np.ndarray, where: Place, padding: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
  """Image [h w 3] and labels [h w] read at `where`, and where that is outside the source, bool [h w] or None.

  Labels are void there. `padding` is what the image has there: 'mean' (the source's mean colour), 'zero'
  (black) or 'mirror' (the source mirrored about its outermost pixels).
  """
  truth = nearest(labels, where, OUTSIDE)
  outside = truth == OUTSIDE
  if not outside.any():
    return _linear(image, where, 0), truth, None
  np.copyto(truth, IGNORE_LABEL, where=outside)
  if padding == 'mirror':
    return _mirrored(image, where), truth, outside
  fill = np.rint(cv2.mean(image)[:3]).astype(np.uint8) if padding == 'mean' else 0
  result = _linear(image, where, fill)
  if not where.shifts:  # else it is there already
    cv2.copyTo(_canvas(where.size, fill, image), outside.view(np.uint8), result)
  return result, truth, outside


def _canvas(size: tuple[int, int], fill: np.ndarray | int, like: np.ndarray) -> np.ndarray:
  """An array of a size filled with one value or colour; row by row, 50 times faster than pixel by pixel."""
  canvas = np.empty((*size, *like.shape[2:]), like.dtype)
  canvas[0] = fill
  canvas[1:] = canvas[0]
  return canvas


def weight(values: np.ndarray, where: Place, outside: np.ndarray | None) -> np.ndarray:
  """Weights float32 [h w] read bilinearly at `where`; 0 where `image_and_labels` found `outside`."""
  result = _linear(values, where, 0)
  if outside is not None:
    result[outside] = 0
  return result


def nearest(values: np.ndarray, where: Place, fill: int) -> np.ndarray:
  """An array uint8 [h w] read at `where` by nearest neighbour; `fill` outside the source. A copy."""
  if where.shifts:
    return _moved(values, where, fill)
  return _resampled(values, where, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT, fill)


def _linear(values: np.ndarray, where: Place, fill: np.ndarray | int) -> np.ndarray:
  """values [h w ...] read bilinearly. Its edges go on outside, or `fill` stands there: to be painted over."""
  if where.shifts:
    return _moved(values, where, fill)
  return _resampled(values, where, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)


def _mirrored(values: np.ndarray, where: Place) -> np.ndarray:
  """values [h w ...] read bilinearly, as if mirrored about its outermost pixels again and again."""
  if not where.shifts:
    return _resampled(values, where, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101)
  lines = []
  for axis, (n, out) in enumerate(zip(where.source, where.size, strict=True)):
    line = where.matrix[1 - axis, 1 - axis] * np.arange(out) + where.matrix[1 - axis, 2]
    period = max(1, 2 * (n - 1))
    folded = abs(line.astype(int)) % period
    lines.append(np.minimum(folded, period - folded))
  return values[lines[0][:, None], lines[1]]


def _moved(values: np.ndarray, where: Place, fill: np.ndarray | int) -> np.ndarray:
  """values [h w ...] at a place that shifts; `fill` outside them."""
  (x_step, y_step), (x, y) = (v.astype(int) for v in (np.diag(where.matrix), where.matrix[:, 2]))
  (height, width), (out_h, out_w) = where.source, where.size
  top, left = y if y_step > 0 else y - out_h + 1, x if x_step > 0 else x - out_w + 1
  y0, x0 = min(max(0, top), height), min(max(0, left), width)
  y1, x1 = max(y0, min(height, top + out_h)), max(x0, min(width, left + out_w))
  window = values[y0:y1, x0:x1]
  if window.shape[:2] != where.size:
    canvas = _canvas(where.size, fill, values)
    canvas[y0 - top : y1 - top, x0 - left : x1 - left] = window
    window = canvas
  if (y_step, x_step) == (1, 1):
    return np.array(window, order='C')  # a copy even of the whole: the source's own arrays stay as they are
  return cv2.flip(window, {(-1, 1): 0, (1, -1): 1, (-1, -1): -1}[int(y_step), int(x_step)])


def _resampled(values: np.ndarray, where: Place, kind: int, border: int, fill: int = 0) -> np.ndarray:
  if where.maps is not None:
    return cv2.remap(values, *where.maps, kind, borderMode=border, borderValue=(fill,))
  size, flags = (where.size[1], where.size[0]), kind | cv2.WARP_INVERSE_MAP
  return cv2.warpAffine(values, where.matrix, size, flags=flags, borderMode=border, borderValue=(fill,))
