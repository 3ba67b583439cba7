"""Labels: batches to learn them from, and measuring a state on a split.

That is one confusion matrix, a table, a result file, and pictures to look at. jseg.engine.evaluate_instances
has the same for instances, under the same names; resolve.measuring tells which of them a config takes.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from PIL import Image

from jseg.data import augment, mixture, pipeline
from jseg.data import labels as label_images
from jseg.engine import checkpoint, manifest, parallel, resolve, weights, workdirs, writers
from jseg.tasks import metrics
from jseg.tasks.task import Task, TrainState
from jseg.typing import Batch, Config


class Feed(NamedTuple):
  """What a run learns from.

  image_shape: (h, w, channels) by which the network is made. batches: from the number of the first one to
  this process's rows of the global batches from there on, without end.
  """

  image_shape: tuple[int, int, int]
  batches: Callable[[int], Generator[Batch, None, None]]


def reading(config: Config) -> dict[str, Any]:
  """Who reads which rows, as the functions of jseg.data that make batches take it."""
  return {
    'process_index': jax.process_index(),
    'process_count': jax.process_count(),
    'threads': config.data.threads,
    'prefetch': config.data.prefetch,
  }


def image_size(config: Config) -> tuple[int, ...]:
  """(height, width) of training images in pixels; () if they are as the split has them."""
  return resolve.as_tuple(config.data.crop)


def random_batch(config: Config, rows: int, shape: tuple[int, ...], num_classes: int) -> Batch:
  """A batch as `feed` gives them, of images (h, w, channels) of noise: what steps are timed with."""
  rng = np.random.default_rng(0)

  def noise(rows: int) -> Batch:
    return {
      'image': rng.integers(0, 256, (rows, *shape), dtype=np.uint8),
      'labels': rng.integers(0, num_classes, (rows, *shape[:2]), dtype=np.uint8),
      'valid': np.ones(rows, bool),
      'index': np.arange(rows, dtype=np.int32),
    }

  batch = noise(rows)
  if rest := config.data.rest_batch_size // jax.process_count():
    batch |= mixture.beside(noise(rest) | {'tags': np.ones((rest, num_classes), bool)})
  return batch


def feed(config: Config, source: Any) -> Feed:
  """Batches of a split with its labels, of the config's crops.

  Raises:
    ValueError: an option of `augment` does not exist or is out of range.
  """
  crop = image_size(config)
  change = resolve.construct(augment.Augment, 'augment', resolve.options(config.augment), crop=crop)
  first = source[0]['image'].shape

  def batches(start: int) -> Generator[Batch, None, None]:
    return mixture.train_batches(
      source,
      seed=config.seed,
      batch_size=config.data.batch_size,
      augment=change,
      start=start,
      **reading(config),
    )

  return Feed((crop[0], crop[1], first[2]) if crop else first, batches)


@dataclasses.dataclass(frozen=True)
class Result:
  """What one evaluation found.

  scores: {name: value in [0, 1]}. sums: the raw sums, the confusion matrix [k k] among them, int64.
  images: how many were counted.
  """

  scores: dict[str, float]
  sums: dict[str, Any]
  images: int


def add(total: dict[str, Any] | None, sums: Mapping[str, Any]) -> dict[str, Any]:
  """Host totals: integers in int64 (float32 counts break at 2**24), everything else in float64."""

  def wide(x):
    x = np.asarray(x)
    return x.astype(np.int64 if np.issubdtype(x.dtype, np.integer) else np.float64)

  here = {name: jax.tree.map(wide, value) for name, value in sums.items()}
  return here if total is None else jax.tree.map(np.add, total, here)


def batch_size(config: Config) -> int:
  """Images of a batch that is measured: the config's, and as many more as the devices need."""
  devices = jax.device_count()
  wanted = config.eval.batch_size or config.data.batch_size
  return -(-wanted // devices) * devices  # rows that only fill up change nothing


class Evaluator:
  """A split, its compiled step and its protocol; call it with a replicated state as often as needed."""

  def __init__(self, config: Config, task: Task, source: Any, spec: Any):
    """`source`: the split's random-access examples, `spec` their specification, `config` the run's."""
    self.config, self.task, self.source, self.spec = config, task, source, spec
    self._batch_size = batch_size(config)
    self._step = parallel.for_sizes(parallel.pmapped(task.eval_step))
    image = jax.ShapeDtypeStruct((1, *self.source[0]['image'].shape), np.uint8)
    self._image = image
    self._filled = False

  def check(self, state: TrainState) -> None:
    """Raises the network's ValueError for an image size it cannot take, without compiling anything."""
    jax.eval_shape(self.task.predict_step, state, self._image)

  def __call__(self, state: TrainState) -> Result:
    """Scores of a replicated state over the whole split; the same in every process."""
    total = None
    for batch in self._batches():
      sums = self._step(state, parallel.shard(batch))
      total = add(total, parallel.unreplicate(sums))
    assert total is not None  # a source without examples was refused when it was opened
    return Result(self.task.summarise(total), total, len(self.source))

  def _batches(self) -> Iterator[dict[str, np.ndarray]]:
    return pipeline.eval_batches(
      self.source, batch_size=self._batch_size, gather=self._gather, **reading(self.config)
    )

  def _gather(self, sizes: np.ndarray) -> np.ndarray:
    everywhere = parallel.gather_rows(sizes)
    self._filled |= bool((everywhere != everywhere[0]).any())
    return everywhere

  def protocol(self) -> dict[str, Any]:
    """What has to be equal for two results to be compared; to be asked for after an evaluation."""
    chosen = self.config.eval
    return {
      'dataset': self.config.data.name,
      'protocol': self.spec.protocol,
      'split': chosen.split,
      'images': len(self.source),
      'scales': list(chosen.scales),
      'flip': chosen.flip,
      'window': list(chosen.window),
      'samples': chosen.samples,
      'resize': 'bilinear, half-pixel centres',
      'sizes': f'filled up within batches of {self._batch_size}' if self._filled else 'as they are',
      'average': 'one confusion matrix; a class in neither truth nor prediction is left out',
    }


def table(result: Result, spec: Any) -> str:
  """Per-class IU and the four scores as text."""
  confusion = result.sums['confusion']
  iu, truth = metrics.per_class_iu(confusion), confusion.sum(1)
  share = truth / max(truth.sum(), 1)
  width = max(len('class'), *map(len, spec.classes))
  lines = [f'{"class":<{width}}     IU   pixels']
  for name, value, part in zip(spec.classes, iu, share, strict=True):
    shown = '      -' if np.isnan(value) else f'{100 * value:7.2f}'
    lines.append(f'{name:<{width}} {shown} {100 * part:7.2f}%')
  lines.append('-' * (width + 17))
  lines += [f'{name.replace("_", " "):<22} {100 * result.scores[name]:7.2f}' for name in metrics.NAMES]
  return '\n'.join(lines)


def whereabouts(path: pathlib.Path, result: Result, step: int) -> str:
  """Where the result file lies and where the pictures do, as a text to print."""
  return (
    f'step {step}, {result.images} images; scores, confusion matrix and protocol: {path}\n'
    f'image, truth and prediction side by side: {path.parent.with_name("overlays")}/'
  )


def write(workdir: pathlib.Path, result: Result, evaluator: Evaluator, step: int) -> pathlib.Path:
  """Writes results/<split>-<step>.json and returns its path."""
  names, protocol = evaluator.spec.classes, evaluator.protocol()
  iu = metrics.per_class_iu(result.sums['confusion'])
  content = {
    'step': step,
    'scores': result.scores,
    'per_class_iu': {n: None if np.isnan(v) else float(v) for n, v in zip(names, iu, strict=True)},
    'protocol': protocol,
    'confusion': result.sums['confusion'].tolist(),
  }
  path = workdir / 'results' / f'{protocol["split"]}-{step}.json'
  writers.write_json(path, content)
  return path


def overlays(workdir: pathlib.Path, evaluator: Evaluator, state: TrainState) -> list[np.ndarray]:
  """Writes image | truth | prediction of the split's first examples to overlays/, and returns the panels.

  Args:
    workdir: of the run.
    evaluator: has the split, and the task that gives the prediction.
    state: host copy, not replicated.
  """
  palette = evaluator.spec.palette
  predict = jax.jit(evaluator.task.predict_step)
  panels = {}
  for i in range(min(evaluator.config.eval.overlays, len(evaluator.source))):
    example = evaluator.source[i]
    predictions = np.asarray(predict(state, example['image'][None])['predictions'][0])
    panels[str(example['id'])] = np.concatenate(
      [
        example['image'],
        label_images.overlay(example['image'], example['labels'], palette),
        label_images.overlay(example['image'], predictions, palette),
      ],
      axis=1,
    )
  return write_panels(workdir, panels)


def write_panels(workdir: pathlib.Path, panels: Mapping[str, np.ndarray]) -> list[np.ndarray]:
  """Writes a picture for each id to overlays/, and returns the pictures."""
  folder = workdir / 'overlays'
  folder.mkdir(parents=True, exist_ok=True)
  for name, panel in panels.items():
    Image.fromarray(panel).save(folder / f'{name.replace("/", "_")}.png')
  return list(panels.values())


def run(config: Config, workdir: pathlib.Path, which: str) -> Result:
  """Measures the workdir's 'best' or 'latest' checkpoint: prints the table, writes result and overlays.

  Where there is no checkpoint and the config has `init_from`, these weights are measured as they are, and the
  workdir keeps the config.
  """
  spec = resolve.spec(config)
  source = resolve.source(config, config.eval.split)  # first: without data nothing else has to be read
  measure = resolve.measuring(config)
  untrained = bool(config.init_from) and not manifest.steps(workdir / checkpoint.FOLDER)
  if untrained:
    logging.info("no checkpoint in %s: measuring init_from '%s' as it is", workdir, config.init_from)
    task, state, lines = weights.whole(config, spec)
    for line in lines:
      logging.info('%s', line)
  else:
    task, state, _ = weights.trained(config, spec, workdir, which)
  evaluator = measure.Evaluator(config, task, source, spec)
  evaluator.check(state)
  step = int(state.step)
  logging.info('evaluating step %d on %d images of %s', step, len(source), config.eval.split)
  result = evaluator(parallel.replicate(state))
  if parallel.is_lead():
    if untrained:
      workdirs.keep(workdir, config, spec)
    path = measure.write(workdir, result, evaluator, step)
    measure.overlays(workdir, evaluator, state)
    print(measure.table(result, spec))
    print(measure.whereabouts(path, result, step))
  return result
