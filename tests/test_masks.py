"""Mask targets by hand; torchvision's numbers are in test_goldens.py."""

import jax
import numpy as np

from jseg.data import detections
from jseg.ops import masks, roi_align


def shapes(height=23, width=31):
  y, x = np.mgrid[:height, :width]
  return np.stack([x < 10, (y - 12) ** 2 + (x - 20) ** 2 < 60]).astype(np.uint8)


def test_targets_of_a_half_covered_box():
  box = np.float32([[6, 4, 14, 20]])
  got = jax.jit(lambda m, b, i: masks.targets(m, b, i, size=4))(shapes(), box, np.array([0]))
  assert got.shape == (1, 4, 4)
  # Two pixels a bin: samples at 6.5, 7.5 | 8.5, 9.5 | ..., and pixel 9, the last one, fades out up to 10.
  np.testing.assert_allclose(got[0], np.tile([1, 0.75, 0, 0], (4, 1)), atol=1e-5)


def test_targets_are_roi_align_of_the_own_mask():
  boxes = np.float32([[1, 2, 30, 21], [15, 5, 28, 19], [-4, -3, 8, 40], [5, 5, 5, 5], [20, 3, 10, 2]])
  index = np.array([0, 1, 0, 1, 1])
  got = masks.targets(shapes(), boxes, index, size=7)
  align = jax.jit(lambda m, b: roi_align.roi_align(m, b, output=7, scale=1.0, sampling=0))
  for i in range(len(boxes)):
    want = align(shapes()[index[i], :, :, None].astype(np.float32), boxes[i : i + 1])
    np.testing.assert_allclose(got[i], want[0, ..., 0], atol=1e-5)
  both = jax.jit(jax.vmap(lambda m, b, i: masks.targets(m, b, i, size=7)))(
    np.stack([shapes(), 1 - shapes()]), np.stack([boxes, boxes]), np.stack([index, 1 - index])
  )
  np.testing.assert_allclose(both[0], got, atol=1e-5)
  assert np.isfinite(both).all()


def test_a_mask_seen_in_its_box_and_pasted_back_is_the_mask():
  mask = shapes(60, 80)[1:]
  y, x = np.nonzero(mask[0])
  box = np.float32([[x.min(), y.min(), x.max() + 1, y.max() + 1]])
  # Targets are sampled half a pixel to the right and below (aligned False), hence the border that differs.
  (pasted,) = detections.paste(np.asarray(masks.targets(mask, box, np.array([0]))), box, (60, 80)) > 0
  union = (pasted | (mask[0] > 0)).sum()
  assert (pasted & (mask[0] > 0)).sum() / union > 0.85
