"""Pictures of instances: boxes, masks, class, score, and keypoints with their skeleton, over the image."""

import colorsys
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jseg.data import detections

# Which points are joined, by the number of points. 17: COCO's, from the owners' category 'person', there
# counted from 1. 5: shapes.KEYPOINTS, the centre with each of the others.
SKELETONS = {
  17: (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9),
    (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
  ),
  5: ((0, 1), (0, 2), (0, 3), (0, 4)),
}  # fmt: skip
_OPACITY = 0.45
_LETTERS = 8, 34  # the least height of letters in pixels; so many of them are as high as the picture
_GOLDEN = 0.618033988749895  # turns of the colour circle by which neighbours differ


def colour(number: int) -> tuple[int, int, int]:
  """A bright colour for an object; those of neighbouring numbers lie far apart."""
  red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1.0, 0.75, 1.0)
  return round(255 * red), round(255 * green), round(255 * blue)


def instances(
  image: np.ndarray,
  found: detections.Found,
  classes: Sequence[str],
  *,
  least: float = 0.0,
  points: bool = True,
  truth: bool = False,
) -> np.ndarray:
  """Objects painted over an image, uint8 [h w 3].

  Args:
    image: uint8 [h w 3] RGB.
    found: the objects.
    classes: names by train id.
    least: objects of a lower score are left out.
    points: whether keypoints are drawn.
    truth: they are the owners': no scores, and keypoints that are hidden as well.
  """
  chosen = np.flatnonzero(found.scores >= least)
  canvas = image.copy()
  for i in chosen[::-1]:  # the surest on top
    if found.masks is not None:
      _paint(canvas, found.masks[i], colour(int(i)))
  picture = Image.fromarray(canvas)
  draw, font = (
    ImageDraw.Draw(picture),
    ImageFont.load_default(max(_LETTERS[0], image.shape[0] // _LETTERS[1])),
  )
  for i in chosen[::-1]:
    x0, y0, x1, y1 = map(float, found.boxes[i])
    if x1 < x0 or y1 < y0:
      continue
    draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour(int(i)))
    if points and found.keypoints is not None:
      shown = found.keypoints[i, :, 2] > (0 if truth else 1)
      _skeleton(draw, found.keypoints[i, :, :2], shown)
  for i in chosen[::-1]:
    score = '' if truth else f' {found.scores[i]:.2f}'
    text = f'{classes[int(found.classes[i])]}{" (crowd)" if found.crowd[i] else score}'
    _label(draw, font, text, found.boxes[i], colour(int(i)), picture.size)
  return np.asarray(picture)


def enlarged(
  image: np.ndarray, found: detections.Found, side: int = 320
) -> tuple[np.ndarray, detections.Found]:
  """Both a whole number of times larger, the long side no longer than `side`: text on them needs room."""
  factor = max(1, side // max(image.shape[:2]))
  larger = found._replace(boxes=found.boxes * factor)
  if found.masks is not None:
    larger = larger._replace(masks=found.masks.repeat(factor, 1).repeat(factor, 2))
  if found.keypoints is not None:
    larger = larger._replace(keypoints=found.keypoints * (factor, factor, 1))
  return image.repeat(factor, 0).repeat(factor, 1), larger


def _paint(canvas: np.ndarray, mask: np.ndarray, paint: tuple[int, int, int]) -> None:
  """Mixes a colour into a canvas where the mask is, and draws the mask's outline."""
  inside = mask > 0
  canvas[inside] = (canvas[inside] * (1 - _OPACITY) + np.array(paint) * _OPACITY).astype(np.uint8)
  outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
  cv2.drawContours(canvas, outlines, -1, paint, 1)


def _skeleton(draw: ImageDraw.ImageDraw, places: np.ndarray, shown: np.ndarray) -> None:
  """Keypoints (x, y) [p 2] that are shown, and lines between those that belong together."""
  joined = SKELETONS[len(places)] if len(places) in SKELETONS else ()
  for first, second in joined:
    if shown[first] and shown[second]:
      draw.line([tuple(places[first]), tuple(places[second])], fill=(255, 255, 0), width=2)
  for x, y in places[shown]:
    draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=(255, 0, 0), outline=(255, 255, 255))


def _label(
  draw: ImageDraw.ImageDraw,
  font: Any,
  text: str,
  box: np.ndarray,
  paint: tuple[int, int, int],
  size: tuple[int, int],
) -> None:
  """A text on its colour at the box's upper left corner, moved into the picture."""
  width, height = font.getlength(text) + 4, sum(font.getmetrics())
  x = max(0.0, min(float(box[0]), size[0] - width))
  y = max(0.0, min(float(box[1]) - height, size[1] - height))
  draw.rectangle((x, y, x + width, y + height), fill=paint)
  draw.text((x + 2, y), text, 'black', font)
