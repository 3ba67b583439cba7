"""U-Net's weight map: pixels between two cells that are close weigh more (arXiv:1505.04597, equation 2)."""

import cv2
import numpy as np

from jseg.typing import IGNORE_LABEL

_REACH = 7.0  # in sigmas: a second cell further off adds less than w0 * exp(-_REACH^2 / 2) = 2.3e-11 * w0


def weight_map(labels: np.ndarray, cell: int, *, w0: float = 10.0, sigma: float = 5.0) -> np.ndarray:
  """w_c + w0 * exp(-(d1 + d2)^2 / (2 sigma^2)) of each pixel.

  d1 and d2 are the distances, in pixels, from a pixel's centre to that of the nearest pixel of the nearest
  cell and of the second nearest. A cell is a set of `cell` pixels joined along their sides. The second term
  is of the pixels outside cells only, as in the authors' published code (createGapWeights.m and the ImageJ
  plugin of lmb-freiburg/Unet-Segmentation).

  w_c balances the classes: in sum over the image each class present weighs the same, and the mean is 1. The
  paper leaves open how it does.

  Args:
    labels: uint8 [h w], void 255.
    cell: the class whose connected parts are the cells.
    w0, sigma: as above, sigma in pixels; the defaults are the paper's.

  Returns:
    float32 [h w]; 0 where the label is void.

  Raises:
    ValueError: labels are not uint8 [h w], or sigma is not positive.
  """
  if labels.ndim != 2 or labels.dtype != np.uint8:
    raise ValueError(f'weight_map: labels are {labels.dtype} {labels.shape}; they have to be uint8 [h w]')
  if not sigma > 0:
    raise ValueError(f'weight_map: sigma is {sigma}; it has to be above 0')
  known = labels != IGNORE_LABEL
  counts = np.bincount(labels[known], minlength=256)
  balance = counts.sum() / (np.maximum(counts, 1) * max(1, np.count_nonzero(counts)))
  first, second = _distances(labels == cell, _REACH * sigma)
  near = w0 * np.exp(-((first + second) ** 2) / (2.0 * sigma**2))
  return np.where(known, balance[labels] + np.where(labels == cell, 0.0, near), 0.0).astype(np.float32)


def _distances(cells: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
  """Distances [h w] to the nearest and the second nearest connected part; infinite beyond `reach`."""
  height, width = cells.shape
  count, parts, boxes, _ = cv2.connectedComponentsWithStats(cells.astype(np.uint8), connectivity=4)
  first, second = np.full(cells.shape, np.inf), np.full(cells.shape, np.inf)
  margin = int(np.ceil(reach))
  for part in range(1, count):
    x, y, w, h = boxes[part, :4]
    window = (
      slice(max(0, y - margin), min(height, y + h + margin)),
      slice(max(0, x - margin), min(width, x + w + margin)),
    )
    # OpenCV measures to the nearest 0.
    distance = cv2.distanceTransform(
      (parts[window] != part).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    farther = np.maximum(distance, first[window])
    first[window] = np.minimum(distance, first[window])
    second[window] = np.minimum(second[window], farther)
  return first, second
