"""The instance task: one device equals eight, hard images do no harm, runs go on bit by bit and write."""

import functools
import importlib.util
import json
import types

import jax
import numpy as np
import optax
import pytest
import runs
from PIL import Image
from test_instance_batches import Boxes

from configs import keypointrcnn_r50_fpn_coco, maskrcnn_r50_fpn_shapes
from jseg.data import augment, buckets, instance_batches
from jseg.data.builders import shapes
from jseg.engine import evaluate, evaluate_instances, predictor, resolve, train, workdirs
from jseg.models import mask_rcnn
from jseg.tasks import instance
from jseg.tasks.task import means
from jseg.typing import AXIS

SIZE = 64
PROTOCOL = {'scales': (1.0,), 'flip': False, 'window': (), 'samples': 0}
MODEL = {
  'num_classes': 7, 'depth': 18, 'width': 4, 'norm': 'fixed', 'freeze_at': 0, 'keypoints': 5,
  'anchor_sizes': (16, 24, 32, 48, 64), 'axis_name': AXIS,
}  # fmt: skip
FEW = {
  'rpn_count': 32, 'box_count': 16, 'proposals': (40, 20), 'test_proposals': (40, 20), 'detections': 6,
  'score_threshold': 0.0,
}  # fmt: skip


@pytest.fixture(autouse=True, scope='module')
def _compiled_fast():
  """These programs are large and run a few times: compiling them is what takes long."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def make(**options):
  chosen = {'accumulate': 1, 'ema': 0.0, **PROTOCOL, 'preprocess': 'unit', **FEW, **options}
  tx = optax.chain(optax.add_decayed_weights(1e-3), optax.sgd(0.02, momentum=0.9))
  return instance.make(model=mask_rcnn.Model(**MODEL), tx=tx, spec=types.SimpleNamespace(), **chosen)


@functools.cache
def state():
  task = make()
  init = jax.jit(lambda key: task.init(key, (SIZE, SIZE, 3)))
  return jax.device_get(init(jax.random.key(0)))


def layout(**options):
  given = {'short': (48, SIZE), 'test_short': SIZE, 'longest': SIZE, 'buckets': ((SIZE, SIZE),), 'most': 6}
  return buckets.Layout(**{**given, **options})


def batches(source, count, **options):
  found = instance_batches.train_batches(
    source, layout(**options), seed=1, batch_size=8, change=augment.Augment(flip=True), threads=0, prefetch=1
  )
  return [next(found) for _ in range(count)]


@functools.cache
def step(devices):
  return jax.pmap(make().train_step, AXIS, in_axes=(0, 0, None), devices=jax.devices()[:devices])


def spread(tree, devices):
  return jax.tree.map(lambda x: np.reshape(x, (devices, -1, *np.shape(x)[1:])), tree)


def copies(tree, devices):
  return jax.tree.map(lambda x: np.stack([np.asarray(x)] * devices), tree)


def trained(devices, given):
  carried = copies(state(), devices)
  for batch in given:
    carried, sums = step(devices)(carried, spread(batch, devices), jax.random.key(7))
  return jax.tree.map(lambda x: np.asarray(x)[0], (carried, sums))


def assert_finite(tree):
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)


@pytest.mark.usefixtures('unoptimised')
def test_one_device_equals_eight():
  """Steps with images without any object and rows that only fill up: counts differ on every device."""
  given = batches(shapes.open_split('train', size=48, train=40), 2)
  for batch in given:
    batch['object_valid'][2:4] = False
    batch['valid'][5] = False
  one, sums_one = trained(1, given)
  eight, sums_eight = trained(8, given)
  names = {'loss', 'rpn_class', 'rpn_box', 'class', 'box', 'mask', 'keypoint'}
  assert names < sums_one.keys()
  close = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5)
  for name in names:
    close(sums_one[name][0], sums_eight[name][0], err_msg=name)
    close(sums_one[name][1], sums_eight[name][1], err_msg=name)
  assert sums_one['mask'][1] > 0 and sums_one['keypoint'][1] > 0
  jax.tree.map(close, one.params, eight.params)
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), one.params, state().params)
  assert not [name for name, value in _named(moved) if name.endswith('kernel') and not value > 0]
  shown = means(sums_one)
  parts = sum(shown[name] for name in names - {'loss'})
  assert shown['loss'] == pytest.approx(parts, rel=1e-4)


def _named(tree):
  return [
    ('/'.join(str(p.key) for p in path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  ]


def hard(kind):
  rng = np.random.default_rng(0)
  corners = rng.integers(0, 40, (300, 2))
  objects = {
    'without': [],
    'many': np.concatenate([corners, corners + rng.integers(1, 20, (300, 2))], axis=1),
    'crowds': [(0, 0, 64, 64), (4, 4, 30, 30)],
    'tiny': [(10, 10, 10.5, 10.6), (63, 63, 64, 64), (0, 0, 64, 64)],
  }[kind]
  flags = np.arange(len(objects)) < (2 if kind == 'crowds' else 0)
  return Boxes([(SIZE, SIZE)] * 8, [objects], crowd=lambda n: flags.copy(),
               keypoints=lambda n: np.zeros((n, 5, 3), np.float32))  # fmt: skip


@pytest.mark.parametrize('kind', ['without', 'many', 'crowds', 'tiny', 'degenerate'])
def test_hard_images_do_no_harm(kind, capsys):
  batch = batches(hard('without' if kind == 'degenerate' else kind), 1, empty=True)[0]
  if kind == 'degenerate':  # which the batches leave out: points, lines, corners the wrong way round
    batch['boxes'][:, :3] = [(5, 5, 5, 5), (9, 9, 30, 9), (40, 40, 20, 10)]
    batch['object_valid'][:, :3] = True
    batch['classes'][:, :3] = 3
  batch['classes'] = batch['classes'] % 7
  after, sums = trained(1, [batch])
  assert_finite((after.params, sums))
  positives = sums['mask'][1]
  assert (positives > 0) == (kind in ('many', 'tiny'))
  if kind in ('without', 'crowds', 'degenerate'):
    assert sums['box'][0] == sums['rpn_box'][0] == 0
    assert sums['rpn_class'][0] > 0 or kind == 'crowds'


@pytest.mark.usefixtures('unoptimised')
def test_evaluation_gathers_the_rows_of_all_devices():
  task, source = make(), shapes.open_split('val', size=48, val=11)
  found = list(instance_batches.eval_batches(source, layout(), batch_size=8, threads=0, prefetch=1))
  for devices in (2, 8):
    evaluate_step = jax.pmap(task.eval_step, AXIS, devices=jax.devices()[:devices])
    rows = evaluate_step(copies(state(), devices), spread(found[1], devices))
    rows = {name: np.asarray(values)[0] for name, values in rows.items()}
    np.testing.assert_array_equal(rows['index'], found[1]['index'])
    np.testing.assert_array_equal(rows['size'], found[1]['size'])
    assert rows['boxes'].shape == (8, 6, 4) and rows['masks'].shape == (8, 6, 28, 28)
    alone = jax.jit(task.predict_step)(state(), found[1]['image'], found[1]['size'])
    np.testing.assert_allclose(rows['scores'], alone['scores'], rtol=1e-4, atol=1e-5)


def test_what_is_outside_an_image_changes_nothing():
  task = make()
  batch = next(iter(instance_batches.eval_batches(
    shapes.open_split('val', size=48, val=2), layout(test_short=48), batch_size=2, threads=0, prefetch=1
  )))  # fmt: skip
  painted = batch['image'].copy()
  assert batch['size'].tolist() == [[48, 48]] * 2
  painted[:, 48:], painted[:, :, 48:] = 200, 99
  predict = jax.jit(task.predict_step)
  first, second = (predict(state(), image, batch['size']) for image in (batch['image'], painted))
  jax.tree.map(np.testing.assert_array_equal, first, second)
  boxes = np.asarray(first['boxes'])[np.asarray(first['valid'])]
  assert len(boxes) and boxes.max() <= 48


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'preprocess': 'grey'}, "task.preprocess 'grey' is unknown; there are: "),
    ({'rules': 'mine'}, "task.rules 'mine' is unknown; there are: detectron, torchvision"),
    ({'box_count': 0}, 'task.box_count is 0; at least 1 is needed'),
    ({'proposals': (0, 5)}, 'task.proposals is 0'),
    ({'score_threshold': 1.5}, 'task.score_threshold is 1.5'),
    ({'scales': (0.5, 1.0)}, 'instances are measured once, as they are'),
    ({'flip': True}, 'flip True.*instances are measured once'),
  ],
)
def test_bad_options_are_one_line(options, message):
  with pytest.raises(ValueError, match=message) as error:
    make(**options)
  assert '\n' not in str(error.value)


def tiny(steps, **changes):
  config = maskrcnn_r50_fpn_shapes.get_config('quick')
  config.model.width, config.train.steps, config.eval.overlays = 4, steps, 1
  with config.unlocked():
    config.task.score_threshold = 0.0
  for key, value in changes.items():
    config.update_from_flattened_dict({key: value})
  return config


class Photos(Boxes):
  """High and wide images, whose numbers the owners give."""

  def __getitem__(self, index):
    return {**super().__getitem__(index), 'image_id': 1000 + 7 * index}


@pytest.mark.slow
@pytest.mark.usefixtures('unoptimised')
def test_a_run_goes_on_bit_by_bit_and_writes_what_it_promises(tmp_path, monkeypatch, caplog):
  source = Photos([(40, 64), (64, 40), (40, 60)] * 4, [[(4, 6, 30, 34)], [(2, 2, 22, 30), (30, 10, 40, 36)]])
  monkeypatch.setattr(resolve, 'source', lambda config, split: source)
  changes = {'instances.buckets': ((64, 96), (96, 64)), 'instances.longest': 96}
  whole, broken = tmp_path / 'whole', tmp_path / 'broken'
  with caplog.at_level('INFO'):
    scores = train.train(tiny(3, **changes), whole)
  told = [record.getMessage() for record in caplog.records]
  assert sorted(line.split(':')[0] for line in told if line.startswith('training on images')) == [
    'training on images of 64x96', 'training on images of 96x64',
  ]  # fmt: skip
  assert any('measuring images of 96x64: program' in line for line in told)
  train.train(tiny(1, **changes), broken)
  train.train(tiny(3, **changes), broken)
  runs.assert_same(whole, broken)
  assert [line['loss'] for line in runs.scalars(whole)] == [line['loss'] for line in runs.scalars(broken)]
  assert {'loss', 'rpn_class', 'rpn_box', 'class', 'box', 'mask'} < runs.scalars(whole)[0].keys()

  result = json.loads((whole / 'results' / 'val-3.json').read_text())
  assert result['scores'] == scores and {'box_ap', 'mask_ap'} <= scores.keys()
  assert result['protocol']['images'] == 12 and result['protocol']['dataset'] == 'shapes'
  found = json.loads((whole / 'results' / 'val-3-detections.json').read_text())
  assert {entry['image_id'] for entry in found} <= {1000 + 7 * i for i in range(12)}
  assert {'image_id', 'category_id', 'bbox', 'score', 'segmentation'} == found[0].keys()
  size = {1000 + 7 * i: list(source.sizes[i]) for i in range(12)}
  assert all(entry['segmentation']['size'] == size[entry['image_id']] for entry in found)
  with Image.open(whole / 'overlays' / 'photo0.png') as picture:
    assert picture.size == (3 * 320, 200)  # five times as large, for the names
  again = evaluate.run(workdirs.get_config(str(whole)), whole, 'latest')
  assert again.scores == scores

  run = predictor.load(whole, 'latest')
  assert isinstance(run, predictor.Detector)
  found = run.predict(source[1]['image'])
  assert found.masks.shape == (10, 64, 40) and (np.diff(found.scores) <= 0).all()


def test_pycocotools_is_asked_for_before_anything_is_read(monkeypatch):
  find = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util, 'find_spec', lambda name, *a: None if name == 'pycocotools' else find(name, *a)
  )
  with pytest.raises(
    ValueError, match=r"measured by pycocotools; type: pip install -e '\.\[coco\]'"
  ) as error:
    evaluate_instances.Evaluator(tiny(1), make(), shapes.open_split('val', size=48, val=2), shapes.SPEC)
  assert '\n' not in str(error.value)


def test_datasets_without_instances_are_told():
  class Labelled(Boxes):
    def __getitem__(self, index):
      return {name: v for name, v in super().__getitem__(index).items() if name != 'masks'}

  source = Labelled([(48, 48)], [[(1, 1, 9, 9)]])
  with pytest.raises(ValueError, match='photo0 comes without instances; set data.options.instances=True'):
    evaluate_instances.feed(tiny(1), source)


def test_numbers_of_keypoints_have_to_agree():
  config = tiny(1)
  with config.unlocked():
    config.model.keypoints = 17
  with pytest.raises(ValueError, match='model.keypoints is 17; the objects of shapes have 5'):
    evaluate_instances.feed(config, shapes.open_split('val', size=48, val=2))


def test_persons_are_learned_where_they_have_keypoints():
  config = keypointrcnn_r50_fpn_coco.get_config()
  assert resolve.spec(config).classes == ('background', 'person')
  assert evaluate_instances.layout(config).short == (640, 800)
  assert instance.kinds(types.SimpleNamespace(masks=False, keypoints=17)) == ('box', 'keypoint')
