"""What a detector found in an image, at the image's own size, and as COCO's format has it.

Masks come as small square maps of probabilities and are pasted as Detectron and torchvision do: the map gets
a border of zeros one cell wide, the box grows with it and is cut to whole pixels, the map is stretched over
it bilinearly, and the object is where it then lies above 0.5.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from jseg.data import coco_instances, spec

THRESHOLD = 0.5
_ARRAYS = ('boxes', 'scores', 'classes', 'masks', 'keypoints')
_SEEN = 2.0  # logit of a keypoint above which it counts as seen; Detectron draws those


class Found(NamedTuple):
  """Objects of one image, the surest first.

  boxes: float32 [n 4], x0 y0 x1 y1 in pixels. scores: float32 [n] in 0..1; 1 for the truth. classes: int32
  [n], train ids. masks: uint8 [n h w] of 0 and 1, or None. keypoints: float32 [n p 3], x y and visibility
  (found ones: 2 those that are sure, 1 the others), or None. crowd: bool [n].
  """

  boxes: np.ndarray
  scores: np.ndarray
  classes: np.ndarray
  masks: np.ndarray | None
  keypoints: np.ndarray | None
  crowd: np.ndarray


def truth(example: spec.Example) -> Found:
  """The objects of an example, every one of them, in their order."""
  number = len(example['classes'])
  points = example['keypoints'] if 'keypoints' in example else None
  crowd = example['crowd'] if 'crowd' in example else np.zeros(number, bool)
  ones = np.ones(number, np.float32)
  return Found(example['boxes'], ones, example['classes'], example['masks'], points, crowd)


def at_source(detected: Mapping[str, np.ndarray], size: Any, source: tuple[int, int]) -> Found:
  """The detections of one image at its own size.

  Args:
    detected: boxes [n 4] in pixels of the scaled image, scores [n], classes [n], valid [n]; masks
      [n m m], probabilities, and keypoints [n p 3] (x, y, logit), where the network has them.
    size: (height, width) of the scaled image.
    source: of the image itself.
  """
  kept = np.flatnonzero(detected['valid'])
  order = kept[np.argsort(-detected['scores'][kept], kind='stable')]
  found = {name: np.asarray(detected[name])[order] for name in _ARRAYS if name in detected}
  height, width = source
  ratio = np.array([width / size[1], height / size[0]], np.float32)
  boxes = (found['boxes'] * np.tile(ratio, 2)).astype(np.float32)
  boxes = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
  masks = paste(found['masks'], boxes, source) if 'masks' in found else None
  points = None
  if 'keypoints' in found and found['keypoints'].shape[1]:
    points = found['keypoints'].astype(np.float32)
    points[..., :2] *= ratio
    points[..., 2] = np.where(points[..., 2] > _SEEN, 2, 1)
  crowd = np.zeros(len(order), bool)
  return Found(boxes, found['scores'].astype(np.float32), found['classes'], masks, points, crowd)


def paste(maps: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Masks uint8 [n h w] of 0 and 1 from maps of probabilities [n m m] and boxes [n 4]; rule as above."""
  masks = np.zeros((len(maps), *size), np.uint8)
  for mask, small, box in zip(masks, maps, boxes, strict=True):
    mask[:] = stretched(small, box, size) > THRESHOLD
  return masks


def stretched(small: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """A map [m m] over its box [4] in an image of `size` (height, width), float32 [h w], 0 elsewhere.

  Source: torchvision's expand_boxes and paste_mask_in_image.
  """
  cells = len(small)
  centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * ((cells + 2) / cells)
  (x0, y0), (x1, y1) = (centre - half).astype(int), (centre + half).astype(int)
  w, h = max(x1 - x0 + 1, 1), max(y1 - y0 + 1, 1)
  padded = np.pad(np.asarray(small, np.float32), 1)
  large = cv2.resize(padded, (int(w), int(h)), interpolation=cv2.INTER_LINEAR)
  canvas = np.zeros(size, np.float32)
  top, left, bottom, right = max(y0, 0), max(x0, 0), min(y0 + h, size[0]), min(x0 + w, size[1])
  if bottom > top and right > left:
    canvas[top:bottom, left:right] = large[top - y0 : bottom - y0, left - x0 : right - x0]
  return canvas


def results(found: Found, image_id: int, ids: Sequence[int]) -> list[dict[str, Any]]:
  """The objects as entries of a file of results in COCO's format; keypoints where there are any.

  Args:
    found: in the image.
    image_id: the owners' number of it.
    ids: their category by train id.
  """
  entries = []
  for i in range(len(found.scores)):
    x0, y0, x1, y1 = map(float, found.boxes[i])
    entry: dict[str, Any] = {
      'image_id': image_id,
      'category_id': int(ids[int(found.classes[i])]),
      'bbox': [x0, y0, x1 - x0, y1 - y0],
      'score': float(found.scores[i]),
    }
    if found.masks is not None:
      entry['segmentation'] = _segmentation(found.masks[i])
    if found.keypoints is not None and found.keypoints[i, :, 2].any():
      entry['keypoints'] = [float(v) for v in found.keypoints[i].ravel()]
    entries.append(entry)
  return entries


def annotations(example: spec.Example, image_id: int, first: int, ids: Sequence[int]) -> list[dict[str, Any]]:
  """The objects of an example as annotations in COCO's format, as many as there are.

  Args:
    example: with instances.
    image_id: the owners' number of it.
    first: the number of its first annotation, where the owners give none; from 1 on.
    ids: the owners' category by train id.
  """
  found = truth(example)
  entries = results(found, image_id, ids)
  for i, entry in enumerate(entries):
    assert found.masks is not None
    area = example['areas'][i] if 'areas' in example else found.masks[i].sum()
    del entry['score']
    entry |= {'iscrowd': int(found.crowd[i]), 'area': float(area)}
    entry['id'] = int(example['annotation_ids'][i]) if 'annotation_ids' in example else first + i
    if found.keypoints is not None:
      entry['num_keypoints'] = int((found.keypoints[i, :, 2] > 0).sum())
      entry['keypoints'] = [float(v) for v in found.keypoints[i].ravel()]
  return entries


def _segmentation(mask: np.ndarray) -> dict[str, Any]:
  return {'size': list(mask.shape), 'counts': coco_instances.encoded(mask)}
