"""Depth as HHA, on rooms whose planes are known."""

import numpy as np
import pytest

from jseg.data import depths

CAMERA = (60.0, 60.0, 63.5, 47.5)  # of 128 x 96 pixels, 47 degrees to each side


def room(pitch=0.0, above_floor=1.2, wall=3.0):
  """Depth [96 128] of a floor and a wall ahead, the camera `pitch` degrees down; and where the floor is."""
  y, x = np.mgrid[:96, :128]
  rays = np.stack([(x - CAMERA[2]) / CAMERA[0], (y - CAMERA[3]) / CAMERA[1], np.ones((96, 128))], axis=-1)
  c, s = np.cos(np.radians(pitch)), np.sin(np.radians(pitch))
  down, ahead = rays @ np.array([0, c, s]), rays @ np.array([0, -s, c])
  with np.errstate(divide='ignore'):
    to_floor = np.where(down > 0, above_floor / np.maximum(down, 1e-9), np.inf)
  to_wall = wall / ahead
  return np.minimum(to_floor, to_wall), to_floor < to_wall


@pytest.mark.parametrize('pitch', [0.0, 12.0, -8.0])
def test_a_floor_and_a_wall(pitch):
  depth, floor = room(pitch)
  found = depths.hha(depth, CAMERA).astype(int)
  first = np.argmax(floor, axis=0)  # row of the edge between the two
  y = np.arange(96)[:, None]
  on_floor, on_wall = y > first + 4, y < first - 4  # patches that see one plane alone
  assert on_floor.mean() > 0.05 and on_wall.mean() > 0.4
  np.testing.assert_allclose(found[on_floor][:, 2], 218, atol=2)
  np.testing.assert_allclose(found[on_wall][:, 2], 128, atol=2)
  np.testing.assert_allclose(found[on_floor][:, 1], 0, atol=6)  # the lowest surface
  np.testing.assert_allclose(found[..., 0], np.rint(310 / np.maximum(depth, 1)), atol=1)


def test_height_is_in_centimetres_along_gravity():
  depth, _ = room()
  found = depths.hha(depth, CAMERA).astype(int)
  y = (30 - CAMERA[3]) / CAMERA[1] * depth[30, 60]  # metres below the camera, which is 1.2 m above the floor
  assert abs(found[30, 60, 1] - 100 * (1.2 - y)) < 5


def test_without_a_floor_in_sight_the_camera_counts_as_high():
  found = depths.hha(np.full((96, 128), 0.5), CAMERA).astype(int)
  assert abs(found[47, 64, 1] - 130) <= 2  # the patch at the height of the camera
  assert (found[..., 0] == 255).all()  # 310, since nothing counts as nearer than a metre


def test_what_is_not_known_is_zero_and_disturbs_nothing_else():
  depth, _ = room()
  holes = depth.copy()
  holes[::7, ::5] = 0
  found, whole = depths.hha(holes, CAMERA), depths.hha(depth, CAMERA)
  assert (found[::7, ::5] == 0).all()
  known = holes > 0
  assert np.abs(found[known][:, :2].astype(int) - whole[known][:, :2]).max() <= 3
  assert np.abs(found[known][:, 2].astype(int) - whole[known][:, 2]).mean() < 2
  assert (depths.hha(np.zeros((5, 4)), CAMERA) == 0).all()
  one = np.zeros((9, 9))
  one[4, 4] = 2.0
  assert np.flatnonzero(depths.hha(one, CAMERA)[..., 0]).tolist() == [40]


def test_logarithm_by_hand():
  found = depths.logarithm(np.array([[0.0, 0.4, 0.5, 10.0, 12.0, np.sqrt(5.0)]]))
  np.testing.assert_array_equal(found[0, :, 0], [0, 0, 0, 255, 255, 128])
  np.testing.assert_array_equal(found[..., 0], found[..., 2])
