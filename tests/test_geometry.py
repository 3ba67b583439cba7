"""Where augmentation puts pixels, weights and objects: against loops over pixels, and by following marks."""

import math

import numpy as np
import pytest

from jseg.data import augment, geometry

HEIGHT, WIDTH = 42, 57
GEOMETRIES = {
  'nothing': {},
  'flip': {'flip': True},
  'both flips': {'flip': True, 'vflip': True},
  'crop': {'crop': (30, 25), 'flip': True, 'vflip': True},
  'padded crop': {'crop': (60, 80), 'vflip': True, 'flip': True},
  'far translate': {'translate': 70, 'flip': True},
  'translate': {'translate': 9, 'vflip': True, 'crop': (30, 70)},
  'scale': {'scale': (0.6, 1.8), 'flip': True},
  'rotate': {'rotate': 180.0},
  'elastic': {'elastic': 2.0},
  'elastic and flips': {'elastic': 1.5, 'flip': True, 'vflip': True, 'crop': (33, 70)},
  'all': {
    **{'crop': (37, 48), 'flip': True, 'vflip': True, 'scale': (0.7, 1.6), 'rotate': 40.0},
    **{'translate': 6, 'elastic': 1.5},
  },
}
all_geometries = pytest.mark.parametrize('options', GEOMETRIES.values(), ids=GEOMETRIES.keys())


def smooth(height=HEIGHT, width=WIDTH):
  """Three slow waves: bilinear reading at a place a little off gives about the same."""
  y, x = np.mgrid[:height, :width]
  waves = [np.sin(x / 9 + y / 17), np.cos(y / 8 - x / 21), np.sin((x + y) / 13)]
  return np.rint(127 + 90 * np.stack(waves, axis=-1)).astype(np.uint8)


