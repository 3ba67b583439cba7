"""Augmentation: image and labels stay aligned, labels are never mixed, the same rng gives the same result."""

import numpy as np
import pytest

from jseg.data import augment

PALETTE = np.array([[0, 0, 0], [40, 200, 90], [250, 10, 120], [90, 120, 240]], np.uint8)
GEOMETRIES = {
  'crop': {'crop': (20, 28)},
  'padded crop': {'crop': (60, 80)},
  'flip': {'flip': True},
  'scale': {'scale': (0.5, 2.0), 'flip': True},
  'scale and crop': {'scale': (0.5, 2.0), 'crop': (33, 31)},
  'rotate': {'rotate': 30.0},
  'all': {'scale': (0.7, 1.5), 'rotate': 20.0, 'flip': True, 'crop': (40, 40)},
  'vflip': {'vflip': True},
  'translate': {'translate': 12},
  'elastic': {'elastic': 1.5},
  'rare crop': {'rare': 1.0, 'crop': (30, 30), 'rotate': 10.0},
  'around classes': {'around': 1.0, 'crop': (40, 30), 'flip': True},
  'black and shifted': {'padding': 'zero', 'translate': 20, 'rotate': 20.0},
  'mirrored': {'padding': 'mirror', 'scale': (0.5, 1.2), 'elastic': 1.0, 'vflip': True},
}


