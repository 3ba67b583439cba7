"""Mask R-CNN: parameters, sizes, options, gradients, detection; its numbers are in the goldens."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_models import compiled, variables_of

from jseg.engine import layers, paths
from jseg.models import mask_rcnn
from jseg.models.encoders import resnet
from jseg.tasks import detection_losses

BACKBONES = ('fpn', 'c4')
# Detectron's configs, summed over their layers (with the normalisation's constants), and torchvision's sums.
SPEC = 'layers of Detectron e2e_mask_rcnn_R-50-FPN, summed'


def tiny(**options):
  """A network of the wiring that the options name, with few features, for images of some 64 pixels."""
  small = {'num_classes': 4, 'depth': 18, 'width': 4, 'anchor_sizes': (8, 16, 32, 48, 64)}
  return mask_rcnn.Model(**{**small, **options})


def shapes_of(model, size=(64, 96), batch=1):
  image = jax.ShapeDtypeStruct((batch, *size, 3), jnp.float32)
  return jax.eval_shape(functools.partial(model.init_with_output, train=False), jax.random.key(0), image)


def images(size=(64, 96), batch=2):
  return np.random.default_rng(3).standard_normal((batch, *size, 3)).astype(np.float32)


def weights_of(model, image):
  """Random variables, none zero; of the last layers small ones, so that boxes stay in the image."""

  def value(path, leaf):
    names = [part.key for part in path]
    return leaf * np.float32(0.003 if {'deltas', 'score', 'objectness'} & set(names) else 1)

  return jax.tree.map_with_path(value, variables_of(model, image))


def parameters(**options):
  """{path: size} of the parameters of the network in its full width."""
  _, variables = shapes_of(mask_rcnn.Model(**options))
  return {name: leaf.size for name, leaf in paths.flatten(variables['params']).items()}


def test_parameters_of_each_part():
  sizes, parts = parameters(num_classes=81), {}
  for name, size in sizes.items():
    part = name.split('/')[0].replace('box_head', 'box').replace('box_scores', 'box')
    parts[part] = parts[part] + size if part in parts else size
  assert parts == {
    'encoder': 23_508_032, 'pyramid': 3_344_384, 'rpn_head': 593_935, 'box': 14_310_805,
    'mask_head': 2_643_537,
  }, SPEC  # fmt: skip
  assert sum(sizes.values()) == 44_400_693


@pytest.mark.parametrize(
  'options,all_of_them,trainable',
  [
    # torchvision publishes 44,401,393 and 59,137,258, which count no frozen normalisation.
    ({'num_classes': 91, 'strided': '3x3'}, 44_454_513, 44_401_393),
    ({'num_classes': 2, 'strided': '3x3', 'masks': False, 'keypoints': 17}, 59_190_378, 59_137_258),
    ({'num_classes': 81, 'depth': 101}, 63_392_821, 63_392_821 - 105_344),
  ],
  ids=['maskrcnn', 'keypointrcnn', 'r101'],
)
def test_parameters(options, all_of_them, trainable):
  sizes = parameters(**options)
  assert sum(sizes.values()) == all_of_them
  assert sum(size for name, size in sizes.items() if '/bn/' not in name) == trainable


@pytest.mark.parametrize('backbone', BACKBONES)
def test_summary(backbone):
  """Layers are counted once, each head with one region."""
  model = tiny(backbone=backbone, remat=True)
  found = layers.summarise(model, (1, 64, 96, 3))
  _, variables = shapes_of(model)
  assert found['parameters'] == sum(leaf.size for leaf in jax.tree.leaves(variables['params']))
  assert found['flops'] == sum(layer['flops'] for layer in found['layers']) > 0
  by_path = {layer['path']: layer for layer in found['layers']}
  side = 28 if backbone == 'fpn' else 14
  assert tuple(by_path['mask_head/score']['shape']) == (1, side, side, 4)
  assert found['maps']['p4' if backbone == 'fpn' else 'c4']['stride'] == 16


@pytest.mark.parametrize('backbone', BACKBONES)
@pytest.mark.parametrize('size', [(1, 1), (33, 47), (64, 96), (65, 130)], ids=str)
def test_every_place_has_its_anchors(backbone, size):
  model = tiny(backbone=backbone)
  (_, out), _ = shapes_of(model, size, batch=2)
  levels = model.anchors(size)
  per_place = 3 if backbone == 'fpn' else 15
  names = ('p2', 'p3', 'p4', 'p5', 'p6') if backbone == 'fpn' else ('c4',)
  for name, level in zip(names, levels, strict=True):
    assert level.shape == (np.prod(out[name].shape[1:3]) * per_place, 4)
  assert out['objectness'].shape == (2, sum(map(len, levels)))
  assert out['deltas'].shape == (2, sum(map(len, levels)), 4)


@pytest.mark.parametrize('k', [2, 81])
@pytest.mark.parametrize('backbone', BACKBONES)
def test_shapes_of_the_heads(backbone, k):
  (logits, out), _ = shapes_of(tiny(backbone=backbone, num_classes=k, keypoints=5), batch=2)
  assert logits.shape == (2, k) and out['box_deltas'].shape == (2, 1, k, 4)
  side = 28 if backbone == 'fpn' else 14
  assert out['masks'].shape == (2, 1, side, side, k) and out['keypoints'].shape == (2, 1, 56, 56, 5)
  (_, out), _ = shapes_of(tiny(backbone=backbone, num_classes=k, class_agnostic=True))
  assert out['masks'].shape == (1, 1, side, side, 1)
  (_, out), _ = shapes_of(tiny(backbone=backbone, masks=False))
  assert 'masks' not in out and 'keypoints' not in out


def test_detectrons_c4_has_the_same_parameters():
  ours, theirs = (shapes_of(tiny(backbone='c4', region=side)) for side in (7, 14))
  assert jax.tree.map(lambda x: x.shape, ours) == jax.tree.map(lambda x: x.shape, theirs)


@pytest.mark.parametrize(
  'options,message',
  [
    ({'backbone': 'vgg'}, 'backbone vgg is unknown; there are: fpn, c4'),
    ({'backbone': 'c4', 'roi': 'warp'}, 'roi warp is unknown; there are: align, pool'),
    ({'backbone': 'c4', 'region': 8}, 'region 8 is unknown; there are: 7, 14'),
    ({'anchor_rule': 'x'}, 'anchor_rule x is unknown; there are: torchvision, detectron'),
    ({'roi': 'pool'}, "are options of backbone='c4'"),
    ({'anchor_sizes': (8, 16)}, 'has 5 levels'),
    ({'backbone': 'c4', 'norm': 'bn'}, 'there are: fixed, frozen, gn, none'),
    ({'norm': 'x'}, 'there are: bn, frozen, fixed, batch, gn, none'),
    ({'depth': 49}, 'of depth 49 is unknown'),
  ],
)
def test_bad_options(options, message):
  with pytest.raises(ValueError, match=message):
    shapes_of(tiny(**options))


# Of four rows the last two hold nothing.
OBJECTS = {
  'boxes': np.array([[4, 6, 30, 40], [20, 10, 70, 60], [0, 0, 0, 0], [0, 0, 0, 0]], np.float32),
  'classes': np.array([1, 3, 0, 0], np.int32),
  'valid': np.array([True, True, False, False]),
  'crowd': np.zeros(4, bool),
}
RULES = detection_losses.Rules(rpn_count=32, box_count=16, rpn_inside=False)


def loss_of(model, variables, image, objects):
  """The sum of all losses of a batch with the same objects in every image: the whole of a training step."""
  b, h, w = image.shape[:3]
  sizes, rules = np.array([[h, w]] * b), RULES

  def run(model):
    maps = model.features(image, train=True)
    objectness, deltas = model.rpn(maps)
    regions, _, found = model.propose(objectness, deltas, (h, w), sizes, before=40, after=20)
    keys = jax.random.split(jax.random.key(0), (2, b))
    o = [objects[name] for name in ('boxes', 'classes', 'valid', 'crowd')]
    anchors = np.concatenate(model.anchors((h, w)))
    losses = jax.vmap(
      lambda x, d, size, key: detection_losses.rpn_losses(x, d, anchors, o[0], o[2], o[3], size, key, rules)
    )(jnp.concatenate(objectness, 1), jnp.concatenate(deltas, 1), sizes, keys[0])
    samples = jax.vmap(lambda r, v, key: detection_losses.sample_proposals(r, v, *o, key, rules))(
      regions, found, keys[1]
    )
    logits, deltas = model.box(maps, samples.boxes)
    losses |= jax.vmap(functools.partial(detection_losses.box_losses, rules=rules))(logits, deltas, samples)
    positives = jax.vmap(lambda s: s.positives(rules))(samples)
    masks = np.zeros((len(o[0]), h, w), np.uint8)
    masks[:, 10:40, 12:60] = 1
    logits = model.mask(maps, positives.boxes)
    losses |= jax.vmap(lambda x, s: detection_losses.mask_loss(x, s, masks, rules))(logits, positives)
    if model.keypoints:
      points = np.broadcast_to(np.float32([15, 20, 2]), (len(o[0]), model.keypoints, 3))
      logits = model.keypoint(maps, positives.boxes)
      losses |= jax.vmap(lambda x, s: detection_losses.keypoint_loss(x, s, points))(logits, positives)
    return losses

  losses = model.apply(variables, method=run)
  sums = {name: (total.sum(), count.sum()) for name, (total, count) in losses.items()}
  return sum(total / jnp.maximum(count, 1) for total, count in sums.values()), sums


@functools.cache
def step(**options):
  """(network, compiled: parameters, other variables, image, objects -> (loss, sums), gradients)."""
  model = tiny(keypoints=3, **options)

  def loss(params, rest, image, objects):
    return loss_of(model, {'params': params, **rest}, image, objects)

  return model, compiled(jax.value_and_grad(loss, has_aux=True))


def gradients(objects=OBJECTS, **options):
  model, run = step(**options)
  image = images()
  variables = weights_of(model, image)
  rest = {name: tree for name, tree in variables.items() if name != 'params'}
  (total, sums), grads = run(variables['params'], rest, image, objects)
  return total, sums, paths.flatten(grads)


@pytest.mark.parametrize('options', [{}, {'backbone': 'c4', 'depth': 50}], ids=BACKBONES)
def test_gradients_reach_what_learns_and_nothing_else(options):
  total, sums, grads = gradients(**options)
  assert np.isfinite(total) and sums['mask'][1] > 0 and sums['keypoint'][1] > 0
  for name, grad in grads.items():
    still = '/bn/' in name or name.startswith(('encoder/conv1/', 'encoder/stage1_'))
    assert (np.abs(grad).sum() == 0) == still, name
    assert np.isfinite(grad).all(), name


def test_freezing_ends_where_it_is_told():
  for freeze_at, still in ((1, ('conv1',)), (3, ('conv1', 'stage1_1', 'stage1_2', 'stage2_1'))):
    model = tiny(freeze_at=freeze_at, norm='frozen')
    image = images((32, 32), 1)
    variables = variables_of(model, image)

    def loss(params, model=model, image=image, variables=variables):
      maps = model.apply({**variables, 'params': params}, image, method='features', train=True)
      return sum(jnp.square(x).sum() for x in maps)

    grads = compiled(jax.grad(loss))(variables['params'])['encoder']
    for name in ('conv1', 'stage1_1', 'stage1_2', 'stage2_1', 'stage3_1', 'stage4_2'):
      moved = sum(float(np.abs(leaf).sum()) for leaf in jax.tree.leaves(grads[name]))
      assert (moved == 0) == (name in still), (freeze_at, name)


@pytest.mark.parametrize('objects', ['none', 'degenerate', 'crowd'])
def test_images_without_things_to_learn(objects):
  given = {
    'none': {**OBJECTS, 'valid': np.zeros(4, bool)},
    'degenerate': {
      **OBJECTS,
      'boxes': np.float32([[5, 5, 5, 30], [9, 9, 9, 9], [40, 30, 20, 10], [0, 0, 0, 0]]),
      'valid': np.ones(4, bool),
    },
    'crowd': {**OBJECTS, 'crowd': np.ones(4, bool)},
  }[objects]
  total, sums, grads = gradients(given)
  assert np.isfinite(total) and all(np.isfinite(grad).all() for grad in grads.values())
  for name in ('mask', 'keypoint'):
    assert sums[name] == (0, 0), 'nothing is positive'
  assert sums['rpn_class'][1] == 2 * 32 and sums['rpn_class'][0] > 0
  assert sums['box'][0] == 0 and sums['rpn_box'][0] == 0


def test_rows_that_pad_change_nothing():
  more = {name: array.copy() for name, array in OBJECTS.items()}
  more['boxes'][2:] = [[3, 3, 50, 60], [-1e6, 3, 1e6, 2]]
  more['classes'][2:], more['crowd'][2:] = 2, True
  plain, padded = gradients(), gradients(more)
  np.testing.assert_array_equal(plain[0], padded[0])
  for name, grad in plain[2].items():
    np.testing.assert_array_equal(padded[2][name], grad, err_msg=name)


@functools.cache
def detector(**options):
  """(network, compiled: variables, image, sizes -> detections)."""
  model = tiny(keypoints=3, **options)
  detect = functools.partial(mask_rcnn.Model.detect, before=60, after=30, score_threshold=0.0, count=8)
  return model, compiled(functools.partial(model.apply, method=detect))


def detections(image, sizes, **options):
  model, run = detector(**options)
  return jax.tree.map(np.asarray, run(weights_of(model, image), image, np.asarray(sizes, np.int32)))


@pytest.mark.parametrize(
  'options',
  [
    {},
    {'backbone': 'c4', 'roi': 'pool'},
    {'backbone': 'c4', 'region': 14, 'class_agnostic': True, 'depth': 50},
  ],
  ids=['fpn', 'c4-pool', 'c4-detectron'],
)
def test_detections(options):
  sizes = [[65, 97], [40, 50]]
  found = detections(images((65, 97)), sizes, **options)
  side = 14 if 'backbone' in options else 28
  shapes = {name: array.shape for name, array in found.items()}
  assert {name: shapes[name] for name in ('boxes', 'scores', 'classes', 'valid', 'masks', 'keypoints')} == {
    'boxes': (2, 8, 4), 'scores': (2, 8), 'classes': (2, 8), 'valid': (2, 8), 'masks': (2, 8, side, side),
    'keypoints': (2, 8, 3, 3),
  }  # fmt: skip
  for i, (h, w) in enumerate(sizes):
    valid = found['valid'][i]
    assert valid.any() and (np.diff(found['scores'][i][valid]) <= 0).all()
    boxes, classes = found['boxes'][i][valid], found['classes'][i][valid]
    assert (boxes >= 0).all() and (boxes <= [w, h, w, h]).all() and (boxes[:, 2:] > boxes[:, :2]).all()
    assert (classes >= 1).all() and (classes < 4).all()
  assert ((found['masks'] >= 0) & (found['masks'] <= 1)).all()


def test_images_of_a_batch_do_not_see_each_other():
  image, sizes = images((65, 97), batch=3), [[65, 97], [40, 50], [65, 60]]
  whole = detections(image[:2], sizes[:2])
  for i, others in ((0, [2, 0]), (1, [1, 2])):  # in another place, beside another one
    moved = detections(image[others], [sizes[j] for j in others])
    for name, array in moved.items():
      np.testing.assert_allclose(array[others.index(i)], whole[name][i], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.slow
@pytest.mark.long
def test_jit_changes_nothing():
  image, sizes = images((65, 97)), np.array([[65, 97], [40, 50]], np.int32)
  model, run = detector()
  plain = run.__wrapped__(weights_of(model, image), image, sizes)
  for name, array in detections(image, sizes).items():
    np.testing.assert_allclose(array, plain[name], rtol=1e-4, atol=1e-3, err_msg=name)


@pytest.mark.parametrize('backbone', BACKBONES)
def test_bfloat16(backbone):
  image = images(batch=1)
  models = [tiny(backbone=backbone, keypoints=2, dtype=dtype) for dtype in (jnp.float32, jnp.bfloat16)]
  variables = variables_of(models[1], image)
  assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(shapes_of(models[1])[1]))
  (_, exact), (logits, rough) = (
    compiled(functools.partial(m.apply, train=False))(variables, image) for m in models
  )
  assert logits.dtype == np.float32
  for name, array in rough.items():
    assert array.dtype == (jnp.bfloat16 if name[0] in 'pc' else np.float32), name
    wide = np.abs(np.asarray(exact[name], np.float32)).max()
    np.testing.assert_allclose(np.asarray(array, np.float32), exact[name], atol=0.1 * wide, err_msg=name)


@pytest.mark.slow
@pytest.mark.long
def test_remat_changes_nothing():
  plain, again = gradients()[2], gradients(remat=True)[2]
  for name, grad in plain.items():
    np.testing.assert_allclose(
      again[name], grad, rtol=1e-3, atol=1e-5 * (1 + np.abs(grad).max()), err_msg=name
    )


def test_stages_run_apart_as_they_do_together():
  """What C4 rests on: three stages on the image, the fourth on what comes of them."""
  encoder, image = resnet.Encoder(depth=18, width=4, norm='fixed'), images((33, 47))
  variables = variables_of(encoder, image)

  def both(variables, image):
    maps, out = encoder.apply(variables, image, train=False)
    trunk, _ = encoder.apply(variables, image, train=False, last=3)
    rest, none = encoder.apply(variables, trunk[-1], train=False, first=3)
    assert len(maps) == 5 and len(trunk) == 4 and len(rest) == 1 and set(out) == {'pool'} and not none
    return maps, (*trunk, *rest)

  for whole, apart in zip(*compiled(both)(variables, image), strict=True):
    np.testing.assert_array_equal(whole, apart)


def test_a_stride_taken_away_need_not_dilate():
  image = images((64, 64), 1)
  plain, kept, dilated = (
    resnet.Encoder(depth=18, width=4, output_stride=stride, dilate=dilate)
    for stride, dilate in ((32, True), (16, False), (16, True))
  )
  variables = variables_of(plain, image)
  c5 = [
    compiled(functools.partial(e.apply, train=False))(variables, image)[0][-1] for e in (plain, kept, dilated)
  ]
  assert [x.shape[1:3] for x in c5] == [(2, 2), (4, 4), (4, 4)]
  assert np.abs(c5[1] - c5[2]).max() > 0.01
