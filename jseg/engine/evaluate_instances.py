"""Instances: batches to learn them from, and measuring a state on a split by average precision.

The same names as in jseg.engine.evaluate, for tasks whose MEASURED_BY is this file. Detections are gathered
from all devices and processes batch by batch and kept as COCO's format has them; pycocotools measures.
"""

import functools
import pathlib
from collections.abc import Generator, Mapping
from typing import Any

import jax
import numpy as np
from absl import logging

from jseg.data import augment, buckets, detections, drawing, extents, instance_batches
from jseg.engine import evaluate, parallel, resolve, writers
from jseg.engine.evaluate import Feed, Result
from jseg.tasks import detection_metrics, instance
from jseg.tasks.task import Task, TrainState
from jseg.typing import Batch, Config

_OBJECTS = 10  # of an image of noise
SHOWN = 0.5  # least score of what is drawn


def layout(config: Config) -> buckets.Layout:
  """The config's section `instances`.

  Raises:
    ValueError: an option does not exist or is out of range.
  """
  return resolve.construct(buckets.Layout, 'instances', resolve.options(config.instances))


def image_size(config: Config) -> tuple[int, ...]:
  """(height, width) of the first bucket in pixels."""
  return layout(config).buckets[0]


def random_batch(config: Config, rows: int, shape: tuple[int, ...], num_classes: int) -> Batch:
  """A batch as `feed` gives them, of images (h, w, channels) of noise with objects of all sizes."""
  rng, most = np.random.default_rng(0), layout(config).most
  (height, width), number = shape[:2], min(most, _OBJECTS)
  corners = rng.uniform(0, 1, (rows, most, 2, 2)) * (width, height)
  boxes = np.concatenate([corners.min(2), corners.max(2)], axis=2).astype(np.float32)
  y, x = np.mgrid[:height, :width]
  masks = np.zeros((rows, most, height, width // 8), np.uint8)
  for row, i in np.ndindex(rows, number):
    x0, y0, x1, y1 = boxes[row, i]
    masks[row, i] = np.packbits((x >= x0) & (x < x1) & (y >= y0) & (y < y1), axis=1)
  batch = {
    'image': rng.integers(0, 256, (rows, *shape), dtype=np.uint8),
    'size': np.tile(np.array([height, width], np.int32), (rows, 1)),
    'valid': np.ones(rows, bool),
    'index': np.arange(rows, dtype=np.int32),
    'boxes': boxes,
    'classes': rng.integers(1, num_classes, (rows, most)).astype(np.int32),
    'object_valid': np.tile(np.arange(most) < number, (rows, 1)),
    'crowd': np.zeros((rows, most), bool),
    'masks': masks,
  }
  if points := _points(config):
    sides = (boxes[..., 2:] - boxes[..., :2])[:, :, None]
    places = boxes[:, :, None, :2] + rng.uniform(0, 1, (rows, most, points, 2)) * sides
    seen = np.full((*places.shape[:3], 1), 2)
    batch['keypoints'] = np.concatenate([places, seen], axis=3).astype(np.float32)
  return batch


def _points(config: Config) -> int:
  """Keypoints that an object of the config's network has."""
  return config.model.keypoints if 'keypoints' in config.model else 0


def feed(config: Config, source: Any) -> Feed:
  """Batches of a split with its instances, see instance_batches.train_batches; the first bucket is the shape.

  Raises:
    ValueError: an option of `augment` or `instances` does not exist, is out of range, or is not followed by
      instances; the examples hold none.
  """
  crop = resolve.as_tuple(config.data.crop)
  change = resolve.construct(augment.Augment, 'augment', resolve.options(config.augment), crop=crop)
  chosen = layout(config)
  points = _points(config)
  first = source[0]
  extents.learnable(first)  # says so if it has none
  there = first['keypoints'].shape[1] if 'keypoints' in first else 0
  if points and points != there:
    raise ValueError(f'model.keypoints is {points}; the objects of {config.data.name} have {there}')
  batches = functools.partial(
    instance_batches.train_batches,
    source,
    chosen,
    seed=config.seed,
    batch_size=config.data.batch_size,
    change=change,
    points=bool(points),
    **evaluate.reading(config),
  )

  def numbered(start: int) -> Generator[Batch, None, None]:
    return batches(start=start)

  return Feed((*chosen.buckets[0], first['image'].shape[2]), numbered)


class Evaluator:
  """A split, its compiled steps and its protocol; call it with a replicated state as often as needed."""

  def __init__(self, config: Config, task: Task, source: Any, spec: Any):
    """`source`: the split's random-access examples, `spec` their specification, `config` the run's.

    Raises:
      ValueError: pycocotools is absent, or the examples hold no instances.
    """
    detection_metrics.need_pycocotools()
    extents.learnable(source[0])
    self.config, self.task, self.source, self.spec = config, task, source, spec
    self.layout = layout(config)
    self.kinds = instance.kinds(resolve.model(config, spec.num_classes))
    self._batch_size = evaluate.batch_size(config)
    self._step = parallel.pmapped(task.eval_step)
    self._sizes: set[tuple[int, ...]] = set()
    self.predict = jax.jit(task.predict_step)

  def check(self, state: TrainState) -> None:
    """Raises the network's ValueError for a bucket it cannot take, without compiling anything."""
    for bucket in self.layout.buckets:
      image = jax.ShapeDtypeStruct((1, *bucket, 3), np.uint8)
      jax.eval_shape(self.task.predict_step, state, image, jax.ShapeDtypeStruct((1, 2), np.int32))

  def __call__(self, state: TrainState) -> Result:
    """Scores of a replicated state over the whole split; the same in every process."""
    found: list[dict[str, Any]] = []
    batches = instance_batches.eval_batches(
      self.source, self.layout, batch_size=self._batch_size, **evaluate.reading(self.config)
    )
    for batch in batches:
      shape = batch['image'].shape[1:3]
      if shape not in self._sizes:
        self._sizes.add(shape)
        logging.info('measuring images of %dx%d: program %d', *shape, len(self._sizes))
      rows = parallel.unreplicate(self._step(state, parallel.shard(batch)))
      for i in np.flatnonzero(rows['index'] >= 0):
        found += self._results({name: values[i] for name, values in rows.items()})
    scores, by_class = detection_metrics.average_precision(self.truth, found, self.kinds)
    known = {name: v for name, v in scores.items() if name == self.task.best or not np.isnan(v)}
    return Result(known, {'results': found, 'by_class': by_class}, len(self.source))

  def _results(self, row: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    index = int(row['index'])
    height, width = self._extents[index][:2]
    found = detections.at_source(row, row['size'], (int(height), int(width)))
    return detections.results(found, self.truth['images'][index]['id'], self.spec.written_ids())

  @functools.cached_property
  def _extents(self) -> np.ndarray:
    return extents.of(self.source)

  @functools.cached_property
  def truth(self) -> dict[str, Any]:
    """The split in COCO's format, image i being the source's example i."""
    ids = self.spec.written_ids()
    categories = [{'id': ids[k], 'name': self.spec.classes[k]} for k in range(1, self.spec.num_classes)]
    images, entries = [], []
    for i in range(len(self.source)):
      example = self.source[i]
      number = int(example['image_id']) if 'image_id' in example else i + 1
      height, width = example['labels'].shape
      images.append({'id': number, 'height': height, 'width': width})
      entries += detections.annotations(example, number, len(entries) + 1, ids)
    return {'images': images, 'annotations': entries, 'categories': categories}

  def protocol(self) -> dict[str, Any]:
    """What has to be equal for two results to be compared."""
    return {
      'dataset': self.config.data.name,
      'protocol': self.spec.protocol,
      'split': self.config.eval.split,
      'images': len(self.source),
      'short': self.layout.test_short,
      'longest': self.layout.longest,
      'buckets': [list(size) for size in self.layout.buckets],
      'resize': 'bilinear, half-pixel centres',
      'average': "COCO's average precision over IoU 0.50:0.95, 100 detections (20 for keypoints)",
    }

  def found(self, state: TrainState, image: np.ndarray) -> detections.Found:
    """What a state (not replicated) finds in an image uint8 [h w 3], at its own size."""
    return find(functools.partial(self.predict, state), image, self.layout)


def find(predict: Any, image: np.ndarray, chosen: buckets.Layout) -> detections.Found:
  """What predict(image [1 h w 3], size [1 2]) finds in an image uint8 [h w 3], at its own size.

  Raises:
    ValueError: no bucket holds the image.
  """
  batch = instance_batches.prepared(image, chosen)
  rows = {name: np.asarray(value)[0] for name, value in predict(batch['image'], batch['size']).items()}
  return detections.at_source(rows, batch['size'][0], (image.shape[0], image.shape[1]))


def table(result: Result, spec: Any) -> str:
  """Average precision of each class and the scores as text."""
  by_class = result.sums['by_class']
  width = max(len('class'), *map(len, spec.classes))
  lines = [f'{"class":<{width}} ' + ' '.join(f'{kind + " AP":>11}' for kind in by_class)]
  for name, number in list(zip(spec.classes, spec.written_ids(), strict=True))[1:]:
    values = [by_class[kind][number] for kind in by_class]
    cells = ['-' if np.isnan(v) else f'{100 * v:.2f}' for v in values]
    lines.append(f'{name:<{width}} ' + ' '.join(f'{cell:>11}' for cell in cells))
  lines.append('-' * (width + 12 * len(by_class)))
  for name, value in result.scores.items():
    kind, _, rest = name.partition('_')
    shown = '-' if np.isnan(value) else f'{100 * value:.2f}'
    lines.append(f'{kind + " " + rest.upper().replace("_", " "):<20} {shown:>7}')
  return '\n'.join(lines)


def whereabouts(path: pathlib.Path, result: Result, step: int) -> str:
  """Where the result files lie and where the pictures do, as a text to print."""
  return (
    f'step {step}, {result.images} images; scores and protocol: {path}\n'
    f"{len(result.sums['results'])} detections in COCO's format, with the owners' ids: {_detections(path)}\n"
    f'image, truth and prediction side by side: {path.parent.with_name("overlays")}/'
  )


def _detections(path: pathlib.Path) -> pathlib.Path:
  return path.with_name(f'{path.stem}-detections.json')


def write(workdir: pathlib.Path, result: Result, evaluator: Evaluator, step: int) -> pathlib.Path:
  """Writes results/<split>-<step>.json, whose path is returned, and ...-detections.json in COCO's format."""
  spec, protocol = evaluator.spec, evaluator.protocol()
  names = dict(zip(spec.written_ids(), spec.classes, strict=True))
  path = workdir / 'results' / f'{protocol["split"]}-{step}.json'
  by_class = result.sums['by_class']
  content = {
    'step': step,
    'scores': result.scores,
    'per_class_ap': {k: {names[c]: v for c, v in found.items()} for k, found in by_class.items()},
    'protocol': protocol,
  }
  writers.write_json(path, content)
  writers.write_json(_detections(path), result.sums['results'])
  return path


def overlays(workdir: pathlib.Path, evaluator: Evaluator, state: TrainState) -> list[np.ndarray]:
  """Writes image | truth | detections of the split's first examples to overlays/, and returns the panels.

  Args:
    workdir: of the run.
    evaluator: has the split, and what finds.
    state: host copy, not replicated.
  """
  classes, points = evaluator.spec.classes, 'keypoint' in evaluator.kinds
  panels = {}
  for i in range(min(evaluator.config.eval.overlays, len(evaluator.source))):
    example = evaluator.source[i]
    image = example['image']
    large, truth = drawing.enlarged(image, detections.truth(example))
    _, found = drawing.enlarged(image, evaluator.found(state, image))
    panels[str(example['id'])] = np.concatenate(
      [
        large,
        drawing.instances(large, truth, classes, points=points, truth=True),
        drawing.instances(large, found, classes, least=SHOWN),
      ],
      axis=1,
    )
  return evaluate.write_panels(workdir, panels)
