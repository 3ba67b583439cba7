"""Measuring a state on a split: one confusion matrix, a table, a result file, and pictures to look at."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from PIL import Image

from jseg.data import labels as label_images
from jseg.data import pipeline
from jseg.engine import parallel, resolve, weights, writers
from jseg.tasks import metrics
from jseg.tasks.task import Task, TrainState
from jseg.typing import Config


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


class Evaluator:
  """A split, its compiled step and its protocol; call it with a replicated state as often as needed."""

  def __init__(self, config: Config, task: Task, source: Any):
    """`source`: the split's random-access examples, `config` the run's."""
    self._config, self._task, self.source = config, task, source
    devices = jax.device_count()
    wanted = config.eval.batch_size or config.data.batch_size
    self._batch_size = -(-wanted // devices) * devices  # rows that only fill up change nothing
    self._step = parallel.pmapped(task.eval_step)
    image = jax.ShapeDtypeStruct((1, *self.source[0]['image'].shape), np.uint8)
    self._image = image
    self._filled = False

  def check(self, state: TrainState) -> None:
    """Raises the network's ValueError for an image size it cannot take, without compiling anything."""
    jax.eval_shape(self._task.predict_step, state, self._image)

  def __call__(self, state: TrainState) -> Result:
    """Scores of a replicated state over the whole split; the same in every process."""
    total = None
    for batch in self._batches():
      sums = self._step(state, parallel.shard(batch))
      total = add(total, parallel.unreplicate(sums))
    assert total is not None  # a source without examples was refused when it was opened
    return Result(self._task.summarise(total), total, len(self.source))

  def _batches(self) -> Iterator[dict[str, np.ndarray]]:
    return pipeline.eval_batches(
      self.source,
      batch_size=self._batch_size,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
      threads=self._config.data.threads,
      prefetch=self._config.data.prefetch,
      gather=self._gather,
    )

  def _gather(self, sizes: np.ndarray) -> np.ndarray:
    everywhere = parallel.gather_rows(sizes)
    self._filled |= bool((everywhere != everywhere[0]).any())
    return everywhere

  def protocol(self, spec: Any) -> dict[str, Any]:
    """What has to be equal for two results to be compared; to be asked for after an evaluation."""
    chosen = self._config.eval
    return {
      'dataset': self._config.data.name,
      'protocol': spec.protocol,
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


def write(
  workdir: pathlib.Path, result: Result, spec: Any, protocol: Mapping[str, Any], step: int
) -> pathlib.Path:
  """Writes results/<split>-<step>.json and returns its path."""
  iu = metrics.per_class_iu(result.sums['confusion'])
  content = {
    'step': step,
    'scores': result.scores,
    'per_class_iu': {n: None if np.isnan(v) else float(v) for n, v in zip(spec.classes, iu, strict=True)},
    'protocol': dict(protocol),
    'confusion': result.sums['confusion'].tolist(),
  }
  path = workdir / 'results' / f'{protocol["split"]}-{step}.json'
  writers.write_json(path, content)
  return path


def overlays(
  workdir: pathlib.Path, task: Task, state: TrainState, source: Any, spec: Any, count: int
) -> list[np.ndarray]:
  """Writes image | truth | prediction of the split's first examples to overlays/, and returns the panels.

  Args:
    workdir: of the run.
    task: gives the prediction.
    state: host copy, not replicated.
    source: the split.
    spec: palette and class names.
    count: how many, at most.
  """
  folder = workdir / 'overlays'
  folder.mkdir(parents=True, exist_ok=True)
  predict = jax.jit(task.predict_step)
  panels = []
  for i in range(min(count, len(source))):
    example = source[i]
    predictions = np.asarray(predict(state, example['image'][None])['predictions'][0])
    panel = np.concatenate(
      [
        example['image'],
        label_images.overlay(example['image'], example['labels'], spec.palette),
        label_images.overlay(example['image'], predictions, spec.palette),
      ],
      axis=1,
    )
    Image.fromarray(panel).save(folder / f'{str(example["id"]).replace("/", "_")}.png')
    panels.append(panel)
  return panels


def run(config: Config, workdir: pathlib.Path, which: str) -> Result:
  """Measures the workdir's 'best' or 'latest' checkpoint: prints the table, writes result and overlays."""
  spec = resolve.spec(config)
  source = resolve.source(config, config.eval.split)  # first: without data nothing else has to be read
  task, state, meta = weights.trained(config, spec, workdir, which)
  evaluator = Evaluator(config, task, source)
  evaluator.check(state)
  step = meta['step']
  logging.info('evaluating step %d on %d images of %s', step, len(source), config.eval.split)
  result = evaluator(parallel.replicate(state))
  if parallel.is_lead():
    path = write(workdir, result, spec, evaluator.protocol(spec), step)
    overlays(workdir, task, state, source, spec, config.eval.overlays)
    print(table(result, spec))
    print(whereabouts(path, result, step))
  return result
