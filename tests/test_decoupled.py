"""DecoupledNet and its two stages: bridging maps, queries, inference, and what training leaves as it was."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import runs
from test_learning import copies, first, spread

from jseg.data.builders import shapes
from jseg.engine import resolve, train
from jseg.models import decouplednet
from jseg.tasks import decoupled
from jseg.typing import AXIS

CLASSES = 4
TINY = {'num_classes': CLASSES, 'width': 2, 'window': 2}


@functools.cache
def network(**options):
  """(model, image [2 64 64 3], variables none of which is zero)."""
  model = decouplednet.Model(**{**TINY, **options})
  rng = np.random.default_rng(0)
  image = rng.standard_normal((2, 64, 64, 3)).astype(np.float32)
  shapes_of = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)

  def value(path, leaf):
    x, kind = rng.standard_normal(leaf.shape).astype(np.float32), path[-1].key
    if kind == 'kernel':
      return x * np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
    return 1 + 0.1 * np.abs(x) if kind in ('scale', 'var') else 0.1 * x

  return model, image, jax.tree.map_with_path(value, shapes_of)


def bridging(model, image, queries):
  """(scores, bridging maps [n b h w c]) of queries [n b k-1]."""
  pooled, _ = model._encoded(image, train=False)
  scores, back, _ = model._bridging(pooled)
  return scores, back(queries), pooled


def queries_of_all():
  """Each class alone, then all together with factors, for two images: [k b k-1]."""
  alone = np.eye(CLASSES - 1, dtype=np.float32)
  together = np.float32([[0.3, 0.5, -2.0]])
  return np.repeat(np.concatenate([alone, together])[:, None], 2, axis=1)


def test_bridging_maps_are_the_gradient_of_the_scores():
  """The head written out, and jax.grad of its queried maxima, one image and one query at a time."""
  model, image, variables = network()
  scores, maps, pooled = model.apply(variables, image, queries_of_all(), method=bridging)
  layers = variables['params']

  def maxima(x):  # [h w c] of one image -> [k-1]
    kernel = layers['fc6']['kernel']
    h, w = x.shape[0] - 1, x.shape[1] - 1
    rows = [
      sum(jnp.tensordot(x[i + a, j + b], kernel[a, b], 1) for a in range(2) for b in range(2))
      for i in range(h)
      for j in range(w)
    ]
    x = jnp.maximum(jnp.stack(rows) + layers['fc6']['bias'], 0)
    x = jnp.maximum(x @ layers['fc7']['kernel'][0, 0] + layers['fc7']['bias'], 0)
    return (x @ layers['score']['kernel'][0, 0] + layers['score']['bias']).max(0)

  for number, query in enumerate(queries_of_all()):
    for b in range(2):
      np.testing.assert_allclose(scores[b], maxima(pooled[b]), rtol=1e-5, atol=1e-6)
      wanted = jax.grad(lambda x: query[b] @ maxima(x))(pooled[b])  # noqa: B023
      np.testing.assert_allclose(maps[number, b], wanted, rtol=1e-4, atol=1e-6)
  assert np.abs(maps).max() > 1e-3


def test_released_layers_with_the_forward_weights_are_the_gradient():
  model, image, variables = network()
  layers = variables['params']
  none = {name: np.zeros(n, np.float32) for name, n in (('score', 128), ('fc7', 128), ('fc6', 16))}
  backwards = {f'{name}_back': {'kernel': layers[name]['kernel'], 'bias': none[name]} for name in none}
  own = {**variables, 'params': {**layers, **backwards}}
  scores, maps, _ = model.apply(variables, image, queries_of_all(), method=bridging)
  same = model.clone(bridge='layers')
  scores_too, maps_too, _ = same.apply(own, image, queries_of_all(), method=bridging)
  np.testing.assert_allclose(scores_too, scores, rtol=1e-5)
  np.testing.assert_allclose(maps_too, maps, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('rule', ['squared', 'binary'])
def test_one_batch_of_queries_is_one_pass_after_the_other(rule):
  """The authors' inference code, class by class."""
  model, image, variables = network(rule=rule)
  scores, _, _ = model.apply(variables, image, queries_of_all(), method=bridging)
  scores = np.asarray(jax.nn.sigmoid(scores))
  threshold = float(np.sort(scores, axis=None)[2])
  model, inside = model.clone(threshold=threshold), scores > threshold
  result, _ = jax.jit(functools.partial(model.apply, train=False))(variables, image)
  segment = jax.jit(functools.partial(model.apply, train=False, method=model.segment))
  given = scores if rule == 'squared' else np.ones_like(scores)
  found = np.zeros((2, 64, 64, CLASSES))
  found[..., 0] = jax.nn.softmax(segment(variables, image, given * inside)[0])[..., 0]
  for c in range(CLASSES - 1):
    query = np.where(np.arange(CLASSES - 1) == c, given, 0)
    chance = jax.nn.softmax(segment(variables, image, query)[0])[..., 1]
    found[..., 1 + c] = chance * inside[:, c, None, None]
  found /= found.sum(-1, keepdims=True)
  np.testing.assert_allclose(np.exp(result), found, rtol=1e-3, atol=1e-5)


