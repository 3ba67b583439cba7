"""Instance segmentation: boxes, classes, masks and keypoints of the things in an image, by Mask R-CNN.

He et al., "Mask R-CNN" (arXiv:1703.06870), trained end to end as in the authors' code. The steps are
top-level pure functions; `make` only binds the network, the optimiser and the options. Each loss is a sum and
a count of its own; counts are summed over the devices before anything is divided, so that a run is the same
on any number of them.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jseg.ops import collectives, preprocess
from jseg.tasks import detection_losses
from jseg.tasks.task import Task, TrainState, begun, descended, means, psum
from jseg.typing import AXIS, Array, Batch, Key, Sums

MEASURED_BY = 'evaluate_instances'  # the file of jseg/engine that batches and measures what is learned here


@dataclasses.dataclass(frozen=True)
class Options:
  """What an instance run can choose; all but the last two come from the config's task section, see `make`."""

  preprocess: str = 'detectron'
  rules: detection_losses.Rules = detection_losses.Rules()
  proposals: tuple[int, int] = (2000, 2000)
  test_proposals: tuple[int, int] = (1000, 1000)
  detections: int = 100
  score_threshold: float = 0.05
  nms_threshold: float = 0.5
  accumulate: int = 1
  ema: float = 0.0


def make(
  *,
  model: nn.Module,
  tx: optax.GradientTransformation,
  spec: Any,
  accumulate: int,
  ema: float,
  scales: tuple[float, ...],
  flip: bool,
  window: tuple[int, ...],
  samples: int,
  preprocess: str = 'detectron',
  rules: str = 'detectron',
  rpn_count: int = 256,
  box_count: int = 512,
  proposals: tuple[int, int] = (2000, 2000),
  test_proposals: tuple[int, int] = (1000, 1000),
  detections: int = 100,
  score_threshold: float = 0.05,
  nms_threshold: float = 0.5,
) -> Task:
  """The task of the config's task section.

  Args:
    model: the network, models.mask_rcnn or one with its methods, with the device axis set.
    tx: the optimiser.
    spec: the dataset's specification; class 0 has to be the background.
    accumulate: micro-batches a step, averaged as equals, each with its own counts.
    ema: from the optim section.
    scales, flip, window, samples: from the eval section; images are measured once, as they are.
    preprocess: a rule of ops.preprocess.
    rules: of sampling and of the losses: 'detectron' or 'torchvision', see detection_losses.RULES.
    rpn_count: anchors drawn of each image.
    box_count: regions drawn of each image: 512 with the pyramid, 64 with C4.
    proposals: in training, the best anchors (of each level, before suppression; of the image, after it).
    test_proposals: the same when a checkpoint is measured or used.
    detections: of each image, at most.
    score_threshold: detections have a higher probability.
    nms_threshold: IoU over which a detection suppresses another one of its class.

  Raises:
    ValueError: an unknown rule, a value outside its range, a way of measuring that there is not.
  """
  del spec
  _check(preprocess, rules, score_threshold, nms_threshold)
  _check_counts(rpn_count=rpn_count, box_count=box_count, detections=detections)
  _check_counts(proposals=min(proposals, default=0), test_proposals=min(test_proposals, default=0))
  _check_ways(tuple(scales), flip, tuple(window), samples)
  options = Options(
    preprocess=preprocess,
    rules=detection_losses.RULES[rules]._replace(rpn_count=rpn_count, box_count=box_count),
    proposals=proposals,
    test_proposals=test_proposals,
    detections=detections,
    score_threshold=score_threshold,
    nms_threshold=nms_threshold,
    accumulate=accumulate,
    ema=ema,
  )
  bind = functools.partial
  return Task(
    init=bind(init, model=model, tx=tx, options=options),
    train_step=bind(train_step, model=model, tx=tx, options=options),
    eval_step=bind(eval_step, model=model, options=options),
    statistics_step=statistics_step,
    predict_step=bind(predict_step, model=model, options=options),
    summarise=means,
    best=f'{kinds(model)[-1]}_ap',
  )


def kinds(model: Any) -> tuple[str, ...]:
  """What a network finds, as detection_metrics.KINDS names it; the last one is what checkpoints go by."""
  return ('box', *(['mask'] if model.masks else []), *(['keypoint'] if model.keypoints else []))


def _check(rule: str, rules: str, score: float, overlap: float) -> None:
  if rule not in preprocess.RULES:
    raise ValueError(f"task.preprocess '{rule}' is unknown; there are: {', '.join(preprocess.RULES)}")
  if rules not in detection_losses.RULES:
    raise ValueError(f"task.rules '{rules}' is unknown; there are: {', '.join(detection_losses.RULES)}")
  if not (0 <= score < 1 and 0 <= overlap <= 1):
    raise ValueError(
      f'task.score_threshold is {score} and nms_threshold {overlap}; they lie in [0, 1) and [0, 1]'
    )


def _check_counts(**counts: int) -> None:
  for name, value in counts.items():
    if value < 1:
      raise ValueError(f'task.{name} is {value}; at least 1 is needed')


def _check_ways(scales: tuple[float, ...], flip: bool, window: tuple[int, ...], samples: int) -> None:
  if scales != (1.0,) or flip or window or samples:
    raise ValueError(
      f'eval.scales {scales}, flip {flip}, window {window}, samples {samples}: instances are measured once, '
      'as they are; leave these at their defaults'
    )


