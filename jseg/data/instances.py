"""Objects of an example, carried to where the augmentation puts them. `augment` states the arrays."""

from collections.abc import Mapping

import cv2
import numpy as np

from jseg.data import geometry

# Arrays with one entry an object.
KEYS = ('masks', 'boxes', 'keypoints', 'classes', 'crowd', 'areas', 'annotation_ids')

# What each point is called in a mirror image, by the number of points. 17: COCO's nose, then left and right
# eye, ear, shoulder, elbow, wrist, hip, knee and ankle. 5: shapes.KEYPOINTS.
_MIRRORED = {17: (0, *(i + d for i in range(1, 17, 2) for d in (1, 0))), 5: (0, 1, 4, 3, 2)}

_ALONG = 8  # points on each side of a box whose hull is the new box: curved sides are followed that closely
_STEPS = 30  # of the search for where a bent map takes a point
_NEAR = 0.25  # pixels of the source by which that search may miss


def moved(objects: Mapping[str, np.ndarray], where: geometry.Place) -> dict[str, np.ndarray]:
  """The objects at their new place, without those of which nothing is left.

  Args:
    objects: some of KEYS. Without masks and boxes nothing tells what is left, and all stay.
    where: the map.

  Raises:
    ValueError: keypoints of a mirror image whose number is unknown.
  """
  result, left = dict(objects), None
  if 'masks' in result:
    masks = np.zeros((len(result['masks']), *where.size), np.uint8)
    for i, mask in enumerate(np.asarray(result['masks'], np.uint8)):
      masks[i] = geometry.nearest(mask, where, 0)
    result['masks'], left = masks, masks.any(axis=(1, 2))
    if 'areas' in result:
      result['areas'] = masks.sum(axis=(1, 2), dtype=np.float32)
    if 'boxes' in result:
      result['boxes'] = np.array([box_of(mask) for mask in masks], np.float32).reshape(-1, 4)
  elif 'boxes' in result:
    before, boxes = _sizes(result['boxes']), _hulls(result['boxes'], where)
    after = _sizes(boxes)
    result['boxes'], left = boxes, after > 0
    if 'areas' in result:
      result['areas'] = (result['areas'] * after / np.maximum(before, 1e-6)).astype(np.float32)
  if 'keypoints' in result:
    result['keypoints'] = _keypoints(result['keypoints'], where)
  return result if left is None else {name: values[left] for name, values in result.items()}


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
  """(x0, y0, x1, y1) of the pixels that are not 0 in [h w]: x0 <= x < x1; zeros if there are none."""
  x, y, width, height = cv2.boundingRect(mask)
  return x, y, x + width, y + height


def _sizes(boxes: np.ndarray) -> np.ndarray:
  return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


def _hulls(boxes: np.ndarray, where: geometry.Place) -> np.ndarray:
  """The boxes [n 4] around the moved outlines of boxes [n 4], cut to the image."""
  along = np.linspace(0.0, 1.0, _ALONG + 1)
  zero, one = np.zeros_like(along), np.ones_like(along)
  u = np.concatenate([along, along, zero, one])
  v = np.concatenate([zero, one, along, along])
  x = boxes[:, None, 0] * (1 - u) + boxes[:, None, 2] * u
  y = boxes[:, None, 1] * (1 - v) + boxes[:, None, 3] * v
  # A box's borders lie between pixels: the left one of pixel 0 at 0, the middle of it at 0.5.
  points, _ = _forward(np.stack([x, y], axis=-1).reshape(-1, 2) - 0.5, where)
  points = (points + 0.5).reshape(len(boxes), len(u), 2)
  limit = np.array(where.size[::-1], float)
  corners = [extreme.clip(0, limit) for extreme in (points.min(axis=1), points.max(axis=1))]
  return np.concatenate(corners, axis=1).astype(np.float32)


def _keypoints(keypoints: np.ndarray, where: geometry.Place) -> np.ndarray:
  """Points (x, y, visibility) [n p 3]; what leaves the image or was not visible is all zeros."""
  n, count, _ = keypoints.shape
  if where.mirrors:
    if count not in _MIRRORED:
      known = ' and '.join(str(number) for number in _MIRRORED)
      raise ValueError(f'no left and right are known of {count} keypoints, only of {known}; do not flip them')
    keypoints = keypoints[:, _MIRRORED[count]]
  points, found = _forward(keypoints[..., :2].reshape(-1, 2), where)
  inside = (points >= -0.5) & (points < np.array(where.size[::-1]) - 0.5)
  seen = np.where(found & inside.all(axis=1), keypoints[..., 2].ravel(), 0)
  result = np.concatenate([points, seen[:, None]], axis=1) * (seen > 0)[:, None]
  return result.reshape(n, count, 3).astype(np.float32)


def _forward(points: np.ndarray, where: geometry.Place) -> tuple[np.ndarray, np.ndarray]:
  """Where points (x, y) [n 2] of the source come to lie, and whether a place was found, bool [n].

  A map that is not affine is known from the result to the source only. Its inverse is sought by steps that
  would be exact were it affine; they fail where the map folds.
  """
  back = np.linalg.inv(where.matrix[:, :2])
  found = (points - where.matrix[:, 2]) @ back.T
  if where.maps is None:
    return found, np.ones(len(points), bool)
  for _ in range(_STEPS):
    found = found + (points - _at(found, where)) @ back.T
  return found, np.linalg.norm(points - _at(found, where), axis=1) < _NEAR


def _at(points: np.ndarray, where: geometry.Place) -> np.ndarray:
  """The source's points [n 2] of points of the result: maps read bilinearly; affine beyond their ends."""
  assert where.maps is not None
  height, width = where.size
  inside = points.clip(0, (width - 1, height - 1))
  x0, y0 = np.minimum(inside.astype(int), np.maximum(np.array([width, height]) - 2, 0)).T
  x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
  u, v = (inside - np.stack([x0, y0], axis=1)).T
  read = [
    (field[y0, x0] * (1 - u) + field[y0, x1] * u) * (1 - v)
    + (field[y1, x0] * (1 - u) + field[y1, x1] * u) * v
    for field in where.maps
  ]
  return np.stack(read, axis=1) + (points - inside) @ where.matrix[:, :2].T