def example(seed, block=6):
  rng = np.random.default_rng(seed)
  coarse = rng.choice([0, 1, 2, 3, 255], (HEIGHT // block, -(-WIDTH // block))).astype(np.uint8)
  labels = np.kron(coarse, np.ones((block, block), np.uint8))[:, :WIDTH]
  return {'image': smooth(), 'labels': labels, 'id': 'x', 'index': 3}


def cubic(t):
  """The weight of a bicubic neighbour at distance t, a = -0.75."""
  t, a = abs(t), -0.75
  if t <= 1:
    return (a + 2) * t**3 - (a + 3) * t**2 + 1
  return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def bent(grid, x, y, width, height):
  """The displacement at a point, in pixels from the corner of the window: nine cells, ends repeated."""
  across, down = x / width * 3 - 0.5, y / height * 3 - 0.5
  total = np.zeros(2)
  for row in range(math.floor(down) - 1, math.floor(down) + 3):
    for column in range(math.floor(across) - 1, math.floor(across) + 3):
      near = grid[min(max(row, 0), 2), min(max(column, 0), 2)]
      total += cubic(down - row) * cubic(across - column) * near
  return total


def drawn(options, rng):
  """What is drawn, in the documented order; the result's size; the scaled size."""
  option = {name: options.get(name, default) for name, default in vars(augment.Augment()).items()}
  factor, angle = rng.uniform(*option['scale']), rng.uniform(-option['rotate'], option['rotate'])
  mirrored = option['flip'] and rng.random() < 0.5
  upturned = option['vflip'] and rng.random() < 0.5
  out = option['crop'] or (HEIGHT, WIDTH)
  scaled = round(HEIGHT * factor), round(WIDTH * factor)
  start = [int(rng.integers(min(0, n - m), max(0, n - m) + 1)) for n, m in zip(scaled, out, strict=True)]
  if option['translate']:
    start = [n + int(rng.integers(-option['translate'], option['translate'] + 1)) for n in start]
  grid = rng.normal(0, option['elastic'], (3, 3, 2)) if option['elastic'] else np.zeros((3, 3, 2))
  return out, scaled, angle, mirrored, upturned, start, grid


def sources(options, rng):
  """The source point (y, x), whole numbers at pixel centres, of every pixel of the result, by a loop."""
  (height, width), scaled, angle, mirrored, upturned, start, grid = drawn(options, rng)
  points = np.zeros((height, width, 2))
  turn = math.radians(angle)
  for i in range(height):
    for j in range(width):
      dx, dy = bent(grid, j + 0.5, i + 0.5, width, height)
      x, y = j + 0.5 + dx, i + 0.5 + dy
      x, y = width - x if mirrored else x, height - y if upturned else y
      x, y = x + start[1] - scaled[1] / 2, y + start[0] - scaled[0] / 2
      x, y = math.cos(turn) * x - math.sin(turn) * y, math.sin(turn) * x + math.cos(turn) * y
      points[i, j] = y * HEIGHT / scaled[0] + HEIGHT / 2 - 0.5, x * WIDTH / scaled[1] + WIDTH / 2 - 0.5
  return points


def mirrored_index(i, n):
  while not 0 <= i < n:
    i = -i if i < 0 else 2 * (n - 1) - i
  return i


def read(image, y, x):
  """Bilinear, by hand, as if mirrored about the outermost pixels; so is a point inside, but for its rim."""
  y0, x0 = math.floor(y), math.floor(x)
  total = 0.0
  for row, by in ((y0, y0 + 1 - y), (y0 + 1, y - y0)):
    for column, bx in ((x0, x0 + 1 - x), (x0 + 1, x - x0)):
      total = total + by * bx * image[mirrored_index(row, HEIGHT), mirrored_index(column, WIDTH)].astype(
        float
      )
  return total


@all_geometries
def test_every_pixel_is_where_a_loop_finds_it(options):
  source = example(1)
  change = augment.Augment(**options, padding='mirror')
  compared = 0
  for seed in (0, 1, 2):
    points = sources(options, np.random.default_rng(seed))
    out = change(source, np.random.default_rng(seed))
    for (y, x), pixel, label in zip(
      points.reshape(-1, 2), out['image'].reshape(-1, 3), out['labels'].ravel(), strict=True
    ):
      # OpenCV reads at multiples of 1/32 pixel: next to a border between pixels either neighbour is right.
      near = abs(y % 1 - 0.5) < 0.06 or abs(x % 1 - 0.5) < 0.06
      inside = -0.5 < y < HEIGHT - 0.5 and -0.5 < x < WIDTH - 0.5
      if not near:
        compared += 1
        assert label == (source['labels'][round(y), round(x)] if inside else 255)
        assert abs(pixel - read(source['image'], y, x)).max() < 2.0
  assert compared > 2000


@pytest.mark.parametrize(
  'options', [{'translate': 30}, {'crop': (70, 90)}, {'rotate': 90.0, 'scale': (0.5, 0.9)}]
)
@pytest.mark.parametrize('padding', ['mean', 'zero'])
def test_padding_has_one_colour_and_is_void(options, padding):
  source = example(2)
  source['labels'][:] = 1
  out = augment.Augment(**options, padding=padding)(source, np.random.default_rng(0))
  outside = out['labels'] == 255
  assert outside.sum() > 50
  expected = source['image'].mean((0, 1)) if padding == 'mean' else 0
  assert abs(out['image'][outside] - expected).max() <= 0.51
  mirrored = augment.Augment(**options, padding='mirror')(source, np.random.default_rng(0))
  np.testing.assert_array_equal(mirrored['labels'], out['labels'])
  # On the half pixel between the outermost centres and the border the mirrored image is already mixed in.
  assert (mirrored['image'][~outside] != out['image'][~outside]).mean() < 0.05
  assert (mirrored['image'][outside] != out['image'][outside]).mean() > 0.5


def test_mirrored_padding_is_numpys():
  source = example(0)
  out = augment.Augment(crop=(HEIGHT + 90, WIDTH), padding='mirror')(source, np.random.default_rng(5))
  top = int(np.flatnonzero((out['labels'] != 255).any(1))[0])
  top -= int(np.flatnonzero((source['labels'] != 255).any(1))[0])
  widths = ((top, 90 - top), (0, 0))
  np.testing.assert_array_equal(out['image'], np.pad(source['image'], (*widths, (0, 0)), 'reflect'))
  np.testing.assert_array_equal(out['labels'], np.pad(source['labels'], widths, constant_values=255))


@all_geometries
def test_masks_and_what_belongs_to_them_follow_the_labels(options):
  kept, lost = 0, 0
  for seed in range(10):
    source = example(seed)
    masks = np.stack([source['labels'] == k for k in range(4)]).astype(np.uint8)
    small = np.zeros_like(masks[:1])
    small[0, 0, 0] = 1  # an object of one pixel in a corner, often lost
    source |= {
      'masks': np.concatenate([masks, small]),
      'boxes': np.zeros((5, 4), np.float32),
      'classes': np.arange(5),
      'crowd': np.arange(5) % 2 == 1,
      'areas': np.full(5, 7.0, np.float32),
      'annotation_ids': np.arange(5) + 100,
      'image_id': 17,
    }
    out = augment.Augment(**options)(source, np.random.default_rng(seed))
    chosen = out['classes']
    for mask, k, box, area in zip(out['masks'], chosen, out['boxes'], out['areas'], strict=True):
      if k < 4:
        np.testing.assert_array_equal(mask, out['labels'] == k)
      ys, xs = np.nonzero(mask)
      assert tuple(box) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
      assert area == len(ys)
    left = [k for k in range(4) if (out['labels'] == k).any()]
    assert list(chosen[chosen < 4]) == left
    np.testing.assert_array_equal(out['crowd'], chosen % 2 == 1)
    np.testing.assert_array_equal(out['annotation_ids'], chosen + 100)
    assert (out['masks'].dtype, out['boxes'].dtype, out['image_id']) == (np.uint8, np.float32, 17)
    kept, lost = kept + len(chosen), lost + 5 - len(chosen)
  assert kept > 10
  assert lost or 'translate' not in options


@pytest.mark.parametrize(
  'options',
  [{'flip': True, 'vflip': True}, {'crop': (25, 30), 'flip': True}, {'translate': 25, 'vflip': True}],
)
def test_boxes_without_masks_are_those_of_full_masks(options):
  for seed in range(30):
    rng = np.random.default_rng(seed)
    corners = [np.sort(rng.choice(np.arange(n + 1), 2, replace=False)) for n in (WIDTH, HEIGHT) * 4]
    boxes = np.array([(x[0], y[0], x[1], y[1]) for x, y in zip(corners[::2], corners[1::2], strict=True)])
    masks = np.zeros((4, HEIGHT, WIDTH), np.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
      mask[y0:y1, x0:x1] = 1
    areas = masks.sum((1, 2)).astype(np.float32)
    objects = {'boxes': boxes.astype(np.float32), 'classes': np.arange(4), 'areas': areas}
    change = augment.Augment(**options)
    alone = change({**example(0), **objects}, np.random.default_rng(seed))
    together = change({**example(0), **objects, 'masks': masks}, np.random.default_rng(seed))
    for name in objects:
      np.testing.assert_allclose(alone[name], together[name], atol=1e-3, err_msg=name)


@pytest.mark.parametrize('options', [GEOMETRIES['rotate'], GEOMETRIES['elastic'], GEOMETRIES['all']])
def test_a_box_without_a_mask_surrounds_its_moved_pixels(options):
  found = 0
  for seed in range(20):
    mask = np.zeros((1, HEIGHT, WIDTH), np.uint8)
    mask[0, 8:30, 14:40] = 1
    objects = {'boxes': np.array([[14.0, 8.0, 40.0, 30.0]], np.float32)}
    change = augment.Augment(**options)
    alone = change({**example(0), **objects}, np.random.default_rng(seed))['boxes']
    together = change({**example(0), **objects, 'masks': mask}, np.random.default_rng(seed))['boxes']
    if len(together):
      found += 1
      outward = (together - alone) * (1, 1, -1, -1)
      assert outward.min() > -0.9 and outward.max() < 2.0  # a sharp corner may hold no pixel's centre
  assert found > 10


@all_geometries
def test_keypoints_follow_a_mark(options):
  y, x = np.mgrid[:HEIGHT, :WIDTH]
  followed = gone = 0
  for seed in range(25):
    rng = np.random.default_rng(seed)
    at = rng.uniform((4, 4), (WIDTH - 5, HEIGHT - 5))
    mark = 250 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 8)
    keypoints = np.zeros((1, 17, 3), np.float32)
    keypoints[0, 0] = *at, 2  # the nose is the nose in a mirror, too
    source = {
      **example(0),
      'image': np.repeat(mark[..., None], 3, 2).astype(np.uint8),
      'keypoints': keypoints,
    }
    out = augment.Augment(**options, padding='zero')(source, rng)
    px, py, seen = out['keypoints'][0, 0]
    assert not out['keypoints'][0, 1:].any()
    height, width = out['labels'].shape
    if not seen:
      gone += 1
      assert (px, py) == (0, 0)
      inner = out['image'][1:-1, 1:-1, 0]
      assert inner.max() < 245
      continue
    followed += 1
    assert seen == 2 and -0.5 <= px < width - 0.5 and -0.5 <= py < height - 0.5
    light = out['image'][..., 0].astype(float) ** 4  # the middle of the brightest part
    yy, xx = np.mgrid[:height, :width]
    if 4 < px < width - 5 and 4 < py < height - 5:
      assert math.hypot((light * xx).sum() / light.sum() - px, (light * yy).sum() / light.sum() - py) < 0.8
  assert followed > 3
  assert gone or 'crop' not in options or options['crop'][0] > HEIGHT


def test_left_and_right_change_names_in_a_mirror_image_only():
  keypoints = np.zeros((1, 17, 3), np.float32)
  keypoints[0, :, 0] = np.arange(17) + 20
  keypoints[0, :, 1], keypoints[0, :, 2] = 11, 1
  names = 'nose l_eye r_eye l_ear r_ear l_shoulder r_shoulder l_elbow r_elbow l_wrist r_wrist'.split()
  names += 'l_hip r_hip l_knee r_knee l_ankle r_ankle'.split()
  other = {'l': 'r_', 'r': 'l_'}
  states = set()
  for seed in range(20):
    rng = np.random.default_rng(seed)
    out = augment.Augment(flip=True, vflip=True)({**example(0), 'keypoints': keypoints}, rng)['keypoints'][0]
    check = drawn({'flip': True, 'vflip': True}, np.random.default_rng(seed))
    mirrored, upturned = check[3:5]
    states.add((mirrored, upturned))
    for i, name in enumerate(names):
      swapped = mirrored != upturned and '_' in name
      before = names.index(other[name[0]] + name[2:]) if swapped else i
      x, y = before + 20, 11
      expected = (WIDTH - 1 - x if mirrored else x, HEIGHT - 1 - y if upturned else y, 1)
      np.testing.assert_allclose(out[i], expected, atol=1e-4)
  assert len(states) == 4


def test_keypoints_without_known_sides_are_not_flipped():
  source = {**example(0), 'keypoints': np.ones((2, 4, 3), np.float32)}
  change = augment.Augment(flip=True)
  with pytest.raises(ValueError, match='left and right are known of 4 keypoints, only of 17 and 5'):
    for seed in range(20):
      change(source, np.random.default_rng(seed))
  np.testing.assert_allclose(augment.Augment()(source, np.random.default_rng(0))['keypoints'], 1.0, atol=1e-5)


@all_geometries
def test_weights_follow_the_image_and_are_nothing_outside(options):
  source = example(4)
  source['labels'][:] = 1
  source['weight'] = source['image'][..., 1].astype(np.float32) + 1
  before = source['weight'].copy()
  out = augment.Augment(**options)(source, np.random.default_rng(9))
  outside = out['labels'] == 255
  assert out['weight'].dtype == np.float32 and not out['weight'][outside].any()
  np.testing.assert_allclose(out['weight'][~outside], out['image'][~outside][:, 1] + 1.0, atol=1.0)
  np.testing.assert_array_equal(source['weight'], before)


def test_an_image_without_objects_keeps_the_arrays():
  source = {
    **example(0),
    'masks': np.zeros((0, HEIGHT, WIDTH), np.uint8),
    'boxes': np.zeros((0, 4), np.float32),
    'keypoints': np.zeros((0, 17, 3), np.float32),
    'classes': np.zeros(0, int),
  }
  for options in (GEOMETRIES['all'], {'crop': (20, 30), 'flip': True}):
    for seed in range(4):
      out = augment.Augment(**options)(source, np.random.default_rng(seed))
      assert out['masks'].shape == (0, *options['crop'])
      assert (out['boxes'].shape, out['keypoints'].shape, out['classes'].shape) == ((0, 4), (0, 17, 3), (0,))
      only_boxes = {name: source[name] for name in ('image', 'labels', 'id', 'index', 'boxes')}
      assert augment.Augment(**options)(only_boxes, np.random.default_rng(seed))['boxes'].shape == (0, 4)


def test_what_an_example_lacks_is_not_added():
  more = {'tags': np.array([True, False]), 'something': 1}
  out = augment.Augment(**GEOMETRIES['all'])({**example(0), **more}, np.random.default_rng(0))
  assert out.keys() == {'image', 'labels', 'id', 'index', 'tags'}


def test_a_bend_of_nothing_is_the_identity():
  source = example(3)
  where = geometry.place((HEIGHT, WIDTH), (HEIGHT, WIDTH), scaled=(HEIGHT, WIDTH), bend=np.zeros((3, 3, 2)))
  assert not where.shifts  # it is resampled, and yet:
  image, labels, outside = geometry.image_and_labels(source['image'], source['labels'], where, 'mean')
  np.testing.assert_array_equal(image, source['image'])
  np.testing.assert_array_equal(labels, source['labels'])
  assert outside is None


def test_elastic_moves_by_as_much_as_it_says():
  """The displacement at the centre of a cell is the vector drawn for it: standard deviation 10 pixels."""
  size = (300, 300)
  moved = []
  for seed in range(200):
    grid = np.random.default_rng(seed).normal(0, 10.0, (3, 3, 2))
    where = geometry.place(size, size, scaled=size, bend=grid)
    x, y = where.maps
    moved.append([(x[i, j] - j, y[i, j] - i) for i in (49, 149, 249) for j in (49, 149, 249)])
    # Half a pixel off the cells' centres, where the field is nearly flat.
    np.testing.assert_allclose(moved[-1], grid.reshape(9, 2), atol=0.6)
  assert np.std(moved) == pytest.approx(10.0, rel=0.05)
