"""Changes of colour: image uint8 [h w 3] RGB in, another out. Amounts are drawn by the caller."""

import math

import cv2
import numpy as np

_RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def linear(
  image: np.ndarray, *, brightness: float, contrast: float, saturation: float, turn: float
) -> np.ndarray:
  """All four are linear in RGB: one matrix and an offset, rounded and clipped once.

  Args:
    image: uint8 [h w 3].
    brightness: the image is multiplied by it.
    contrast: distances from the mean grey are.
    saturation: distances from each pixel's grey are.
    turn: of the colours in the YIQ plane, in full turns.
  """
  angle = 2.0 * math.pi * turn
  grey = _RGB_TO_YIQ[0]
  mean = float(grey @ cv2.mean(image)[:3]) * brightness
  rotation = np.array(
    [[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]], float
  )
  chroma = np.linalg.inv(_RGB_TO_YIQ) @ rotation @ _RGB_TO_YIQ
  saturate = saturation * np.eye(3) + (1.0 - saturation) * np.ones((3, 1)) * grey
  matrix = chroma @ saturate
  offset = matrix @ np.full(3, (1.0 - contrast) * mean)
  return cv2.transform(image, np.concatenate([contrast * brightness * matrix, offset[:, None]], axis=1))


def gamma(image: np.ndarray, exponent: float) -> np.ndarray:
  """Each value v of 0..255 becomes 255 (v / 255)^exponent, rounded."""
  table = 255.0 * (np.arange(256) / 255.0) ** exponent
  return cv2.LUT(image, np.rint(table).astype(np.uint8))