def blocks(rng, block=16, height=48, width=64):
  """An image whose colour encodes its label, in blocks, some of them void (coloured as class 0)."""
  coarse = rng.choice([0, 1, 2, 3, 255], (height // block, width // block)).astype(np.uint8)
  labels = np.kron(coarse, np.ones((block, block), np.uint8))
  return {'image': PALETTE[np.where(labels == 255, 0, labels)], 'labels': labels, 'id': 'x', 'index': 5}


@pytest.mark.parametrize('options', GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_geometry_keeps_image_and_labels_aligned(options):
  compared = 0
  for seed in range(20):
    rng = np.random.default_rng(seed)
    example = blocks(rng)
    out = augment.Augment(**options)(example, rng)
    labels = out['labels']
    assert labels.shape == options.get('crop', (48, 64))
    assert out['image'].shape == (*labels.shape, 3)
    assert set(np.unique(labels)) <= set(np.unique(example['labels'])) | {255}
    # Away from edges, bilinear sampling sees one colour only: it must be the label's.
    same = np.ones(labels.shape, bool)
    for axis in (0, 1):
      for shift in (-2, -1, 1, 2):
        same &= np.roll(labels, shift, axis) == labels
    same[:2] = same[-2:] = same[:, :2] = same[:, -2:] = False
    diagonal = np.roll(labels, (1, 1), (0, 1)) == np.roll(labels, (-1, -1), (0, 1))
    same &= diagonal & (np.roll(labels, (1, -1), (0, 1)) == np.roll(labels, (-1, 1), (0, 1)))
    same &= labels != 255
    compared += same.sum()
    np.testing.assert_allclose(out['image'][same].astype(int), PALETTE[labels[same]].astype(int), atol=1)
    assert (out['id'], out['index']) == ('x', 5)
  assert compared > 2000


def test_the_same_rng_gives_the_same_result():
  colour = {'brightness': 0.3, 'contrast': 0.3, 'saturation': 0.3, 'hue': 0.1, 'gamma': 0.5, 'blur': 1.5}
  place = {'flip': True, 'vflip': True, 'rare': 0.5, 'translate': 5, 'elastic': 3.0, 'padding': 'mirror'}
  full = augment.Augment(crop=(40, 40), scale=(0.5, 2.0), rotate=9.0, **place, **colour)
  example = blocks(np.random.default_rng(0))
  example['weight'] = example['image'][..., 0].astype(np.float32)
  before = {k: np.copy(v) for k, v in example.items()}
  one, two, other = (full(example, np.random.default_rng(s)) for s in (7, 7, 8))
  for name in ('image', 'labels', 'weight'):
    np.testing.assert_array_equal(one[name], two[name])
    np.testing.assert_array_equal(example[name], before[name])  # the source's own arrays stay as they were
  assert (one['image'] != other['image']).any()


def test_no_options_change_nothing():
  example = blocks(np.random.default_rng(0))
  out = augment.Augment()(example, np.random.default_rng(1))
  np.testing.assert_array_equal(out['image'], example['image'])
  np.testing.assert_array_equal(out['labels'], example['labels'])


def test_a_result_is_never_the_sources_own_memory():
  example = blocks(np.random.default_rng(0))
  example['weight'] = np.ones((48, 64), np.float32)
  out = augment.Augment()(example, np.random.default_rng(1))
  for name in ('image', 'labels', 'weight'):
    assert not np.shares_memory(out[name], example[name])


@pytest.mark.parametrize('option', ['flip', 'vflip'])
def test_flip_twice_is_the_identity_and_both_cases_occur(option):
  example = blocks(np.random.default_rng(0))
  flip = augment.Augment(**{option: True})
  kept = 0
  for seed in range(40):
    once = flip(example, np.random.default_rng(seed))
    twice = flip(once, np.random.default_rng(seed))
    np.testing.assert_array_equal(twice['image'], example['image'])
    np.testing.assert_array_equal(twice['labels'], example['labels'])
    turned = example['labels'][:, ::-1] if option == 'flip' else example['labels'][::-1]
    same = (once['labels'] == example['labels']).all()
    assert same or (once['labels'] == turned).all()
    kept += same
  assert 8 < kept < 32


def test_scaling_by_two_with_nearest_labels_repeats_pixels():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 4, (9, 7)).astype(np.uint8)
  example = {'image': PALETTE[labels], 'labels': labels, 'id': 'x', 'index': 0}
  out = augment.Augment(scale=(2.0, 2.0), crop=(18, 14))(example, rng)
  np.testing.assert_array_equal(out['labels'], labels.repeat(2, 0).repeat(2, 1))


def test_scale_and_crop_equal_the_crop_of_the_scaled():
  example = blocks(np.random.default_rng(1), block=1, width=60)
  # A factor of 4/3 puts no output pixel halfway between two source pixels.
  whole = augment.Augment(scale=(4 / 3, 4 / 3), crop=(64, 80))(example, np.random.default_rng(0))
  rng = np.random.default_rng(3)
  part = augment.Augment(scale=(4 / 3, 4 / 3), crop=(30, 41))(example, rng)
  windows = np.lib.stride_tricks.sliding_window_view(whole['labels'], (30, 41))
  (y, x), *others = np.argwhere((windows == part['labels']).all((2, 3)))
  assert not others
  difference = whole['image'][y : y + 30, x : x + 41].astype(int) - part['image']
  assert abs(difference).max() <= 1


def test_padding_is_void_with_the_mean_colour():
  example = blocks(np.random.default_rng(2))
  example['labels'][:] = 1
  out = augment.Augment(crop=(100, 100))(example, np.random.default_rng(0))
  outside = out['labels'] == 255
  assert outside.sum() == 100 * 100 - 48 * 64
  mean = example['image'].mean((0, 1))
  np.testing.assert_allclose(out['image'][outside], np.broadcast_to(mean, (outside.sum(), 3)), atol=0.51)


def test_crops_reach_every_place():
  labels = np.zeros((4, 5), np.uint8)
  example = {'image': np.arange(60, dtype=np.uint8).reshape(4, 5, 3), 'labels': labels, 'id': '', 'index': 0}
  crop = augment.Augment(crop=(3, 3))
  corners = {int(crop(example, np.random.default_rng(s))['image'][0, 0, 0]) for s in range(100)}
  assert corners == {0, 3, 6, 15, 18, 21}


def test_translate_reaches_every_shift_up_to_its_own():
  labels = np.full((21, 31), 1, np.uint8)
  labels[10, 15] = 2
  example = {'image': np.zeros((21, 31, 3), np.uint8), 'labels': labels, 'id': '', 'index': 0}
  shift = augment.Augment(translate=2)
  places = {
    tuple(np.argwhere(shift(example, np.random.default_rng(s))['labels'] == 2)[0]) for s in range(200)
  }
  assert places == {(y, x) for y in range(8, 13) for x in range(13, 18)}


def test_rare_crops_hold_a_class_drawn_from_those_present():
  labels = np.zeros((60, 80), np.uint8)
  labels[:, 70:] = 255
  labels[2:5, 3:6] = 7  # 9 of 4200 pixels
  example = {'image': np.zeros((60, 80, 3), np.uint8), 'labels': labels, 'id': '', 'index': 0}
  options = {'crop': (20, 20), 'rotate': 180.0, 'flip': True, 'scale': (1.0, 1.5)}
  draws = 300
  found = {
    rare: np.mean(
      [
        (augment.Augment(**options, rare=rare)(example, rng)['labels'] == 7).any()
        for rng in generators(draws)
      ]
    )
    for rare in (0.0, 0.5, 1.0)
  }
  # Two classes: with probability rare / 2 the crop is centred on the small one, else it holds it by chance.
  assert found[0.0] < 0.15
  assert found[0.5] == pytest.approx(0.25 + 0.75 * found[0.0], abs=0.1)
  assert found[1.0] == pytest.approx(0.5 + 0.5 * found[0.0], abs=0.1)
  labels[labels == 0] = 255  # void is not drawn
  assert all(
    (augment.Augment(**options, rare=1.0)(example, rng)['labels'] == 7).any() for rng in generators(50)
  )


def test_rare_crops_are_centred_but_stay_inside():
  labels = np.full((40, 50), 255, np.uint8)
  example = {'image': np.zeros((40, 50, 3), np.uint8), 'labels': labels, 'id': '', 'index': 0}
  for (y, x), expected in (((20, 30), (5, 5)), ((0, 49), (0, 9)), ((37, 2), (7, 2))):
    labels[:] = 255
    labels[y, x] = 3
    out = augment.Augment(crop=(10, 10), rare=1.0)(example, np.random.default_rng(0))['labels']
    np.testing.assert_array_equal(np.argwhere(out == 3), [expected])
  labels[:] = 255
  out = augment.Augment(crop=(10, 10), rare=1.0)(example, np.random.default_rng(0))['labels']
  assert out.shape == (10, 10) and (out == 255).all()


def generators(count):
  return (np.random.default_rng(seed) for seed in range(count))


def test_crops_around_classes_hold_all_of_a_set():
  labels = np.zeros((60, 80), np.uint8)
  labels[5:9, 60:70], labels[40:55, 10:14], labels[20:24, 20:26], labels[0, 0] = 1, 2, 3, 255
  example = {'image': np.zeros((60, 80, 3), np.uint8), 'labels': labels, 'id': 'x', 'index': 0}
  whole = np.bincount(labels.ravel(), minlength=4)[:4]
  sets = set()
  for rng in generators(200):
    found = augment.Augment(around=1.0, crop=(40, 40))(example, rng)['labels']
    assert found.shape == (40, 40)
    # What was not asked for may be cut, or be outside.
    shown = [c for c in (1, 2, 3) if (found == c).any()]
    sets.add(tuple(shown))
    assert shown
  assert {(1,), (2,), (3,), (1, 2, 3)} <= sets and whole.all()
  only = {**example, 'labels': np.where(labels == 2, 2, 0).astype(np.uint8)}
  for rng in generators(20):
    found = augment.Augment(around=1.0, crop=(40, 40))(only, rng)['labels'] == 2
    rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
    assert found[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()  # the whole of a 15x4 box ...
    assert 40 / 1.5 - 1 <= len(rows) <= 40 and len(columns) == pytest.approx(len(rows) * 4 / 15, abs=1.5)
  plain = augment.Augment(around=1.0, crop=(40, 40))
  nothing = plain({**example, 'labels': np.zeros_like(labels)}, np.random.default_rng(0))
  assert nothing['labels'].shape == (40, 40)  # without classes it is a plain crop


def test_gamma_by_hand():
  values = np.arange(256, dtype=np.uint8)
  image = np.repeat(values[None, :, None], 3, 2)
  example = {'image': image, 'labels': np.zeros((1, 256), np.uint8), 'id': '', 'index': 0}
  directions = set()
  for seed in range(10):
    u = np.random.default_rng(seed)
    (
      u.uniform(1.0, 1.0),
      u.uniform(-0.0, 0.0),
      u.integers(0, 0, endpoint=True),
      u.integers(0, 0, endpoint=True),
    )
    exponent = 1.8 ** u.uniform(-1, 1)
    out = augment.Augment(gamma=0.8)(example, np.random.default_rng(seed))['image'][0, :, 0]
    np.testing.assert_allclose(out, 255 * (values / 255) ** exponent, atol=0.5001)
    directions.add(exponent > 1)
  assert directions == {False, True}


def test_brightness_contrast_and_saturation_by_hand():
  image = np.array([[[100, 50, 20], [10, 200, 30]]], np.uint8)
  example = {'image': image, 'labels': np.zeros((1, 2), np.uint8), 'id': '', 'index': 0}
  grey = image @ np.array([0.299, 0.587, 0.114])
  u = np.random.default_rng(0)
  u.uniform(1.0, 1.0), u.uniform(-0.0, 0.0), u.integers(0, 0, endpoint=True), u.integers(0, 0, endpoint=True)
  b, c, s, _ = (1.0 + u.uniform(-r, r) for r in (0.2, 0.3, 0.4, 0.0))
  bright = b * image
  contrast = c * bright + (1 - c) * b * grey.mean()
  contrast_grey = contrast @ np.array([0.299, 0.587, 0.114])
  expected = s * contrast + (1 - s) * contrast_grey[..., None]
  out = augment.Augment(brightness=0.2, contrast=0.3, saturation=0.4)(example, np.random.default_rng(0))
  np.testing.assert_allclose(out['image'], expected.clip(0, 255), atol=0.6)


def test_hue_keeps_grey_and_luminance():
  rng = np.random.default_rng(0)
  image = rng.integers(90, 160, (8, 8, 3)).astype(np.uint8)
  image[0] = 128
  example = {'image': image, 'labels': np.zeros((8, 8), np.uint8), 'id': '', 'index': 0}
  out = augment.Augment(hue=0.5)(example, np.random.default_rng(3))['image']
  assert abs(out.astype(int) - image).max() > 10
  assert abs(out[0].astype(int) - 128).max() <= 1
  weights = np.array([0.299, 0.587, 0.114])
  np.testing.assert_allclose(out @ weights, image @ weights, atol=1.0)


def test_blur_smooths_the_image_only():
  example = blocks(np.random.default_rng(0), block=1)
  out = augment.Augment(blur=4.0)(example, np.random.default_rng(1))
  assert out['image'].std() < 0.7 * example['image'].std()
  np.testing.assert_array_equal(out['labels'], example['labels'])


@pytest.mark.parametrize(
  'options',
  [
    {'crop': (3,)},
    {'crop': (0, 3)},
    {'scale': (2.0, 1.0)},
    {'scale': (0.0, 1.0)},
    {'rotate': -1.0},
    {'brightness': 1.5},
    {'hue': 0.6},
    {'blur': float('nan')},
    {'gamma': -0.1},
    {'elastic': -1.0},
    {'translate': -1},
    {'rare': 1.5, 'crop': (3, 3)},
    {'rare': 0.5},
    {'around': 0.5},
    {'padding': 'grey'},
  ],
)
def test_values_out_of_range_are_named(options):
  with pytest.raises(ValueError, match=f'augment: {next(iter(options))}'):
    augment.Augment(**options)


def test_an_unknown_option_fails():
  with pytest.raises(TypeError, match='colour'):
    augment.Augment(colour=1)
