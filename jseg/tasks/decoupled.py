"""Decoupled training: classes of images from tags first, then where the queried ones are, from few masks.

Source: Hong, Noh, Han (arXiv:1506.04924), sections 4 and 5, with what the authors' prototxts and inference
code add. Stage 'classify' learns the classification network of models.decouplednet from tags alone; a run of
stage 'segment' starts from its weights (`init_from`), leaves them as they are (`optim.groups`), and learns
the segmentation network from masks: of each image one class, or one set of classes, is queried.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jseg.models import decouplednet
from jseg.ops import preprocess as preprocessing
from jseg.ops import resize
from jseg.tasks import losses, metrics, protocol
from jseg.tasks.task import Task, TrainState, begun, descended, means, psum
from jseg.typing import AXIS, IGNORE_LABEL, Array, Batch, Key, Sums

QUERIES = ('class', 'set')
_LEAST = 1e-30  # of a probability, so that its logarithm is finite


@dataclasses.dataclass(frozen=True)
class Options:
  """What a decoupled run can choose: as `make` says, but for the stage."""

  preprocess: str
  query: str
  size: int
  seed_share: float
  accumulate: int
  ema: float
  scales: tuple[float, ...]
  flip: bool
  window: tuple[int, ...]


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
  stage: str = 'segment',
  preprocess: str = 'caffe',
  query: str = 'class',
  size: int = 0,
  seed_share: float = 0.3,
) -> Task:
  """The task of the config's task section.

  Args:
    model: the network, with the device axis set.
    tx: the optimiser.
    spec: the dataset's specification.
    accumulate, ema: from the optim section.
    scales, flip, window: from the eval section; samples must be 0.
    stage: 'classify', from tags (or from masks, of which no more than the classes is used), or 'segment'.
    preprocess: a rule of ops.preprocess.
    query: in training, one 'class' of those that a crop shows, or a 'set' of them.
    size: at test, images are filled up to a square, resized to this many rows and columns, and the
      probabilities back (authors: 320); 0 takes them as they are.
    seed_share: what a pixel's localisation must reach, as a share of the image's largest, to be called the
      class while there is only stage 'classify'.

  Raises:
    ValueError: an unknown rule, a value outside its range, another network, or classes without background.
  """
  if not isinstance(model, decouplednet.Model):
    raise ValueError("task 'decoupled' is for model.name='decouplednet': no other network takes a query")
  if spec.classes[0] != 'background':
    raise ValueError(
      f"task 'decoupled' finds classes against a background, but class 0 of {spec.name} is "
      f"'{spec.classes[0]}'; take a dataset whose first class is 'background', as voc or shapes"
    )
  for key, value, known in (
    ('stage', stage, tuple(_LOSSES)),
    ('preprocess', preprocess, tuple(preprocessing.RULES)),
    ('query', query, QUERIES),
  ):
    if value not in known:
      raise ValueError(f"task.{key} '{value}' is unknown; there are: {', '.join(known)}")
  if samples or size < 0 or not 0 <= seed_share <= 1:
    raise ValueError(
      f"task 'decoupled': eval.samples {samples}, size {size}, seed_share {seed_share}; it takes 0 samples, "
      'a size of at least 0 and a share in 0..1'
    )
  ways = tuple(scales), flip, tuple(window)
  options = Options(preprocess, query, size, seed_share, accumulate, ema, *ways)
  bind = functools.partial
  scores = bind(_located if stage == 'classify' else _segmented, model=model, options=options)
  return Task(
    init=bind(init, model=model, tx=tx, stage=stage, options=options),
    train_step=bind(
      train_step, loss_fn=bind(_LOSSES[stage], model=model, options=options), tx=tx, options=options
    ),
    eval_step=bind(eval_step, scores=scores, model=model, options=options),
    statistics_step=bind(statistics_step, loss_fn=_LOSSES[stage], model=model, options=options),
    predict_step=bind(predict_step, scores=scores),
    summarise=summarise,
    best='tag_f1' if stage == 'classify' else 'mean_iu',
  )


def init(
  key: Key,
  image_shape: tuple[int, int, int],
  *,
  model: decouplednet.Model,
  tx: optax.GradientTransformation,
  stage: str,
  options: Options,
) -> TrainState:
  """The state before the first step; of stage 'classify' the classification network alone."""
  method = model.classify if stage == 'classify' else model.__call__
  variables = model.init(key, jnp.zeros((1, *image_shape)), train=False, method=method)
  return begun(variables, tx=tx, ema=options.ema)


def tags_of(batch: Batch, classes: int) -> jax.Array:
  """The classes of each image but the background, bool [b k-1]: what its tags say, else what its mask has."""
  if 'tags' in batch:
    return jnp.asarray(batch['tags'])[:, 1:]
  return (batch['labels'][..., None] == jnp.arange(1, classes)[None, None, None]).any((1, 2))


def queries(
  labels: Array, key: Key, *, kind: str, classes: int, first: Array | int = 0
) -> tuple[jax.Array, jax.Array]:
  """What is asked of each image, and the answer.

  Args:
    labels: [b h w], 255 for void.
    key: of the step.
    kind: 'class': one of those present, uniformly; 'set': every one of them by the toss of a coin, or one
      where all come down tails.
    classes: background included.
    first: the number of the first image in the batch of all devices: it decides with the key what is drawn.

  Returns:
    (bool [b k-1], uint8 [b h w]: 1 on what is queried, 0 elsewhere, 255 where void, and on all of an image
    that has nothing to be queried).
  """
  present = (labels[..., None] == jnp.arange(1, classes)[None, None, None]).any((1, 2))

  def draw(row: jax.Array) -> jax.Array:
    return jax.random.uniform(jax.random.fold_in(key, row), (2, classes - 1))

  order, coins = jnp.moveaxis(jax.vmap(draw)(first + jnp.arange(len(labels))), 1, 0)
  one = jax.nn.one_hot(jnp.argmax(jnp.where(present, order, -1), axis=1), classes - 1, dtype=bool) & present
  chosen = (coins < 0.5) & present
  chosen = jnp.where(chosen.any(1)[:, None], chosen, one) if kind == 'set' else one
  asked = jnp.concatenate([jnp.zeros_like(chosen[:, :1]), chosen], axis=1)  # [b k]
  inside = (asked[:, None, None] & (labels[..., None] == jnp.arange(classes)[None, None, None])).any(-1)
  void = (labels == IGNORE_LABEL) | ~chosen.any(1)[:, None, None]
  return chosen, jnp.where(void, IGNORE_LABEL, inside).astype(jnp.uint8)


def _classify_loss(
  params, model_state, batch: Batch, key: Key, *, model: decouplednet.Model, options: Options
) -> tuple[jax.Array, Any]:
  """Sigmoid cross-entropy summed over the classes, a mean over images; see task.summed_gradient."""
  image = preprocessing.preprocess(batch['image'], options.preprocess)
  (scores, _), model_state = model.apply(
    {'params': params, **model_state},
    image,
    train=True,
    mutable=list(model_state) or ['batch_stats'],
    method=model.classify,
    rngs={'dropout': key},
  )
  tags = tags_of(batch, model.num_classes)
  loss = optax.sigmoid_binary_cross_entropy(scores, tags).sum(1)
  valid = batch['valid']
  total, count = jnp.where(valid, loss, 0).sum(), valid.sum().astype(jnp.float32)
  return total, (count, dict(model_state), {'tags': _tag_counts(scores > 0, tags, valid)})


def _segment_loss(
  params, model_state, batch: Batch, key: Key, *, model: decouplednet.Model, options: Options
) -> tuple[jax.Array, Any]:
  """Softmax cross-entropy of foreground and background, a mean over pixels; see task.summed_gradient."""
  labels = jnp.where(batch['valid'][:, None, None], batch['labels'], IGNORE_LABEL)
  first = jax.lax.axis_index(AXIS) * len(labels)
  asked, target = queries(labels, key, kind=options.query, classes=model.num_classes, first=first)
  (logits, _), model_state = model.apply(
    {'params': params, **model_state},
    preprocessing.preprocess(batch['image'], options.preprocess),
    asked.astype(jnp.float32),
    train=True,
    mutable=list(model_state) or ['batch_stats'],
    method=model.segment,
  )
  total, count = losses.cross_entropy(jnp.asarray(logits), target, jnp.ones(2))
  metric = metrics.MeanIU.from_model_output(logits=logits, labels=target)
  return total, (count, dict(model_state), {'confusion': metric.confusion})


_LOSSES: dict[str, Callable] = {'classify': _classify_loss, 'segment': _segment_loss}


def train_step(
  state: TrainState,
  batch: Batch,
  key: Key,
  *,
  loss_fn: Callable,
  tx: optax.GradientTransformation,
  options: Options,
) -> tuple[TrainState, Sums]:
  """One optimisation step of either stage; see task.Task."""
  return descended(state, loss_fn, batch, key, tx=tx, accumulate=options.accumulate, ema=options.ema)


def _variables(state: TrainState, options: Options) -> dict[str, Any]:
  return {'params': state.ema if options.ema else state.params, **state.model_state}


def _located(state: TrainState, image: Array, *, model: decouplednet.Model, options: Options) -> jax.Array:
  """Scores [b h w k] of what tags alone have taught: where the classes of an image made its scores."""

  def forward(x: Array) -> jax.Array:
    found: Any = model.apply(_variables(state, options), x, method=model.localise)
    chances, maps = found
    maps = jnp.where((chances > model.threshold)[:, None, None], maps, 0)
    return jnp.concatenate([jnp.full_like(maps[..., :1], options.seed_share), maps], axis=-1)

  return _scored(forward, image, options)


def _segmented(state: TrainState, image: Array, *, model: decouplednet.Model, options: Options) -> jax.Array:
  """Log-probabilities [b h w k]: every class that the image has is queried."""

  def forward(x: Array) -> jax.Array:
    return jnp.exp(model.apply(_variables(state, options), x, train=False)[0])

  return _scored(forward, image, options)


def _scored(forward: protocol.Forward, image: Array, options: Options) -> jax.Array:
  """Logarithms of what `forward` gives, under the evaluation protocol, through squares of the size asked."""

  def through_square(x: Array) -> jax.Array:
    h, w = x.shape[1:3]
    if not options.size:
      return jnp.log(jnp.maximum(forward(x), _LEAST))
    side = max(h, w)
    square = jnp.pad(jnp.asarray(x), ((0, 0), (0, side - h), (0, side - w), (0, 0)))
    found = forward(resize.bilinear(square, (options.size, options.size)))
    return jnp.log(jnp.maximum(resize.bilinear(found, (side, side))[:, :h, :w], _LEAST))

  image = preprocessing.preprocess(image, options.preprocess)
  return protocol.class_scores(
    through_square, image, scales=options.scales, flip=options.flip, window=options.window
  )


def eval_step(
  state: TrainState, batch: Batch, *, scores: Callable, model: decouplednet.Model, options: Options
) -> Sums:
  """{'confusion': [k k], 'tags': [3 k-1]} of one batch over all devices."""
  labels = jnp.where(batch['valid'][:, None, None], batch['labels'], IGNORE_LABEL)
  metric = metrics.MeanIU.from_model_output(logits=scores(state, batch['image']), labels=labels)
  image = preprocessing.preprocess(batch['image'], options.preprocess)
  found, _ = model.apply(_variables(state, options), image, train=False, method=model.classify)
  tags = tags_of({'labels': labels}, model.num_classes)
  return psum({'confusion': metric.confusion, 'tags': _tag_counts(found > 0, tags, batch['valid'])})


def _tag_counts(found: jax.Array, tags: jax.Array, valid: Array) -> jax.Array:
  """Images of each class that are right, said too much and missed, int32 [3 k-1]."""
  cells = jnp.stack([found & tags, found & ~tags, ~found & tags])
  return (cells & valid[None, :, None]).sum(1).astype(jnp.int32)


def statistics_step(
  state: TrainState,
  batch: Batch,
  key: Key,
  *,
  loss_fn: Callable,
  model: decouplednet.Model,
  options: Options,
) -> Any:
  """Statistics of what the stage learns on this batch alone (over all devices), its queries drawn anew."""
  alone = model.clone(bn_momentum=0.0)  # running statistics that forget at once: the batch's own
  params = state.ema if options.ema else state.params
  key = jax.random.fold_in(key, psum(batch['index'].sum()))
  _, (_, model_state, _) = loss_fn(params, state.model_state, batch, key, model=alone, options=options)
  return model_state


def predict_step(state: TrainState, image: Array, *, scores: Callable) -> dict[str, Array]:
  """{'predictions': uint8 [b h w]}, the class of each pixel; of stage 'classify' where scores come from."""
  return {'predictions': jnp.argmax(scores(state, image), axis=-1).astype(jnp.uint8)}


def summarise(sums: Mapping[str, Any]) -> dict[str, float]:
  """Every (sum, count) divided; scores of the confusion matrix; the means over classes of what tags score."""
  result = means(sums)
  if 'tags' in sums:
    right, extra, missed = np.asarray(sums['tags'], np.float64)
    seen = right + extra + missed > 0
    f1 = 2 * right[seen] / (2 * right + extra + missed)[seen]
    result['tag_f1'] = float(f1.mean()) if seen.any() else 0.0
    result['tag_recall'] = float(right.sum() / max((right + missed).sum(), 1))
    result['tag_precision'] = float(right.sum() / max((right + extra).sum(), 1))
  return {**result, **(metrics.scores(sums['confusion']) if 'confusion' in sums else {})}