def test_candidates_are_those_of_the_highest_scores():
  model, image, variables = network(threshold=0.0)
  every, few = (
    runs.quickly(jax.jit(functools.partial(m.apply, train=False)), variables, image)[0]
    for m in (model, model.clone(candidates=2))
  )
  scores, _, _ = model.apply(variables, image, queries_of_all(), method=bridging)
  for b in range(2):
    last = int(np.argmin(scores[b])) + 1
    rest = [c for c in range(CLASSES) if c != last]
    assert (np.asarray(few)[b, ..., last] < -60).all()
    wanted = jax.nn.log_softmax(every[b][..., rest])
    np.testing.assert_allclose(few[b][..., rest], wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'bridge': 'grad'}, "bridge 'grad' is unknown; there are: vjp, layers"),
    ({'rule': 'cube'}, "rule 'cube' is unknown; there are: squared, binary"),
    ({'candidates': CLASSES}, 'at most all but one'),
    ({'num_classes': 1}, 'at least 2'),
  ],
)
def test_unknown_options_are_named(options, message):
  with pytest.raises(ValueError, match=message):
    network(**options)


LABELS = np.array([[[0, 2], [255, 3]], [[0, 0], [255, 0]], [[1, 1], [1, 255]]], np.uint8)


@pytest.mark.parametrize('kind', decoupled.QUERIES)
def test_queries_are_of_what_is_present(kind):
  seen = set()
  for number in range(30):
    chosen, target = decoupled.queries(LABELS, jax.random.key(number), kind=kind, classes=CLASSES)
    chosen, target = np.asarray(chosen), np.asarray(target)
    seen.add(tuple(np.flatnonzero(chosen[0]) + 1))
    assert not chosen[1].any() and (target[1] == 255).all()  # nothing but background: nothing is asked
    assert chosen[2].tolist() == [True, False, False]
    np.testing.assert_array_equal(target[2], [[1, 1], [1, 255]])
    wanted = np.isin(LABELS[0], np.flatnonzero(chosen[0]) + 1)
    np.testing.assert_array_equal(target[0], np.where(LABELS[0] == 255, 255, wanted))
  assert seen == ({(2,), (3,)} if kind == 'class' else {(2,), (3,), (2, 3)})


def test_queries_do_not_depend_on_how_a_batch_is_spread():
  labels = np.random.default_rng(0).integers(0, CLASSES, (8, 5, 5)).astype(np.uint8)
  key = jax.random.key(1)
  whole = decoupled.queries(labels, key, kind='set', classes=CLASSES)
  parts = [
    decoupled.queries(labels[i : i + 2], key, kind='set', classes=CLASSES, first=i) for i in (0, 2, 4, 6)
  ]
  for a, b in zip(whole, zip(*parts, strict=True), strict=True):
    np.testing.assert_array_equal(a, np.concatenate(b))


