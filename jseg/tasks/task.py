"""What a kind of training is: a Task, its state, and the one rule by which gradients leave the devices.

A Task is a record of pure functions. The train loop calls them and never looks inside a batch, a state or
a sum: that is what lets semantic, instance, decoupled and adversarial training share one loop. A new kind
of training is a new file with a `make` that returns a Task.

Reduction: every device returns sums and counts; both are psummed and divided once. A mean of per-device
means would make the result depend on the device count as soon as void pixels are spread unequally.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jseg.ops import collectives
from jseg.typing import AXIS, Array, Batch, Key, Params, Sums


@flax.struct.dataclass
class TrainState:
  """All that training carries from step to step; each field but the first is any pytree.

  step: int32 [], steps done. params: weights. model_state: BatchNorm statistics and the like.
  opt_state: the optimiser's. ema: averaged weights, or {} when averaging is off.
  """

  step: Any  # an array in training, a shape in a template
  params: Params
  model_state: Any
  opt_state: Any
  ema: Any


class Task(NamedTuple):
  """The functions of one kind of training; the three steps run under the device axis.

  init(key, image_shape) -> TrainState; image_shape is (h, w, channels).
  train_step(state, batch, key) -> (state, sums); `key` is the run's, the same for every step.
  eval_step(state, batch) -> sums; of instances what was found in each row of the global batch.
  statistics_step(state, batch, key) -> model_state of this batch alone (BatchNorm recalibration).
  predict_step(state, image uint8 [b h w 3]) -> {name: array [b ...]}; needs no device axis. Of instances also
  the size int32 [b 2] of what is image.
  summarise(sums) -> {name: float}, on the host in float64.
  best: the score by which one checkpoint is better than another (higher).
  pictures(state, image_shape) -> {name: uint8 [h w 3]}: what the state shows by itself; None where nothing.
  """

  init: Callable[[Key, tuple[int, int, int]], TrainState]
  train_step: Callable[[TrainState, Batch, Key], tuple[TrainState, Sums]]
  eval_step: Callable[[TrainState, Batch], Sums]
  statistics_step: Callable[[TrainState, Batch, Key], Any]
  predict_step: Callable[..., dict[str, Array]]
  summarise: Callable[[Mapping[str, Any]], dict[str, float]]
  best: str
  pictures: Callable[[TrainState, tuple[int, int, int]], dict[str, Array]] | None = None


def psum(tree: Any) -> Any:
  """The sum of a pytree over all devices of all processes."""
  return collectives.psum(tree, AXIS)


def summed_gradient(loss_fn: Callable, params: Params, model_state: Any, batch: Batch, key: Key, parts: int):
  """Gradient of the mean loss over all devices, from per-device sums.

  Args:
    loss_fn: (params, model_state, batch, key) -> (loss sum, (count, model_state, sums)).
    params: what the gradient is taken for.
    model_state: carried from part to part.
    batch: arrays [b ...] of this device.
    key: folded with the part's number.
    parts: micro-batches run one after the other to save memory; their sums and counts add up, so the
      result equals one large batch wherever the network has no batch statistics.

  Returns:
    (gradient, model_state, {'loss': (sum, count), **sums}), all reduced over the devices.
  """
  grad_fn = jax.value_and_grad(loss_fn, has_aux=True)

  def part(carry, item):
    model_state, number = carry
    (loss, (count, model_state, sums)), grads = grad_fn(
      params, model_state, item, jax.random.fold_in(key, number)
    )
    return (model_state, number + 1), (grads, {'loss': (loss, count), **sums})

  if parts == 1:
    (model_state, _), (grads, sums) = part((model_state, 0), batch)
  else:
    pieces = jax.tree.map(lambda x: x.reshape(parts, x.shape[0] // parts, *x.shape[1:]), batch)
    (model_state, _), stacked = jax.lax.scan(part, (model_state, 0), pieces)
    grads, sums = jax.tree.map(lambda x: x.sum(0), stacked)
  grads, sums = psum((grads, sums))
  count = jnp.maximum(sums['loss'][1], 1e-12)  # a batch of nothing but void has no gradient, not a NaN
  return jax.tree.map(lambda g: g / count.astype(g.dtype), grads), model_state, sums


def begun(variables: Mapping[str, Any], *, tx: optax.GradientTransformation, ema: float) -> TrainState:
  """The state before the first step of a network with these variables; `ema` as `descended` takes it."""
  model_state = dict(variables)
  params = model_state.pop('params')
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    model_state=model_state,
    opt_state=tx.init(params),
    ema=jax.tree.map(jnp.copy, params) if ema else {},
  )


def descended(
  state: TrainState,
  loss_fn: Callable,
  batch: Batch,
  key: Key,
  *,
  tx: optax.GradientTransformation,
  accumulate: int,
  ema: float,
) -> tuple[TrainState, Sums]:
  """A whole optimisation step down the mean of one loss: what most tasks' train_step is.

  Args:
    state: before the step.
    loss_fn: as summed_gradient takes it.
    batch: arrays [b ...] of this device.
    key: the run's; folded with the step's number.
    tx: the optimiser.
    accumulate: micro-batches.
    ema: decay of the averaged weights, 0 for none.

  Returns:
    (the state after it, the loss's sums and the gradient's norms).
  """
  key = jax.random.fold_in(key, state.step)
  grads, model_state, sums = summed_gradient(loss_fn, state.params, state.model_state, batch, key, accumulate)
  updates, opt_state = tx.update(grads, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  state = TrainState(
    step=state.step + 1,
    params=params,
    model_state=model_state,
    opt_state=opt_state,
    ema=averaged(state.ema, params, ema),
  )
  return state, {**sums, **gradient_norms(grads)}


def gradient_norms(grads: Params) -> Sums:
  """{'grad_norm/<path>': (norm, 1)} for each layer (the arrays below one module), and for all together."""
  squares: dict[str, jax.Array] = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
    name = '/'.join(str(p.key) for p in path[:-1])
    squares[name] = squares.setdefault(name, jnp.zeros(())) + jnp.sum(jnp.square(leaf.astype(jnp.float32)))
  squares['all'] = sum(squares.values(), jnp.zeros(()))
  return {f'grad_norm/{name}': (jnp.sqrt(square), jnp.ones(())) for name, square in squares.items()}


def means(sums: Mapping[str, Any]) -> dict[str, float]:
  """Every (sum, count) among the sums divided, on the host in float64; a count of 0 gives 0."""
  return {
    name: float(np.float64(value[0]) / max(np.float64(value[1]), 1e-12))
    for name, value in sums.items()
    if isinstance(value, tuple)
  }


def averaged(ema: Any, params: Params, decay: float) -> Any:
  """The averaged weights after a step: decay * ema + (1 - decay) * params; {} when decay is 0."""
  if decay == 0:
    return {}
  return jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, ema, params)
