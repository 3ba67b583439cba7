"""Depth as three channels that a network for colour images can take.

HHA of Gupta et al., "Learning Rich Features from RGB-D Images" (ECCV 2014), section 2.1, with the numbers of
github.com/s-gupta/rcnn-depth (rcnn/saveHHA.m, mcg/depth_features/processDepthImage.m): horizontal disparity,
height above the lowest point, and the angle of each surface with gravity. FCN's table 4 has NYUDv2 with it.
"""

import pathlib

import cv2
import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image

from jseg.data import labels

# Focal lengths and centre (x, y) of NYUDv2's colour camera, pixels of 640x480: camera_params.m of its toolbox
NYU_CAMERA = (518.857901, 519.469611, 325.582449, 253.736166)

NEAR, FAR = 0.5, 10.0  # metres, between which `logarithm` spreads its 256 values; a Kinect sees no more

# Pixels on each side of a patch: for the angles, and for gravity, which wants less noise.
_SMALL, _LARGE = 3, 10
_GRAVITY = ((45.0, 5), (15.0, 5))  # (degrees within which a surface counts as level or upright, rounds)
_INERTIA = 1e-3  # how much of all normals the direction found so far counts for: it decides where they do not


def read(path: pathlib.Path) -> Float64[np.ndarray, 'h w']:
  """A depth map in metres from a PNG of one channel of 16 bits that counts millimetres, 0 where not known.

  Raises:
    ValueError: the file is broken or is no such picture.
  """
  try:
    with Image.open(path) as image:
      mode, values = image.mode, np.array(image)
  except Exception as error:  # what a broken file raises is anything from struct.error to a bomb warning
    raise ValueError(f'{path}: not a readable image ({labels.first_line(error)})') from error
  if not mode.startswith('I'):
    raise ValueError(f'{path}: has mode {mode}; a depth map counts millimetres in one channel of 16 bits')
  return values / 1000.0


def logarithm(depth: Float[np.ndarray, 'h w']) -> UInt8[np.ndarray, 'h w 3']:
  """The logarithm of the depth in metres, as FCN takes it, from NEAR at 0 to FAR at 255, three times over.

  What is not known (0 or less) is 0.
  """
  with np.errstate(divide='ignore', invalid='ignore'):
    share = np.log(depth / NEAR) / np.log(FAR / NEAR)
  grey = np.where(depth > 0, np.rint(255 * share.clip(0, 1)), 0).astype(np.uint8)
  return np.repeat(grey[..., None], 3, axis=2)


def hha(
  depth: Float[np.ndarray, 'h w'], camera: tuple[float, float, float, float] = NYU_CAMERA
) -> UInt8[np.ndarray, 'h w 3']:
  """HHA of a depth map.

  Args:
    depth: metres along the optical axis; 0 or less where it is not known.
    camera: focal lengths and centre (x, y) in pixels of this image.

  Returns:
    Disparity: 310 / metres, depths under a metre as one metre. Height: centimetres above the lowest point, or
    above 1.3 m below the camera if that lies higher. Angle: degrees between the surface's normal, which faces
    the camera, and gravity, plus 38: a floor is 218, a wall 128, a ceiling 38. All cut to 0..255; what is not
    known is 0 in all three.
  """
  depth = np.asarray(depth, np.float64)
  known = depth > 0
  if not known.any():
    return np.zeros((*depth.shape, 3), np.uint8)
  rays = _rays(depth.shape, camera)
  down = _gravity(_normals(depth, rays, _LARGE)[known])
  height = -100 * (rays @ down) * depth
  lowest = height[known].min()
  cosine = (_normals(depth, rays, _SMALL) @ down).clip(-1, 1)
  channels = (
    31000 / np.maximum(100 * depth, 100),
    height - (lowest if lowest <= -90 else -130),
    np.degrees(np.arccos(cosine)) + 128 - 90,
  )
  return np.where(known[..., None], np.rint(np.stack(channels, axis=-1)).clip(0, 255), 0).astype(np.uint8)


def _rays(size: tuple[int, ...], camera: tuple[float, float, float, float]) -> Float64[np.ndarray, 'h w 3']:
  """For each pixel the point (x right, y down, z ahead) at depth 1 that it shows."""
  focal_x, focal_y, centre_x, centre_y = camera
  y, x = np.mgrid[: size[0], : size[1]]
  return np.stack([(x - centre_x) / focal_x, (y - centre_y) / focal_y, np.ones(size)], axis=-1)


def _normals(depth: np.ndarray, rays: np.ndarray, reach: int) -> Float64[np.ndarray, 'h w 3']:
  """Unit normals towards the camera, by least squares over patches of 2 * reach + 1 pixels.

  A plane n . p = 1 is n . ray = 1 / depth in every pixel that shows it, which is linear in n and, unlike the
  points themselves, no noisier far away.
  """
  weight = (depth > 0).astype(np.float64)
  inverse = np.where(depth > 0, 1 / np.where(depth > 0, depth, 1), 0)
  side = (2 * reach + 1, 2 * reach + 1)

  def summed(values: np.ndarray) -> np.ndarray:
    return cv2.boxFilter(values, cv2.CV_64F, side, normalize=False, borderType=cv2.BORDER_CONSTANT)

  squares = np.empty((*depth.shape, 3, 3))
  right = np.empty((*depth.shape, 3, 1))
  for i in range(3):
    right[..., i, 0] = summed(rays[..., i] * inverse)
    for j in range(i, 3):
      squares[..., i, j] = squares[..., j, i] = summed(rays[..., i] * rays[..., j] * weight)
  squares += 1e-9 * np.eye(3)  # a patch of one known pixel has no plane
  plane = np.linalg.solve(squares, right)[..., 0]
  plane *= np.where((plane * rays).sum(-1, keepdims=True) > 0, -1.0, 1.0)
  return plane / np.maximum(np.linalg.norm(plane, axis=-1, keepdims=True), 1e-12)


def _gravity(normals: Float64[np.ndarray, 'n 3']) -> Float64[np.ndarray, '3']:
  """The unit vector to which most surfaces are level or upright, sought from the camera's own down.

  Source: Gupta, Arbelaez, Malik, "Perceptual Organization and Recognition of Indoor Scenes" (CVPR 2013),
  section 3: the direction that is nearest to normals of level surfaces and farthest from those of walls.
  """
  down = np.array([0.0, 1.0, 0.0])
  for degrees, rounds in _GRAVITY:
    for _ in range(rounds):
      cosine = np.abs(normals @ down)
      level = normals[cosine > np.cos(np.radians(degrees))]
      upright = normals[cosine < np.sin(np.radians(degrees))]
      held = _INERTIA * len(normals) * np.outer(down, down)  # ours: one wall alone leaves a plane of choices
      _, vectors = np.linalg.eigh(upright.T @ upright - level.T @ level - held)
      found = vectors[:, 0]  # of the smallest eigenvalue
      down = found if found @ down >= 0 else -found
  return down
