"""Adversarial training: images with masks, images without, and generated ones in every step.

Source: Souly, Spampinato, Shah (ICCV 2017), section 3, with the weights of gengyanlei/ssgan, an unofficial
port: approximate, and no figure of the paper belongs to it. The discriminator is the segmentation network of
the config, any of ours, which tells generated pixels from real ones beside their classes; the generator
beside it is models.generators.dcgan. Weights of the network keep their names, those of the generator begin
with 'generator/', and `optim.groups` gives each its rate; both have optimiser states of their own.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from jseg.ops import preprocess as preprocessing
from jseg.tasks import adversarial_losses, metrics, protocol, semantic
from jseg.tasks.adversaries import (
  GENERATOR,
  Networks,
  Options,
  apart,
  both,
  inputs,
  seen,
  states_apart,
  states_joined,
  update_generator,
  update_network,
)  # fmt: skip
from jseg.tasks.task import Task, TrainState, averaged, psum
from jseg.typing import IGNORE_LABEL, Array, Batch, Key, Sums

GENERATOR_LOSSES = ('saturating', 'non_saturating', 'features')
_PICTURES = 4  # generated images that are shown; of the conditional form one for each class


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
  form: str = 'fixed',
  conditional: bool = False,
  generator_loss: str = 'saturating',
  features: str = '',
  noise: int = 100,
  generator_width: int = 768,
  labelled_weight: float = 1.0,
  unlabelled_weight: float = 0.5,
  generated_weight: float = 0.5,
) -> Task:
  """The task of the config's task section.

  Args:
    model: the network, with the device axis set.
    tx: the optimiser, of the network's parameters and the generator's.
    spec: the dataset's specification.
    accumulate: from the optim section; must be 1.
    ema: from the optim section.
    scales, flip, window: from the eval section; samples must be 0.
    preprocess: a rule of ops.preprocess.
    form: 'fixed': the network has the K classes, and a fake score of 0 stands beside them; 'explicit': it has
      K + 1 outputs, the last one fake.
    conditional: the weakly supervised form: the generator is given the tags of the images without masks, and
      of their pixels the network learns that they are of a class in the tags.
    generator_loss: 'saturating': log p_fake of what it makes is lowered (the paper's); 'non_saturating': that
      -log(1 - p_fake) is; 'features': the squared distance of mean features of generated images to those of
      real ones (Salimans et al. 2016, section 3.1).
    features: the map whose features those are, of the network's `out`; needed by 'features' alone.
    noise: uniform numbers in -1..1 that the generator starts from.
    generator_width: features of its first map.
    labelled_weight: factor of the cross-entropy with masks.
    unlabelled_weight: factor of the loss of real images without masks.
    generated_weight: factor of the loss of generated images.

  Raises:
    ValueError: an unknown rule, or a value outside its range.
  """
  weights = (labelled_weight, unlabelled_weight, generated_weight)
  options = Options(
    preprocess, form, conditional, generator_loss, features, noise, weights, spec.num_classes, ema,
    tuple(scales), flip, tuple(window),
  )  # fmt: skip
  _check(options, accumulate, samples, generator_width)
  if form == 'explicit':
    model = model.clone(num_classes=spec.num_classes + 1)
  networks = Networks(model, generator_width)
  bind = functools.partial
  return Task(
    init=bind(init, networks=networks, tx=tx, options=options),
    train_step=bind(train_step, networks=networks, tx=tx, options=options),
    eval_step=bind(eval_step, networks=networks, options=options),
    statistics_step=bind(statistics_step, networks=networks, options=options),
    predict_step=bind(predict_step, networks=networks, options=options),
    summarise=semantic.summarise,
    best='mean_iu',
    pictures=bind(pictures, networks=networks, options=options),
  )


def _check(options: Options, accumulate: int, samples: int, generator_width: int) -> None:
  for key, value, known in (
    ('preprocess', options.preprocess, tuple(preprocessing.RULES)),
    ('form', options.form, adversarial_losses.FORMS),
    ('generator_loss', options.generator_loss, GENERATOR_LOSSES),
  ):
    if value not in known:
      raise ValueError(f"task.{key} '{value}' is unknown; there are: {', '.join(known)}")
  if (options.generator_loss == 'features') != bool(options.features):
    raise ValueError(
      f"task.features is '{options.features}' and task.generator_loss '{options.generator_loss}': the first "
      "names a map of the network for generator_loss='features', and is '' for the others"
    )
  if accumulate != 1 or samples or options.noise < 1 or generator_width < 4 or min(options.weights) < 0:
    raise ValueError(
      f"task 'semi': optim.accumulate {accumulate}, eval.samples {samples}, noise {options.noise}, "
      f'generator_width {generator_width}, weights {options.weights}; it takes 1, 0, at least 1 and 4, and '
      'none below 0'
    )


def init(
  key: Key,
  image_shape: tuple[int, int, int],
  *,
  networks: Networks,
  tx: optax.GradientTransformation,
  options: Options,
) -> TrainState:
  """The state before the first step, of both networks.

  Raises:
    ValueError: a network cannot take or make the size, or has not the map that task.features names.
  """
  keys = jax.random.split(key)
  found = networks.discriminator.init_with_output(keys[0], jnp.zeros((1, *image_shape)), train=False)
  (_, out), variables = found
  if options.features and options.features not in out:
    raise ValueError(
      f"task.features '{options.features}' is unknown; the network's maps are: {', '.join(out)}"
    )
  generator = networks.generator((image_shape[0], image_shape[1]))
  made = generator.init(keys[1], jnp.zeros((1, inputs(options))), train=False)
  state = {kind: both(variables[kind], made[kind]) for kind in variables}
  for kind in made.keys() - variables.keys():
    state[kind] = both({}, made[kind])
  params = state.pop('params')
  own, others = apart(params)
  opt_state = {'network': tx.init(own), GENERATOR: tx.init({GENERATOR: others})}
  ema = jax.tree.map(jnp.copy, params) if options.ema else {}
  return TrainState(
    step=jnp.zeros((), jnp.int32), params=params, model_state=state, opt_state=opt_state, ema=ema
  )


def train_step(
  state: TrainState, batch: Batch, key: Key, *, networks: Networks, tx: Any, options: Options
) -> tuple[TrainState, Sums]:
  """A step of the network, then one of the generator against the new network; see task.Task.

  Raises:
    ValueError: a batch without images beside those that have masks, or without the tags that are needed.
  """
  needed = ['rest_image', *(['rest_tags'] if options.conditional else [])]
  if not all(name in batch for name in needed):
    what = 'images without masks' if 'rest_image' not in batch else 'tags of the images without masks'
    raise ValueError(
      f"task 'semi' needs {what}: set data.rest_batch_size, and data.subset to strong:K (its rest has "
      'tags) or labelled:F'
    )
  keys = jax.random.split(jax.random.fold_in(key, state.step))
  ways: dict[str, Any] = {'networks': networks, 'tx': tx, 'options': options}
  state, sums = update_network(state, batch, keys[0], **ways)
  state, more = update_generator(state, batch, keys[1], **ways)
  norms = {'grad_norm/all': (jnp.hypot(sums['grad_norm/all'][0], more['grad_norm/all'][0]), jnp.ones(()))}
  # What the loop watches: not finite as soon as either is not.
  loss = (sums['network_loss'][0] + more['generator_loss'][0], jnp.ones(()))
  state = dataclasses.replace(
    state, step=state.step + 1, ema=averaged(state.ema, state.params, options.ema)
  )  # fmt: skip
  return state, {**sums, **more, **norms, 'loss': loss}


def _scores(state: TrainState, image: Array, *, networks: Networks, options: Options) -> jax.Array:
  """Scores [b h w k] of the K classes of 8-bit images under the evaluation protocol."""
  params, _ = apart(state.ema if options.ema else state.params)
  own, _ = states_apart(state.model_state)

  def forward(x: Array) -> jax.Array:
    logits, _ = networks.discriminator.apply({'params': params, **own}, x, train=False)
    return jnp.asarray(logits)[..., : options.classes]

  image = preprocessing.preprocess(image, options.preprocess)
  return protocol.class_scores(
    forward, image, scales=options.scales, flip=options.flip, window=options.window
  )


def eval_step(state: TrainState, batch: Batch, *, networks: Networks, options: Options) -> Sums:
  """{'confusion': [k k]} of one batch over all devices."""
  scores = _scores(state, batch['image'], networks=networks, options=options)
  labels = jnp.where(batch['valid'][:, None, None], batch['labels'], IGNORE_LABEL)
  metric = metrics.MeanIU.from_model_output(logits=scores, labels=labels)
  return psum({'confusion': metric.confusion})


def statistics_step(
  state: TrainState, batch: Batch, key: Key, *, networks: Networks, options: Options
) -> Any:
  """The network's statistics on the images with masks of this batch alone; the generator's as they are."""
  params, _ = apart(state.ema if options.ema else state.params)
  own, theirs = states_apart(state.model_state)
  alone = Networks(networks.discriminator.clone(bn_momentum=0.0), 4)  # forgets at once
  _, _, own = seen(params, own, batch['image'], key, networks=alone, options=options)
  return states_joined(own, theirs)


def predict_step(
  state: TrainState, image: Array, *, networks: Networks, options: Options
) -> dict[str, Array]:
  """{'predictions': uint8 [b h w]}, the class of each pixel; 'fake' is none of them."""
  scores = _scores(state, image, networks=networks, options=options)
  return {'predictions': jnp.argmax(scores, axis=-1).astype(jnp.uint8)}


def pictures(
  state: TrainState, image_shape: tuple[int, int, int], *, networks: Networks, options: Options
) -> dict[str, Array]:
  """{name: uint8 [h w 3]} of what the generator makes at this point, always from the same noise."""
  _, params = apart(state.params)
  _, model_state = states_apart(state.model_state)
  count = options.classes if options.conditional else _PICTURES
  z = jax.random.uniform(jax.random.key(0), (count, options.noise), minval=-1, maxval=1)
  if options.conditional:
    z = jnp.concatenate([z, jnp.eye(count)], axis=1)
  generator = networks.generator((image_shape[0], image_shape[1]))
  image, _ = jax.jit(functools.partial(generator.apply, train=False))({'params': params, **model_state}, z)
  drawn = jnp.round((jnp.asarray(image) + 1) * 127.5).astype(jnp.uint8)
  return {f'generated/{number}': picture for number, picture in enumerate(drawn)}