def make(stage, lr=0.1, **options):
  """A task over shapes and its model's options; the classification network does not learn in stage 2."""
  model = decouplednet.Model(7, width=2, window=1, encoder_norm='bn', axis_name=AXIS, threshold=0.0)
  frozen = {'encoder', 'fc6', 'fc7', 'score'} if stage == 'segment' else set()
  tx = optax.sgd(lr)
  if frozen:
    tx = optax.multi_transform(
      {'learn': tx, 'keep': optax.set_to_zero()},
      lambda params: {name: 'keep' if name in frozen else 'learn' for name in params},
    )
  return decoupled.make(
    model=model, tx=tx, spec=shapes.SPEC, stage=stage, preprocess='unit',
    **{'accumulate': 1, 'ema': 0.0, 'scales': (1.0,), 'flip': False, 'window': (), 'samples': 0, **options},
  )  # fmt: skip


def batch(tags=False):
  drawn = shapes.open_split('train', size=32, train=8)
  rows = [drawn[i] for i in range(8)]
  found = {
    'image': np.stack([row['image'] for row in rows]),
    'labels': np.stack([row['labels'] for row in rows]),
    'valid': np.arange(8) != 7,
    'index': np.arange(8, dtype=np.int32),
  }
  if tags:
    found['tags'] = np.stack([(row['labels'] == c).any() for row in rows for c in range(7)]).reshape(8, 7)
    found['labels'] = np.full_like(found['labels'], 255)
  return found


@functools.cache
def stepped(stage, devices, tags=False):
  """(state before, state after one step, sums)."""
  task = make(stage)
  state = jax.device_get(runs.quickly(jax.jit(lambda key: task.init(key, (32, 32, 3))), jax.random.key(0)))
  step = jax.pmap(task.train_step, AXIS, in_axes=(0, 0, None), devices=jax.devices()[:devices])
  after, sums = runs.quickly(step, copies(state, devices), spread(batch(tags), devices), jax.random.key(3))
  return state, first(after), first(sums)


@pytest.mark.parametrize('stage', ['classify', pytest.param('segment', marks=pytest.mark.slow)])
@pytest.mark.usefixtures('unoptimised')
def test_one_device_is_eight(stage):
  _, one, sums_one = stepped(stage, 1)
  _, eight, sums_eight = stepped(stage, 8)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6), one, eight)
  np.testing.assert_allclose(sums_one['loss'], sums_eight['loss'], rtol=1e-5)


def test_tags_teach_what_masks_would():
  """Stage 1 takes from masks no more than the classes."""
  _, by_masks, _ = stepped('classify', 1)
  _, by_tags, _ = stepped('classify', 1, tags=True)
  jax.tree.map(np.testing.assert_array_equal, by_masks.params, by_tags.params)


def test_stage_2_leaves_the_classification_network_bit_for_bit():
  before, after, _ = stepped('segment', 1)
  for name, layers in before.params.items():
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), layers, after.params[name])
    assert any(jax.tree.leaves(moved)) == (name == 'segmenter'), name
  kept, learned = (state.model_state['batch_stats'] for state in (before, after))
  for name in ('encoder', 'segmenter'):  # those of the frozen network stay as well
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), kept[name], learned[name])
    assert set(jax.tree.leaves(moved)) == {name == 'segmenter'}


def test_stage_1_has_the_classification_network_alone():
  before, after, sums = stepped('classify', 1)
  assert before.params.keys() == {'encoder', 'fc6', 'fc7', 'score'}
  for old, new in ((before.params, after.params), (before.model_state, after.model_state)):
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), old, new)))
  assert sums['tags'].sum() >= 7 and sums['loss'][1] == 7  # the filling row counts nowhere


