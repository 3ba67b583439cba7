"""Anchors by hand; torchvision's numbers are in test_goldens.py."""

import numpy as np
import pytest

from jseg.ops import anchors

RATIOS = (0.5, 1, 2)


def test_torchvisions_base_boxes_have_whole_ends():
  want = [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
  np.testing.assert_array_equal(anchors.base(32, RATIOS), want)
  np.testing.assert_array_equal(anchors.base(31, [1]), [[-16, -16, 16, 16]])  # 15.5, to even


def test_detectrons_base_boxes():
  """The table in the comment of py-faster-rcnn's generate_anchors.py, MATLAB's: from 1, ends inclusive."""
  want = [[-83, -39, 100, 56], [-55, -55, 72, 72], [-35, -79, 52, 96]]
  got = anchors.base(128, RATIOS, rule='detectron', stride=16)
  np.testing.assert_array_equal(got, np.array(want) - [1, 1, 0, 0])


def test_the_order_is_row_column_ratio_size():
  boxes = anchors.level((3, 5), (8, 4), (10, 20), RATIOS)
  assert boxes.shape == (3 * 5 * 6, 4) and boxes.dtype == np.float32
  grid = boxes.reshape(3, 5, 3, 2, 4)
  np.testing.assert_array_equal(grid[2, 3, 1, 1], [3 * 4 - 10, 2 * 8 - 10, 3 * 4 + 10, 2 * 8 + 10])
  np.testing.assert_array_equal(grid[1, 4, :, 0] - [16, 8, 16, 8], anchors.base(10, RATIOS))


def test_a_pyramid_is_its_levels():
  grids, strides, sizes = [(3, 5), (2, 3)], [(4, 4), (8, 8)], [(8,), (16,)]
  first, second = anchors.pyramid(grids, strides, sizes, RATIOS)
  np.testing.assert_array_equal(first, anchors.level((3, 5), (4, 4), (8,), RATIOS))
  np.testing.assert_array_equal(second, anchors.level((2, 3), (8, 8), (16,), RATIOS))


def test_wrong_arguments():
  with pytest.raises(ValueError, match='use one of torchvision, detectron'):
    anchors.base(8, RATIOS, rule='paper')
  with pytest.raises(ValueError, match='2 grids, 1 strides'):
    anchors.pyramid([(1, 1), (2, 2)], [(4, 4)], [(8,), (16,)], RATIOS)
