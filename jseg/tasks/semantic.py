"""Semantic segmentation: one network, one class a pixel.

The steps are top-level pure functions; `make` only binds the network, the optimiser and the options.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jseg.ops import preprocess, resize
from jseg.tasks import losses, metrics, protocol
from jseg.tasks.task import Task, TrainState, begun, descended, means, psum
from jseg.typing import IGNORE_LABEL, Array, Batch, Key, Sums


@dataclasses.dataclass(frozen=True)
class Options:
  """What a semantic run can choose; the first six are keys of the config's task section.

  preprocess: a rule of ops.preprocess. class_weights: one factor a class. normalise, label_smoothing: as
  losses.cross_entropy. losses: (map, factor) of each map whose loss is summed, as `make` says. accumulate:
  micro-batches a step. ema: decay of the averaged weights, 0 for none. scales, flip, window: the evaluation
  protocol, as protocol.class_scores. samples: stochastic passes, as protocol.sampled_scores; 0 for none.
  """

  preprocess: str = 'unit'
  class_weights: tuple[float, ...] = ()
  normalise: str = 'pixels'
  label_smoothing: float = 0.0
  losses: tuple[tuple[str, float], ...] = (('logits', 1.0),)
  accumulate: int = 1
  ema: float = 0.0
  scales: tuple[float, ...] = (1.0,)
  flip: bool = False
  window: tuple[int, ...] = ()
  samples: int = 0


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
  preprocess: str = 'unit',
  class_weights: str = 'none',
  normalise: str = 'pixels',
  label_smoothing: float = 0.0,
  losses: tuple[tuple[str, float], ...] = (('logits', 1.0),),
) -> Task:
  """The task of the config's task section.

  Args:
    model: the network, with the device axis set.
    tx: the optimiser.
    spec: the dataset's specification; gives the class weights.
    accumulate, ema: from the optim section.
    scales, flip, window, samples: from the eval section.
    preprocess: 'unit', 'share', 'imagenet', 'caffe', 'detectron', 'hha' or 'bgr', see ops.preprocess.
    class_weights: a rule of the spec: 'none', 'median_frequency', 'enet', 'enet_encoder', 'linknet', or a
      list's name: a published one's, or FILE.json#RULE of a file that jseg.dataset --verb=stats wrote. Where
      the dataset states no pixel counts, a run counts those of its training images.
    normalise: 'pixels', 'weights' or 'images', see losses.cross_entropy.
    label_smoothing: in [0, 1).
    losses: (name, factor) of each map of scores to learn from: 'logits', or one that the network has in its
      `out` (PSPNet's 'aux'). All of one size; one that is not the image's meets the labels' nearest pixels.

  Raises:
    ValueError: an unknown rule, or a value outside its range.
  """
  _check(preprocess, normalise, label_smoothing, scales, window)
  _check_samples(model, samples)
  options = Options(
    preprocess=preprocess,
    class_weights=tuple(spec.class_weights(class_weights)),
    normalise=normalise,
    label_smoothing=label_smoothing,
    losses=tuple((name, float(factor)) for name, factor in losses),
    accumulate=accumulate,
    ema=ema,
    scales=tuple(scales),
    flip=flip,
    window=tuple(window),
    samples=samples,
  )
  bind = functools.partial
  return Task(
    init=bind(init, model=model, tx=tx, options=options),
    train_step=bind(train_step, model=model, tx=tx, options=options),
    eval_step=bind(eval_step, model=model, options=options),
    statistics_step=bind(statistics_step, model=model, options=options),
    predict_step=bind(predict_step, model=model, options=options),
    summarise=summarise,
    best='mean_iu',
  )


def _check(rule: str, normalise: str, smoothing: float, scales: tuple[float, ...], window: tuple[int, ...]):
  if rule not in preprocess.RULES:
    raise ValueError(f"task.preprocess '{rule}' is unknown; there are: {', '.join(preprocess.RULES)}")
  if normalise not in losses.NORMALISE:
    raise ValueError(f"task.normalise '{normalise}' is unknown; there are: {', '.join(losses.NORMALISE)}")
  if not 0 <= smoothing < 1:
    raise ValueError(f'task.label_smoothing is {smoothing}; it must lie in [0, 1)')
  if not scales or min(scales) <= 0:
    raise ValueError(f'eval.scales is {scales}; it needs one or more positive factors')
  if len(window) not in (0, 2) or any(n < 1 for n in window):
    raise ValueError(f'eval.window is {window}; it must be (height, width) in pixels, or () for whole images')


def _check_samples(model: nn.Module, samples: int) -> None:
  if samples < 0:
    raise ValueError(f'eval.samples is {samples}; it must be 0, for no stochastic passes, or how many')
  chosen = _chosen(model)
  if samples and not ('dropout' in chosen and np.any(chosen['dropout'])):
    raise ValueError(f'eval.samples is {samples}, but the network drops nothing; give it a dropout, or set 0')


def _chosen(model: nn.Module) -> dict[str, Any]:
  """The options of a network and their values."""
  return {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}


def init(
  key: Key,
  image_shape: tuple[int, int, int],
  *,
  model: nn.Module,
  tx: optax.GradientTransformation,
  options: Options,
) -> TrainState:
  """The state before the first step; a pure function of the key and of image_shape (h, w, channels).

  Raises:
    ValueError: the network cannot take the size, or has not the maps that task.losses names.
  """
  (logits, out), variables = model.init_with_output(key, jnp.zeros((1, *image_shape)), train=False)
  _scored(logits, out, options)
  return begun(variables, tx=tx, ema=options.ema)


def _scored(logits: Array, out: Mapping[str, Array], options: Options) -> list[jax.Array]:
  """The maps of scores [b h' w' k] that task.losses names, in its order.

  Raises:
    ValueError: there is no such map, or they differ in size.
  """
  maps = {'logits': logits, **{name: x for name, x in out.items() if x.shape[-1] == logits.shape[-1]}}
  unknown = [name for name, _ in options.losses if name not in maps]
  if unknown or not options.losses:
    raise ValueError(
      f"task.losses names {', '.join(unknown) or 'nothing'}; this network's maps of scores are: "
      + ', '.join(maps)
    )
  sizes = {name: maps[name].shape[1:3] for name, _ in options.losses}
  if len(set(sizes.values())) > 1:
    raise ValueError(f'task.losses names maps of several sizes, {sizes}; their pixels must be the same')
  return [jnp.asarray(maps[name]) for name, _ in options.losses]


def _loss(params, model_state, batch: Batch, key: Key, *, model: nn.Module, options: Options):
  """(loss sum, (count, new model_state, {'confusion'})) of one device's batch."""
  image = preprocess.preprocess(batch['image'], options.preprocess)
  (logits, out), model_state = model.apply(
    {'params': params, **model_state},
    image,
    train=True,
    mutable=list(model_state) or ['batch_stats'],
    rngs={'dropout': key},
  )
  labels = _known(batch)
  weights = jnp.asarray(options.class_weights, jnp.float32)
  total, count = jnp.zeros(()), jnp.zeros(())
  for scores, (_, factor) in zip(_scored(logits, out, options), options.losses, strict=True):
    target, pixels = labels, batch['weight'] if 'weight' in batch else None
    if scores.shape[:3] != labels.shape:
      target = resize.nearest(labels[..., None], scores.shape[1:3])[..., 0]
      pixels = None if pixels is None else resize.nearest(pixels[..., None], scores.shape[1:3])[..., 0]
    loss, count = losses.cross_entropy(
      scores,
      target,
      weights,
      pixel_weights=pixels,
      normalise=options.normalise,
      label_smoothing=options.label_smoothing,
    )  # maps of one size have one count
    total = total + factor * loss
  metric = metrics.MeanIU.from_model_output(logits=logits, labels=labels)
  return total, (count, dict(model_state), {'confusion': metric.confusion})


def _known(batch: Batch) -> jax.Array:
  """Labels with the rows that only fill up the batch turned to void."""
  return jnp.where(batch['valid'][:, None, None], batch['labels'], IGNORE_LABEL)


def train_step(
  state: TrainState,
  batch: Batch,
  key: Key,
  *,
  model: nn.Module,
  tx: optax.GradientTransformation,
  options: Options,
) -> tuple[TrainState, Sums]:
  """One optimisation step; see task.Task."""
  loss_fn = functools.partial(_loss, model=model, options=options)
  return descended(state, loss_fn, batch, key, tx=tx, accumulate=options.accumulate, ema=options.ema)


def _scores(
  state: TrainState, image: Array, *, model: nn.Module, options: Options
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Class scores [b h w k] of 8-bit images under the evaluation protocol, and {'uncertainty'} of samples."""
  params = state.ema if options.ema else state.params
  variables = {'params': params, **state.model_state}
  image = preprocess.preprocess(image, options.preprocess)
  ways: Any = {'scales': options.scales, 'flip': options.flip, 'window': options.window}
  if not options.samples:
    return protocol.class_scores(lambda x: model.apply(variables, x, train=False)[0], image, **ways), {}
  # Dropout on, normalisation as at test: by the running statistics, or of one image by its own.
  chosen = _chosen(model)
  still: Any = {'norm': 'frozen'} if 'norm' in chosen and chosen['norm'] == 'bn' else {}
  alone = model.clone(axis_name=None, **still)

  def forward(x, number):
    key = jax.random.fold_in(jax.random.key(0), number)

    def one(x):
      (logits, _), _ = alone.apply(
        variables, x[None], train=True, mutable=['batch_stats'], rngs={'dropout': key}
      )
      return logits[0]

    # Image by image: each is met by the same masks, whatever is beside it and on whichever device.
    return jax.vmap(one)(x)

  scores, uncertainty = protocol.sampled_scores(forward, image, samples=options.samples, **ways)
  return scores, {'uncertainty': uncertainty}


def eval_step(state: TrainState, batch: Batch, *, model: nn.Module, options: Options) -> Sums:
  """{'confusion': [k k]} of one batch over all devices."""
  scores, _ = _scores(state, batch['image'], model=model, options=options)
  metric = metrics.MeanIU.from_model_output(logits=scores, labels=_known(batch))
  return psum({'confusion': metric.confusion})


def statistics_step(state: TrainState, batch: Batch, key: Key, *, model: nn.Module, options: Options) -> Any:
  """BatchNorm statistics of this batch alone (over all devices), as SegNet's compute_bn_statistics.py."""
  image = preprocess.preprocess(batch['image'], options.preprocess)
  alone = model.clone(bn_momentum=0.0)  # running statistics that forget at once: the batch's own
  params = state.ema if options.ema else state.params
  variables = {'params': params, **state.model_state}
  _, model_state = alone.apply(
    variables, image, train=True, mutable=list(state.model_state), rngs={'dropout': key}
  )
  return dict(model_state)


def predict_step(state: TrainState, image: Array, *, model: nn.Module, options: Options) -> dict[str, Array]:
  """{'predictions': uint8 [b h w]}, the class of each pixel; of samples also 'uncertainty', float32 [b h w].

  It is the variance of the class probabilities over the stochastic passes, averaged over classes.
  """
  scores, more = _scores(state, image, model=model, options=options)
  return {'predictions': jnp.argmax(scores, axis=-1).astype(jnp.uint8), **more}


def summarise(sums: Mapping[str, Any]) -> dict[str, float]:
  """Scores of the confusion matrix, and every (sum, count) divided."""
  return {**means(sums), **metrics.scores(sums['confusion'])}