@pytest.mark.parametrize('stage', ['classify', 'segment'])
def test_evaluation_counts_pixels_and_tags(stage):
  task = make(stage)
  state = stepped(stage, 1)[1]
  sums = jax.pmap(task.eval_step, AXIS, in_axes=(0, 0), devices=jax.devices()[:1])(
    copies(state, 1), spread(batch(), 1)
  )
  sums = first(sums)
  labels = batch()['labels'][:7]
  assert sums['confusion'].sum() == (labels != 255).sum()
  present = np.stack([[(m == c).any() for m in labels] for c in range(1, 7)])
  np.testing.assert_array_equal(sums['tags'][0] + sums['tags'][2], present.sum(1))
  scores = task.summarise(sums)
  assert {'mean_iu', 'tag_f1', 'tag_recall', 'tag_precision'} <= scores.keys()
  image = batch()['image'][:2, :20, :27]
  squared = make(stage, size=32) if stage == 'segment' else task
  for one in (task, squared):
    predictions = jax.jit(one.predict_step)(state, image)['predictions']
    assert predictions.shape == (2, 20, 27) and predictions.max() < 7


def test_f1_of_tags_by_hand():
  counts = np.array([[2, 0, 0], [1, 0, 3], [1, 0, 0]])
  found = decoupled.summarise({'tags': counts})
  np.testing.assert_allclose(found['tag_f1'], (2 * 2 / (2 * 2 + 2) + 0) / 2)  # the second class never came up
  np.testing.assert_allclose((found['tag_recall'], found['tag_precision']), (2 / 3, 2 / 6))


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'stage': 'both'}, "task.stage 'both' is unknown; there are: classify, segment"),
    ({'query': 'two'}, "task.query 'two' is unknown; there are: class, set"),
    ({'samples': 2}, 'it takes 0 samples'),
    ({'size': -1}, 'size of at least 0'),
  ],
)
def test_unknown_task_options_are_named(changes, message):
  with pytest.raises(ValueError, match=message):
    make(**{'stage': 'segment', **changes})


def config_of(name, **changes):
  config = importlib.import_module(f'configs.{name}').get_config('quick')
  config.model.width, config.model.window = 2, 1
  config.data.options.size, config.data.crop, config.data.options.train = 32, (32, 32), 64
  config.eval.overlays, config.optim.schedule = 1, 'constant'
  for key, value in changes.items():
    config.update_from_flattened_dict({key: value})
  return config


def test_other_networks_and_datasets_without_background_are_refused():
  config = runs.tiny()
  with config.unlocked():
    config.task = {'name': 'decoupled'}
  with pytest.raises(ValueError, match="for model.name='decouplednet'"):
    resolve.task(config, resolve.spec(config), (32, 32, 3))
  config = config_of('decouplednet_full_shapes')
  config.data.name = 'camvid'
  with pytest.raises(ValueError, match="class 0 of camvid is 'sky'"):
    resolve.task(config, resolve.spec(config), (32, 32, 3))


@pytest.mark.slow
@pytest.mark.usefixtures('unoptimised')
def test_stages_are_chained_resumed_and_predict(tmp_path, caplog):
  """Stage 1, stage 2 from its weights, bit-exact when cut in two, and a prediction."""
  train.train(config_of('decouplednet_cls_shapes'), tmp_path / 'cls')
  chained = {'init_from': str(tmp_path / 'cls'), 'train.save_every': 2}
  caplog.set_level('INFO')
  scores = train.train(config_of('decouplednet_seg5_shapes', **chained), tmp_path / 'whole')
  assert 'mean_iu' in scores and 'loaded 84 of 190 arrays' in caplog.text
  train.train(config_of('decouplednet_seg5_shapes', **chained, **{'train.steps': 2}), tmp_path / 'cut')
  train.train(config_of('decouplednet_seg5_shapes', **chained), tmp_path / 'cut')
  runs.assert_same(tmp_path / 'whole', tmp_path / 'cut')
  import jseg

  for name in ('cls', 'whole'):
    predictions = jseg.load(tmp_path / name, 'latest').predict(np.zeros((21, 30, 3), np.uint8))
    assert predictions.shape == (21, 30)
