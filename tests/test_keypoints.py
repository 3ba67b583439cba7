"""Keypoints against plain resizing and by hand; torchvision's numbers are in test_goldens.py."""

import jax
import jax.numpy as jnp
import numpy as np

from jseg.ops import keypoints, resize


def test_encode():
  box = np.float32([[10, 20, 66, 132], [3, 3, 3, 3]])
  points = [
    (10, 20, 2), (10.9, 21.9, 1), (11, 22, 1), (66, 132, 1), (65.9, 20, 1),
    (66.1, 40, 1), (9.9, 40, 1), (30, 40, 0), (30, 132.1, 1),
  ]  # fmt: skip
  index, valid = jax.jit(keypoints.encode)(np.float32([points, points]), box)
  assert valid.tolist() == [[True] * 5 + [False] * 4, [False] * 9]
  assert index[0].tolist() == [0, 0, 57, 56 * 56 - 1, 55] + [0] * 4
  index, _ = keypoints.encode(np.float32([points]), box[:1], 28)
  assert index[0, :5].tolist() == [0, 0, 0, 28 * 28 - 1, 27]


def expected(heatmap, box):
  length = np.maximum(box[2:] - box[:2], 1)
  width, height = np.ceil(length).astype(int).tolist()
  full = np.asarray(resize.bicubic(heatmap[None], (height, width)))[0]
  place = full.reshape(-1, full.shape[-1]).argmax(0)
  pixel = np.stack([place % width, place // width], axis=-1)
  return box[:2] + (pixel + 0.5) * length / [width, height], full.max((0, 1))


def test_decode_is_the_maximum_of_the_resized_map():
  boxes = np.float32([[3, 4, 40.3, 150.7], [-5, 2, 130, 65], [8, 8, 8, 8], [9, 9, 2, 3], [0, 0, 64, 64]])
  heatmaps = np.random.default_rng(0).standard_normal((5, 14, 14, 3)).astype(np.float32)
  place, score = jax.jit(keypoints.decode)(heatmaps, boxes)
  assert place.shape == (5, 3, 2) and score.shape == (5, 3)
  for i in range(5):
    want, height = expected(heatmaps[i], boxes[i])
    np.testing.assert_allclose(place[i], want, atol=1e-4)
    np.testing.assert_allclose(score[i], height, atol=1e-5)


def test_all_boxes_at_once_as_one_by_one():
  """The form that devices other than CPUs take."""
  boxes = np.float32([[3, 4, 40.3, 90.7], [-5, 2, 130, 65], [8, 8, 8, 8]])
  heatmaps = np.random.default_rng(1).standard_normal((3, 7, 7, 2)).astype(np.float32)
  place, score = jax.jit(jax.vmap(keypoints._highest))(heatmaps, boxes)
  alone = keypoints.decode(heatmaps, boxes)
  np.testing.assert_allclose(place, alone[0], atol=1e-4)
  np.testing.assert_allclose(score, alone[1], atol=1e-5)


def test_the_first_of_equal_places_wins():
  boxes = np.float32([[0, 0, 100, 100]])
  place, score = keypoints.decode(jnp.zeros((1, 4, 4, 1)), boxes)
  assert place.tolist() == [[[0.5, 0.5]]] and score.tolist() == [[0]]


def test_encode_after_decode_finds_the_bin():
  rng = np.random.default_rng(2)
  boxes = np.float32([[10, 20, 122, 188]])
  index = rng.integers(0, 56 * 56, 5)
  heatmaps = jnp.zeros((1, 56 * 56, 5)).at[0, index, np.arange(5)].set(9).reshape(1, 56, 56, 5)
  place, _ = keypoints.decode(heatmaps, boxes)
  points = jnp.concatenate([place, jnp.ones((1, 5, 1))], axis=-1)
  found, valid = keypoints.encode(points, boxes)
  assert found[0].tolist() == index.tolist() and valid.all()