def init(
  key: Key,
  image_shape: tuple[int, int, int],
  *,
  model: nn.Module,
  tx: optax.GradientTransformation,
  options: Options,
) -> TrainState:
  """The state before the first step; a pure function of the key and of image_shape (h, w, channels)."""
  variables = model.init(key, jnp.zeros((1, *image_shape)), train=False)
  return begun(variables, tx=tx, ema=options.ema)


def _prepared(image: Array, size: Array, rule: str) -> jax.Array:
  """Images [b H W 3] as the network takes them: preprocessed, and 0 outside their own size [b 2]."""
  rows = jnp.arange(image.shape[1])[:, None, None] < size[:, 0, None, None, None]
  columns = jnp.arange(image.shape[2])[None, :, None] < size[:, 1, None, None, None]
  return jnp.where(rows & columns, preprocess.preprocess(image, rule), 0)


def _loss(params, model_state, batch: Batch, key: Key, *, model: Any, options: Options):
  """(loss sum, (count, new model_state, {name: (sum, count)})) of one device's batch.

  The loss is whole once it is summed over the devices: what each loss is divided by is of all of them.
  """
  variables = {'params': params, **model_state}
  image = _prepared(batch['image'], batch['size'], options.preprocess)
  maps, model_state = model.apply(
    variables, image, train=True, mutable=list(model_state) or ['batch_stats'], method='features'
  )
  # A key of the image's own: what is drawn for it depends on no device and on no neighbour.
  keys = jax.vmap(lambda index: jax.random.split(jax.random.fold_in(key, index)))(batch['index'])
  boxes, valid, crowd = batch['boxes'], batch['object_valid'], batch['crowd']
  objectness, deltas = model.apply(variables, maps, method='rpn')
  anchors = np.concatenate(model.anchors(image.shape[1:3]))
  rules = options.rules
  losses = jax.vmap(
    lambda o, d, b, v, c, s, k: detection_losses.rpn_losses(o, d, anchors, b, v, c, s, k, rules)
  )(
    jnp.concatenate(objectness, 1), jnp.concatenate(deltas, 1), boxes, valid, crowd, batch['size'], keys[:, 0]
  )  # fmt: skip
  before, after = options.proposals
  regions, _, proposed = model.propose(
    objectness, deltas, image.shape[1:3], batch['size'], before=before, after=after
  )
  samples = jax.vmap(functools.partial(detection_losses.sample_proposals, rules=rules))(
    regions, proposed, boxes, batch['classes'], valid, crowd, keys[:, 1]
  )
  scores, deltas = model.apply(variables, maps, samples.boxes, method='box')
  losses |= jax.vmap(functools.partial(detection_losses.box_losses, rules=rules))(scores, deltas, samples)
  positives = jax.vmap(lambda one: one.positives(rules))(samples)
  if model.masks:
    masks = jnp.unpackbits(batch['masks'], axis=-1)
    found = model.apply(variables, maps, positives.boxes, method='mask')
    losses |= jax.vmap(functools.partial(detection_losses.mask_loss, rules=rules))(found, positives, masks)
  if model.keypoints:
    found = model.apply(variables, maps, positives.boxes, method='keypoint')
    losses |= jax.vmap(detection_losses.keypoint_loss)(found, positives, batch['keypoints'])
  sums = jax.tree.map(lambda x: jnp.where(batch['valid'], x, 0).sum(), losses)
  total = jnp.zeros(())
  for loss, count in sums.values():
    total += loss / jnp.maximum(psum(jax.lax.stop_gradient(count)), 1)
  return total, (1 / psum(jnp.ones(())), dict(model_state), sums)


def train_step(
  state: TrainState,
  batch: Batch,
  key: Key,
  *,
  model: nn.Module,
  tx: optax.GradientTransformation,
  options: Options,
) -> tuple[TrainState, Sums]:
  """One optimisation step; see task.Task. The batch is one of data.instance_batches.train_batches."""
  loss_fn = functools.partial(_loss, model=model, options=options)
  return descended(state, loss_fn, batch, key, tx=tx, accumulate=options.accumulate, ema=options.ema)


def eval_step(state: TrainState, batch: Batch, *, model: nn.Module, options: Options) -> dict[str, Array]:
  """What is found in the images of all devices: predict_step's rows, with their index and size."""
  found = predict_step(state, batch['image'], batch['size'], model=model, options=options)
  return collectives.gather({**found, 'index': batch['index'], 'size': batch['size']}, AXIS)


def statistics_step(state: TrainState, batch: Batch, key: Key) -> Any:
  """Raises ValueError: the statistics of these networks are not estimated anew."""
  raise ValueError('train.recalibrate is for networks of labels; set it to 0')


def predict_step(
  state: TrainState, image: Array, size: Array, *, model: Any, options: Options
) -> dict[str, Array]:
  """What is found in images uint8 [b H W 3] of their own size int32 [b 2]; models.mask_rcnn's `detect`."""
  params = state.ema if options.ema else state.params
  before, after = options.test_proposals
  return model.apply(
    {'params': params, **state.model_state},
    _prepared(image, size, options.preprocess),
    size,
    before=before,
    after=after,
    score_threshold=options.score_threshold,
    nms_threshold=options.nms_threshold,
    count=options.detections,
    weights=options.rules.box_weights,
    method='detect',
  )
