"""RoIAlign against its definition, sample by sample; torchvision's numbers are in test_goldens.py."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jseg.ops import roi_align

BOXES = np.array(
  [[1, 2, 9, 7], [-6, -5, 4, 30], [3, 3, 3, 3], [5.3, 0.2, 5.9, 11], [8, 8, 2, 3], [40, 50, 60, 70]],
  np.float32,
)


def random_map(*shape):
  return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def sample(features, y, x):
  height, width, channels = features.shape
  if not (-1 <= y <= height and -1 <= x <= width):
    return np.zeros(channels)
  y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
  rows = np.maximum(0, 1 - np.abs(y - np.arange(height)))
  columns = np.maximum(0, 1 - np.abs(x - np.arange(width)))
  return np.einsum('h,w,hwc->c', rows, columns, features)


def by_definition(features, box, *, output, scale, sampling, aligned):
  x0, y0, x1, y1 = box.astype(np.float64) * scale - (0.5 if aligned else 0)
  sides = [max(1, side) if not aligned else side for side in (y1 - y0, x1 - x0)]
  bins = [side / n for side, n in zip(sides, output, strict=True)]
  counts = [sampling or math.ceil(bin) for bin in bins]
  out = np.zeros((*output, features.shape[-1]))
  for i, j in np.ndindex(*output):
    for k, l in np.ndindex(*(max(0, count) for count in counts)):
      y = y0 + (i + (k + 0.5) / counts[0]) * bins[0]
      x = x0 + (j + (l + 0.5) / counts[1]) * bins[1]
      out[i, j] += sample(features, y, x) / (counts[0] * counts[1])
  return out


@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('sampling', [0, 1, 2, 3])
@pytest.mark.parametrize('size', [(9, 13), (1, 5)])
def test_the_definition(size, sampling, aligned):
  features = random_map(*size, 3)
  options = {'output': (2, 3), 'scale': 0.8, 'sampling': sampling, 'aligned': aligned}
  want = np.stack([by_definition(features, box, **options) for box in BOXES])
  jitted = jax.jit(lambda f, b: roi_align.roi_align(f, b, **options))(features, BOXES)
  np.testing.assert_allclose(jitted, want, atol=2e-5)


@pytest.mark.parametrize('aligned', [False, True])
def test_the_two_forms_agree_in_value_and_gradient(aligned):
  features = jnp.asarray(random_map(11, 8, 5))
  options = {'output': 4, 'scale': 0.7, 'sampling': 2, 'aligned': aligned}

  def gathered(features):
    return roi_align.roi_align(features, BOXES, **options)

  def multiplied(features):
    down, across = (
      roi_align.matrix(BOXES[:, axis::2], features.shape[1 - axis], **options) for axis in (1, 0)
    )
    return roi_align.multiply(features, down, across)

  ct = jnp.asarray(random_map(len(BOXES), 4, 4, 5))

  def both(f):
    value, pull = jax.vjp(f, features)
    return value, pull(ct)[0]

  for got, want in zip(
    jax.jit(both, static_argnums=0)(gathered), jax.jit(both, static_argnums=0)(multiplied), strict=True
  ):
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_many_bins_scatter_in_pieces(monkeypatch):
  features = jnp.asarray(random_map(6, 7, 2))

  def gradient():
    loss = jax.jit(lambda f: jnp.sin(roi_align.roi_align(f, BOXES, output=3, scale=0.5)).sum())
    return jax.grad(loss)(features)

  whole = gradient()
  monkeypatch.setattr(roi_align, 'BINS_ON_CPU', 7)  # 54 bins in eight pieces, the last one padded
  np.testing.assert_allclose(gradient(), whole, atol=1e-6)


SCALES = (1 / 4, 1 / 8, 1 / 16, 1 / 32)


def pyramid(channels=3):
  return tuple(random_map(-(-90 // s), -(-121 // s), channels) for s in (4, 8, 16, 32))


def test_a_pyramid_is_each_box_on_its_level():
  rng = np.random.default_rng(1)
  low = rng.uniform(-10, 100, (30, 2))
  boxes = np.concatenate([low, low + np.exp(rng.uniform(0, 7, (30, 2)))], axis=1).astype(np.float32)
  own = np.asarray(roi_align.levels(boxes, SCALES))
  assert set(own) == {0, 1, 2, 3}
  got = np.asarray(
    jax.jit(lambda f, b: roi_align.multilevel(f, b, output=3, scales=SCALES))(pyramid(), boxes)
  )
  for level, (features, scale) in enumerate(zip(pyramid(), SCALES, strict=True)):
    alone = jax.jit(lambda f, b, scale=scale: roi_align.roi_align(f, b, output=3, scale=scale))(
      features, boxes
    )
    np.testing.assert_allclose(got[own == level], np.asarray(alone)[own == level], atol=1e-5)


def test_levels_change_at_whole_powers_of_two():
  sides = [0, 1, 111.9, 112, 223.9, 224, 447.9, 448, 5000]
  boxes = np.array([[10, 20, 10 + side, 20 + side] for side in sides], np.float32)
  assert roi_align.levels(boxes, SCALES).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]


def test_vmapped_over_images_as_one_by_one():
  features = tuple(np.stack([f, 2 * f]) for f in pyramid())
  boxes = np.stack([BOXES, BOXES[::-1] * 3])

  def loss(features, boxes):
    return jnp.sin(roi_align.multilevel(features, boxes, output=2, scales=SCALES)).sum()

  both = jax.jit(jax.vmap(jax.value_and_grad(loss)))(features, boxes)
  for i in range(2):
    one = jax.jit(jax.value_and_grad(loss))(
      jax.tree.map(lambda f, i=i: jnp.asarray(f[i]), features), boxes[i]
    )
    jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-5), both, one)


def test_bfloat16_stays_and_is_summed_in_float32():
  features = random_map(9, 9, 4)
  got = roi_align.roi_align(jnp.asarray(features, jnp.bfloat16), BOXES, output=2, scale=1.0)
  assert got.dtype == jnp.bfloat16
  np.testing.assert_allclose(
    got.astype(np.float32), roi_align.roi_align(features, BOXES, output=2, scale=1.0), atol=0.02
  )


def test_no_boxes_and_wrong_arguments():
  assert roi_align.multilevel(pyramid(), np.zeros((0, 4), np.float32), output=2, scales=SCALES).shape[0] == 0
  with pytest.raises(ValueError, match='4 maps and 3 scales'):
    roi_align.multilevel(pyramid(), BOXES, output=2, scales=SCALES[1:])
  with pytest.raises(ValueError, match='give 1 or more'):
    roi_align.multilevel(pyramid(), BOXES, output=2, scales=SCALES, sampling=0)


def pool_by_definition(features, box, *, output, scale):
  x0, y0, x1, y1 = (math.floor(v * scale + 0.5) for v in box.tolist())
  out = np.zeros((*output, features.shape[-1]), np.float32)
  for i, j in np.ndindex(*output):
    ranges = []
    for start, end, k, n, length in (
      (y0, y1, i, output[0], features.shape[0]),
      (x0, x1, j, output[1], features.shape[1]),
    ):
      side = max(end - start + 1, 1)
      first, last = math.floor(k * side / n) + start, math.ceil((k + 1) * side / n) + start
      ranges.append(slice(min(max(first, 0), length), min(max(last, 0), length)))
    piece = features[ranges[0], ranges[1]]
    if piece.size:
      out[i, j] = piece.max((0, 1))
  return out


def test_roi_pool():
  features, options = random_map(9, 13, 3), {'output': (2, 3), 'scale': 0.8}
  want = np.stack([pool_by_definition(features, box, **options) for box in BOXES])
  np.testing.assert_array_equal(roi_align.roi_pool(features, BOXES, **options), want)
  jitted = jax.jit(jax.vmap(lambda f, b: roi_align.roi_pool(f, b, **options)))
  np.testing.assert_array_equal(jitted(features[None], BOXES[None])[0], want)
  # Every bin that is not empty hands one pixel of each channel its gradient, that of its maximum.
  gradient = jax.grad(lambda f: roi_align.roi_pool(f, BOXES, **options).sum())(jnp.asarray(features))
  assert gradient.sum() == (want != 0).sum()
  np.testing.assert_allclose((gradient * features).sum(), want.sum(), rtol=1e-5)
