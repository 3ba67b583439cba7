"""The two updates of adversarial training: of the network that segments, and of the generator.

Source: as tasks.semi, which makes a Task of them. A state's trees hold the network's entries by their own
names and the generator's below 'generator'. Gradients are sums over devices of shares that are already
divided by the counts of all: every kind of image has a count of its own.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from jseg.models.generators import dcgan
from jseg.ops import preprocess as preprocessing
from jseg.tasks import adversarial_losses, losses, metrics
from jseg.tasks.task import TrainState, gradient_norms, psum
from jseg.typing import AXIS, IGNORE_LABEL, Array, Batch, Key, Sums

GENERATOR = 'generator'  # of params, statistics and optimiser states: what is not the network's


@dataclasses.dataclass(frozen=True)
class Options:
  """What an adversarial run can choose: as `make` says."""

  preprocess: str
  form: str
  conditional: bool
  generator_loss: str
  features: str
  noise: int
  weights: tuple[float, float, float]  # of the losses of images with masks, without, and generated ones
  classes: int
  ema: float
  scales: tuple[float, ...]
  flip: bool
  window: tuple[int, ...]


class Networks:
  """The two networks of a run; the generator's first map depends on the size of the images."""

  def __init__(self, discriminator: nn.Module, generator_width: int):
    self.discriminator, self._width = discriminator, generator_width

  def generator(self, size: tuple[int, int]) -> dcgan.Generator:
    """That of images of so many rows and columns.

    Raises:
      ValueError: it cannot make this size; says the nearest that it can.
    """
    if any(n % dcgan.STRIDE for n in size):
      near = tuple(max(dcgan.STRIDE, round(n / dcgan.STRIDE) * dcgan.STRIDE) for n in size)
      raise ValueError(
        f'the generator makes sides that {dcgan.STRIDE} divides, not {size[0]}x{size[1]}; set '
        f'data.crop={near}'
      )
    chosen = {
      field.name: getattr(self.discriminator, field.name) for field in dataclasses.fields(self.discriminator)
    }
    start = (size[0] // dcgan.STRIDE, size[1] // dcgan.STRIDE)
    return dcgan.Generator(start, self._width, dtype=chosen['dtype'], axis_name=chosen['axis_name'])


def inputs(options: Options) -> int:
  """How many numbers the generator starts from: noise, and a tag for each class."""
  return options.noise + (options.classes if options.conditional else 0)


def both(network: Mapping[str, Any], generator: Any) -> dict[str, Any]:
  """A tree of both networks."""
  return {**network, GENERATOR: generator}


def apart(tree: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
  """A tree of both networks as (the network's, the generator's)."""
  return {name: value for name, value in tree.items() if name != GENERATOR}, tree[GENERATOR]


def states_apart(model_state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
  """Statistics of both networks as (the network's, the generator's), kind by kind."""
  parts = {kind: apart(tree) for kind, tree in model_state.items()}
  own = {kind: part[0] for kind, part in parts.items() if part[0]}  # a network may keep no statistics
  return own, {kind: part[1] for kind, part in parts.items()}


def states_joined(own: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
  """What states_apart took apart."""
  return {kind: both(own[kind] if kind in own else {}, others[kind]) for kind in others}


def generated(
  params: Any,
  model_state: Any,
  batch: Batch,
  key: Key,
  *,
  networks: Networks,
  options: Options,
) -> tuple[jax.Array, Any]:
  """(8-bit scale images float32 [r h w 3], the generator's new statistics): one for each image of the rest.

  What noise a row gets depends on its place in the batch of all devices, and on the key.
  """
  rows, *size = batch['rest_image'].shape[:3]
  row = jax.lax.axis_index(AXIS) * rows + jnp.arange(rows)
  z = jax.vmap(
    lambda r: jax.random.uniform(jax.random.fold_in(key, r), (options.noise,), minval=-1, maxval=1)
  )(row)
  if options.conditional:
    z = jnp.concatenate([z, batch['rest_tags'].astype(jnp.float32)], axis=1)
  (image, _), state = networks.generator((size[0], size[1])).apply(
    {'params': params, **model_state}, z, train=True, mutable=list(model_state)
  )
  return (image + 1) * 127.5, dict(state)


def seen(
  params: Any, model_state: Any, image: Array, key: Key, *, networks: Networks, options: Options
) -> tuple[Any, Any, Any]:
  """The network in training on images of the 8-bit scale: (logits, maps by name, new statistics)."""
  (logits, out), state = networks.discriminator.apply(
    {'params': params, **model_state},
    preprocessing.RULES[options.preprocess](jnp.asarray(image, jnp.float32)),
    train=True,
    mutable=list(model_state) or ['batch_stats'],
    rngs={'dropout': key},
  )
  return logits, out, dict(state)


def _mean(values: jax.Array) -> tuple[jax.Array, Any]:
  """(this device's share of the mean over all devices, the sum and count that give it)."""
  total, count = values.sum(), jnp.asarray(float(values.size))
  return total / psum(count), (total, count)


def _network_loss(
  params: Any, model_state: Any, batch: Batch, fakes: Array, key: Key, *, networks: Networks, options: Options
) -> tuple[jax.Array, Any]:
  """(this device's share of the loss, (new statistics, sums)).

  Statistics are of real images alone: with masks, then without; those of generated ones move nothing.
  """
  see = functools.partial(seen, params, networks=networks, options=options)
  keys = jax.random.split(key, 3)
  logits, _, model_state = see(model_state, batch['image'], keys[0])
  labels = jnp.where(batch['valid'][:, None, None], batch['labels'], IGNORE_LABEL)
  classed = logits[..., : options.classes]
  # Of images with masks the classes compete with each other and with 'fake' only where it has a score.
  loss, count = losses.cross_entropy(logits, labels, jnp.ones(logits.shape[-1]))
  known = loss / jnp.maximum(psum(count), 1)
  logits, _, model_state = see(model_state, batch['rest_image'], keys[1])
  scores = adversarial_losses.scores(logits, options.form)
  if options.conditional:
    real, real_sums = _mean(adversarial_losses.tagged(scores, batch['rest_tags']))
  else:
    real, real_sums = _mean(adversarial_losses.real(scores))
  logits, _, _ = see(model_state, fakes, keys[2])
  fake, fake_sums = _mean(adversarial_losses.fake(adversarial_losses.scores(logits, options.form)))
  metric = metrics.MeanIU.from_model_output(logits=classed, labels=labels)
  sums = {
    'labelled_loss': (loss, count), 'unlabelled_loss': real_sums, 'generated_loss': fake_sums,
    'confusion': metric.confusion,
  }  # fmt: skip
  shares = [factor * value for factor, value in zip(options.weights, (known, real, fake), strict=True)]
  return sum(shares, jnp.zeros(())), (model_state, sums)


def update_network(
  state: TrainState, batch: Batch, key: Key, *, networks: Networks, tx: Any, options: Options
) -> tuple[TrainState, Sums]:
  """One step of the network alone; the generator, its statistics and its optimiser stay bit for bit."""
  params, others = apart(state.params)
  model_state, their_state = states_apart(state.model_state)
  keys = jax.random.split(key)
  fakes, _ = generated(others, their_state, batch, keys[0], networks=networks, options=options)
  bound = functools.partial(_network_loss, networks=networks, options=options)
  (loss, (model_state, sums)), grads = jax.value_and_grad(bound, has_aux=True)(
    params, model_state, batch, jax.lax.stop_gradient(fakes), keys[1]
  )
  grads, sums = psum((grads, {**sums, 'network_loss': loss}))
  sums['network_loss'] = (sums['network_loss'], jnp.ones(()))
  updates, own = tx.update(grads, state.opt_state['network'], params)
  moved: Any = optax.apply_updates(params, updates)
  state = dataclasses.replace(
    state,
    params=both(moved, others),
    model_state=states_joined(model_state, their_state),
    opt_state={**state.opt_state, 'network': own},
  )
  return state, {**sums, **gradient_norms(grads)}


def _generator_loss(
  others: Any,
  their_state: Any,
  params: Any,
  model_state: Any,
  batch: Batch,
  key: Key,
  *,
  networks: Networks,
  options: Options,
) -> tuple[jax.Array, Any]:
  """(this device's share of what is differentiated, (the generator's statistics, this share of the loss))."""
  keys = jax.random.split(key, 3)
  fakes, their_state = generated(others, their_state, batch, keys[0], networks=networks, options=options)
  see = functools.partial(seen, params, model_state, networks=networks, options=options)
  logits, out, _ = see(fakes, keys[1])
  if options.generator_loss != 'features':
    scores = adversarial_losses.scores(logits, options.form)
    saturating = options.generator_loss == 'saturating'
    share, _ = _mean(-adversarial_losses.fake(scores) if saturating else adversarial_losses.real(scores))
    return share, (their_state, share)
  _, real, _ = see(batch['rest_image'], keys[2])

  def total(maps: Mapping[str, Array]) -> tuple[jax.Array, jax.Array]:
    features = jnp.asarray(maps[options.features], jnp.float32)
    return features.sum((0, 1, 2)), psum(jnp.asarray(float(features[..., 0].size)))

  (made, count), (wanted, count_real) = total(out), total(real)
  # The square is of a mean over all devices, so that each one's gradient is of its sum times what is common.
  still_made, wanted = jax.lax.stop_gradient((made, wanted))
  off = psum(still_made) / count - psum(wanted) / count_real
  share = jnp.square(off).sum() / jax.lax.axis_size(AXIS)
  return (made / count * 2 * off).sum(), (their_state, share)


def update_generator(
  state: TrainState, batch: Batch, key: Key, *, networks: Networks, tx: Any, options: Options
) -> tuple[TrainState, Sums]:
  """One step of the generator alone; the network, its statistics and its optimiser stay bit for bit."""
  params, others = apart(state.params)
  model_state, their_state = states_apart(state.model_state)
  bound = functools.partial(_generator_loss, networks=networks, options=options)
  (_, (their_state, loss)), grads = jax.value_and_grad(bound, has_aux=True)(
    others, their_state, params, model_state, batch, key
  )
  grads, loss = psum(({GENERATOR: grads}, loss))
  updates, own = tx.update(grads, state.opt_state[GENERATOR], {GENERATOR: others})
  moved: Any = optax.apply_updates({GENERATOR: others}, updates)
  state = dataclasses.replace(
    state,
    params=both(params, moved[GENERATOR]),
    model_state=states_joined(model_state, their_state),
    opt_state={**state.opt_state, GENERATOR: own},
  )
  return state, {'generator_loss': (loss, jnp.ones(())), **gradient_norms(grads)}
