"""Optimisers and learning-rate schedules as Torch and Caffe define them, from the `optim` config section.

Departures from the paper forms, all on purpose: weight decay is L2 added to the gradient before anything else
(never decoupled); momentum is v = m v + g, p -= lr v, so that a change of rate acts at once; RMSprop adds
eps outside the root and starts from zero.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from jseg.engine import paths
from jseg.typing import Params

Schedule = Callable[[Any], jax.Array]
Section = Mapping[str, Any] | ml_collections.ConfigDict


@dataclasses.dataclass(frozen=True)
class Options:
  """The keys of the `optim` section; configs/base.py says what each means."""

  name: str = 'sgd'
  lr: float = 0.01
  schedule: str = 'constant'
  warmup: int = 0
  warmup_from: float = 0.0
  power: float = 0.9
  milestones: tuple[int, ...] = ()
  gamma: float = 0.1
  period: int = 1
  momentum: float = 0.9
  nesterov: bool = False
  beta1: float = 0.9
  beta2: float = 0.999
  rho: float = 0.99
  eps: float = 1e-8
  weight_decay: float = 0.0
  groups: tuple[Any, ...] = ()
  accumulate: int = 1  # read by the training step
  ema: float = 0.0  # read by the training step


def schedule(optim: Section, total_steps: int) -> Schedule:
  """The learning rate as a pure function of the number of updates done.

  Args:
    optim: the config section.
    total_steps: updates in the whole run, warm-up included; poly and cosine reach zero there.

  Returns:
    step -> float32 rate: the schedule, times what goes linearly from `warmup_from` to 1 in the first `warmup`
    steps.

  Raises:
    ValueError: an unknown option or schedule, or a value out of range.
  """
  o = _options(optim)
  total = max(total_steps, 1)

  def rate(step: Any) -> jax.Array:
    step = jnp.asarray(step, jnp.float32)
    left = 1 - jnp.clip(step / total, 0, 1)
    factor = {
      'constant': lambda: jnp.ones_like(step),
      'poly': lambda: left**o.power,
      'exponential': lambda: o.gamma ** jnp.floor(step / o.period),
      'cosine': lambda: (1 - jnp.cos(math.pi * left)) / 2,
      'step': lambda: o.gamma ** sum((step >= m).astype(jnp.float32) for m in (math.inf, *o.milestones)),
    }[o.schedule]()
    done = jnp.minimum(step / o.warmup, 1) if o.warmup else 1
    return o.lr * factor * (o.warmup_from + (1 - o.warmup_from) * done)

  return rate


def make(optim: Section, total_steps: int, params: Params) -> optax.GradientTransformation:
  """The optimiser of the config section for these parameters.

  Args:
    optim: the config section. Each of its `groups` is (regular expression, rate factor, decay factor); the
      first that is found in a parameter's path ('encoder/conv1/kernel') counts, otherwise (1, 1) does.
      A rate factor of 0 leaves the parameter as it is, to the bit.
    total_steps: as in `schedule`.
    params: arrays or shapes.

  Returns:
    The transformation; its update needs the parameters.

  Raises:
    ValueError: an unknown option or optimiser, a value out of range, or a group that matches no parameter.
  """
  o = _options(optim)
  rates, decays = _factors(o.groups, list(paths.flatten(params)))

  def decay(updates, params):
    return _by_name(lambda n, g, p: g + o.weight_decay * decays[n] * p, updates, params)

  def scale(updates, params):
    del params
    # Minus zero is what leaves every number alone: plus zero would turn -0 into 0.
    return _by_name(lambda n, u: u * rates[n] if rates[n] else jnp.full_like(u, -0.0), updates)

  return optax.chain(
    optax.stateless(decay) if o.weight_decay else optax.identity(),
    _direction(o),
    optax.scale_by_learning_rate(schedule(optim, total_steps)),
    optax.stateless(scale),
  )


def _options(optim: Section) -> Options:
  known = [field.name for field in dataclasses.fields(Options)]
  for key in optim:
    if key not in known:
      raise ValueError(f"optim option '{key}' is unknown; there are: {', '.join(known)}")
  o = Options(**optim)
  for key, value, choices in (
    ('name', o.name, ('sgd', 'adam', 'rmsprop')),
    ('schedule', o.schedule, ('constant', 'poly', 'step', 'exponential', 'cosine')),
  ):
    if value not in choices:
      raise ValueError(f"optim.{key} '{value}' is unknown; there are: {', '.join(choices)}")
  for key in ('lr', 'warmup', 'weight_decay', 'eps', 'power', 'gamma'):
    if not dataclasses.asdict(o)[key] >= 0:
      raise ValueError(f'optim.{key} must not be negative, got {dataclasses.asdict(o)[key]}')
  for key in ('momentum', 'beta1', 'beta2', 'rho', 'ema'):
    if not 0 <= dataclasses.asdict(o)[key] < 1:
      raise ValueError(f'optim.{key} must be in [0, 1), got {dataclasses.asdict(o)[key]}')
  if not 0 <= o.warmup_from <= 1:
    raise ValueError(f'optim.warmup_from must be in [0, 1], got {o.warmup_from}')
  if o.period < 1:
    raise ValueError(f'optim.period must be at least 1 step, got {o.period}')
  if o.nesterov and o.name != 'sgd':
    raise ValueError(f"optim.nesterov is an option of sgd, not of '{o.name}'; set it to False")
  return o


def _direction(o: Options) -> optax.GradientTransformation:
  momentum = optax.trace(o.momentum, o.nesterov) if o.momentum else optax.identity()
  if o.name == 'sgd':
    return momentum
  if o.name == 'adam':
    return optax.scale_by_adam(o.beta1, o.beta2, o.eps)
  return optax.chain(optax.scale_by_rms(o.rho, o.eps, initial_scale=0.0, eps_in_sqrt=False), momentum)


def _factors(groups: tuple, names: list[str]) -> tuple[dict[str, float], dict[str, float]]:
  """Rate and decay factor of each parameter."""
  rates, decays = dict.fromkeys(names, 1.0), dict.fromkeys(names, 1.0)
  for group in reversed(groups):  # earlier groups overwrite later ones
    try:
      pattern, rate, decay = group
      found = [name for name in names if re.search(pattern, name)]
    except (TypeError, ValueError, re.error) as error:
      raise ValueError(
        f'optim.groups takes (regular expression, rate factor, decay factor), got {group!r} ({error})'
      ) from None
    if not found:
      raise ValueError(f"optim.groups: '{pattern}' matches no parameter; there are: {_some(names)}")
    rates.update(dict.fromkeys(found, float(rate)))
    decays.update(dict.fromkeys(found, float(decay)))
  return rates, decays


def _some(names: list[str]) -> str:
  return ', '.join(names[:4]) + (f', ... ({len(names)} in all)' if len(names) > 4 else '')


def _by_name(f: Callable[..., Any], *trees: Any) -> Any:
  return jax.tree_util.tree_map_with_path(lambda path, *leaves: f(paths.name(path), *leaves), *trees)
