"""From names in a config to modules, and from sections to constructor arguments.

A name is a file name: `model.name = 'unet'` is jseg/models/unet.py. This is the only place that imports
by name; a wrong name, option or key says what exists.
"""

import contextlib
import copy
import difflib
import functools
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jseg import models, tasks
from jseg.data import builders, mixture, stats, subsets
from jseg.engine import optimizers, parallel
from jseg.tasks.task import Task
from jseg.typing import AXIS, Config

# What a network computes in, by model.dtype; parameters, statistics, logits and losses stay float32.
_DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}

# What a file must define to be found; other files of the room are its parts.
_ROOMS = {'model': (models, 'Model'), 'task': (tasks, 'make'), 'data': (builders, 'open_split')}


def names(room: str) -> list[str]:
  """The names a config may use for 'model', 'task' or 'data'."""
  package, attribute = _ROOMS[room]
  found = []
  for info in pkgutil.iter_modules(package.__path__):
    if not info.ispkg and hasattr(importlib.import_module(f'{package.__name__}.{info.name}'), attribute):
      found.append(info.name)
  return sorted(found)


def module(room: str, name: str) -> ModuleType:
  """The module a name stands for.

  Raises:
    ValueError: no such file; says what exists and what is nearest.
  """
  package, attribute = _ROOMS[room]
  if name.isidentifier() and importlib.util.find_spec(f'{package.__name__}.{name}') is not None:
    found = importlib.import_module(f'{package.__name__}.{name}')
    if hasattr(found, attribute):
      return found
  raise ValueError(
    f"{room}.name '{name}' is unknown{nearest(name, names(room))}; there are: {', '.join(names(room))}"
  )


def nearest(word: str, known: list[str]) -> str:
  """' (did you mean x?)', or '' when nothing is like it."""
  close = difflib.get_close_matches(word, known, n=1)
  return f' (did you mean {close[0]}?)' if close else ''


def options(section: Config | Mapping[str, Any]) -> dict[str, Any]:
  """A section as keyword arguments: everything but its name, lists turned to tuples (JSON has no tuples)."""
  return {key: as_tuple(value) for key, value in section.items() if key != 'name'}


def as_tuple(value: Any) -> Any:
  """Lists and tuples, however nested, as tuples."""
  return tuple(as_tuple(v) for v in value) if isinstance(value, (list, tuple)) else value


def construct(function: Callable, section: str, chosen: Mapping[str, Any], **given) -> Any:
  """function(**chosen, **given); `chosen` comes from a section of the config.

  Raises:
    ValueError: an option the function does not have, or one that is not the config's to set.
  """
  allowed = [p for p in inspect.signature(function).parameters if p not in (*given, 'parent', 'name', 'self')]
  for key in chosen:
    if key not in allowed:
      raise ValueError(
        f"{section} has no option '{key}'{nearest(key, allowed)}; there are: {', '.join(allowed) or 'none'}"
      )
  return function(**chosen, **given)


def model(config: Config, num_classes: int) -> Any:
  """The network of a config, with the device axis set for its BatchNorm and dropout."""
  constructor = module('model', config.model.name).Model
  given, chosen = {'num_classes': num_classes, 'axis_name': AXIS}, options(config.model)
  if 'dtype' in chosen:
    if chosen['dtype'] not in _DTYPES:
      raise ValueError(f"model.dtype '{chosen['dtype']}' is unknown; there are: {', '.join(_DTYPES)}")
    chosen['dtype'] = _DTYPES[chosen['dtype']]
  return construct(constructor, f"model '{config.model.name}'", chosen, **given)


def complete(config: Config, names: Mapping[str, str]) -> Config:
  """A copy whose sections have every option of what they are for, at its default where the config is silent.

  These are model, task and data.options: what a config file does not mention can be overridden too.

  Args:
    config: as its file gives it.
    names: of what is chosen in place of the config's: {'model': name, 'task': name, 'data': name} or fewer.

  Raises:
    ValueError: there is no such name.
  """
  config = copy.deepcopy(config)
  for room, section in (('model', config.model), ('task', config.task), ('data', config.data.options)):
    there = config.data.name if room == 'data' else section.name
    with section.unlocked():
      for key, value in defaults(room, names[room] if room in names else there).items():
        if key not in section:
          section[key] = value
  return config


def defaults(room: str, name: str) -> dict[str, Any]:
  """The options of a 'model', 'task' or 'data' that have a default which a config can say, and that default.

  Raises:
    ValueError: there is no such name.
  """
  function = getattr(module(room, name), _ROOMS[room][1])
  found = {key: _default(parameter) for key, parameter in inspect.signature(function).parameters.items()}
  return {
    key: value for key, value in found.items() if value is not None and key not in ('source', 'directory')
  }


def _default(parameter: inspect.Parameter) -> Any:
  """What a config says for an option's default; None if it has none, or none that a config can say."""
  value = parameter.default
  if parameter.name == 'dtype':
    return next((name for name, dtype in _DTYPES.items() if dtype is value), None)
  if value is not None and parameter.annotation in (float, 'float'):
    return None if value is parameter.empty else float(value)
  return value if type(value) in (bool, int, float, str, tuple) else None


def task(config: Config, spec: Any, image_shape: tuple[int, int, int]) -> Task:
  """The task of a config: network, optimiser and options bound to its pure functions.

  Args:
    config: the run's.
    spec: the dataset's specification.
    image_shape: (h, w, channels) of training images; parameters are shaped by the channels, and a size
      the network cannot take fails here, before anything compiles.

  Raises:
    ValueError: an unknown name or option, or a size the network cannot take.
  """
  make = module('task', config.task.name).make
  network = model(config, spec.num_classes)
  build = functools.partial(
    construct,
    make,
    f"task '{config.task.name}'",
    options(config.task),
    model=network,
    spec=spec,
    accumulate=config.optim.accumulate,
    ema=config.optim.ema,
    scales=as_tuple(config.eval.scales),
    flip=config.eval.flip,
    window=as_tuple(config.eval.window),
    samples=config.eval.samples,
  )
  # What is learned is the task's to say: a part of the network, or another one beside it.
  without = build(tx=optax.identity())
  shapes = jax.eval_shape(lambda key: without.init(key, image_shape), jax.random.key(0)).params
  tx = optimizers.make(options(config.optim) | {'name': config.optim.name}, config.train.steps, shapes)
  return build(tx=tx)


def measuring(config: Config) -> ModuleType:
  """The file of jseg/engine that batches and measures what the config's task learns.

  That is evaluate, or what the task's file names as MEASURED_BY. Each has feed, image_size, random_batch,
  Evaluator, table, whereabouts, write and overlays.
  """
  found = module('task', config.task.name)
  name = found.MEASURED_BY if hasattr(found, 'MEASURED_BY') else 'evaluate'
  return importlib.import_module(f'jseg.engine.{name}')


def preprocess(config: Config) -> str:
  """The task.preprocess in force, also where the config leaves it at its default; '' if the task has none."""
  parameters = inspect.signature(module('task', config.task.name).make).parameters
  if 'preprocess' not in parameters:
    return ''
  return config.task.preprocess if 'preprocess' in config.task else parameters['preprocess'].default


def opening(config: Config) -> contextlib.AbstractContextManager[None]:
  """What splits of the config's data are opened in: its policy for faulty pairs; one listing serves all.

  Raises:
    ValueError: there is no such policy.
  """
  from jseg.data import prepare, verify  # TFDS comes with it: half a second that other doors need not wait

  policy = verify.Policy(config.data.bad_sample, config.data.max_bad_fraction)
  return prepare.session(policy.check())


def source(config: Config, split: str) -> Any:
  """The random-access source of one split, prepared first if config.data.source asks for it.

  Raises:
    ValueError: unknown dataset, split or option; data missing or damaged.
  """
  opener = module('data', config.data.name).open_split
  with opening(config):
    return construct(
      opener,
      f"data.options of '{config.data.name}'",
      options(config.data.options),
      split=split,
      source=config.data.source,
      directory=config.data.dir,
    )


def train_source(config: Config) -> Any:
  """The source of the training split, or of the images of it that data.subset leaves their masks.

  With data.rest_batch_size a mixture.Mixture of them and the rest; with data.truth='tags' all without masks.

  Raises:
    ValueError: as `source`; or the split cannot give such a subset, or the three contradict each other.
  """
  data = config.data
  whole = source(config, data.train_split)
  if data.truth not in subsets.TRUTHS:
    raise ValueError(f"data.truth '{data.truth}' is unknown; there are: {', '.join(subsets.TRUTHS)}")
  if data.tags and data.truth == 'labels' and not data.rest_batch_size:
    raise ValueError(
      f"data.tags is '{data.tags}', but no image without a mask is used; set data.truth='tags', or "
      'data.subset and data.rest_batch_size'
    )
  if data.truth == 'tags':
    if data.subset or data.rest_batch_size:
      raise ValueError(
        f"data.truth is 'tags', so that no image has a mask to keep, but data.subset is '{data.subset}' and "
        f"data.rest_batch_size {data.rest_batch_size}; leave them at '' and 0"
      )
    every = np.arange(len(whole))
    if data.tags:
      unmasked = subsets.Subset(whole, every, num_classes=spec(config).num_classes, truth='nothing')
      return _tagged(config, unmasked)
    return subsets.Subset(whole, every, num_classes=spec(config).num_classes, truth='tags')
  if not data.subset:
    if data.rest_batch_size:
      raise ValueError(
        f'data.rest_batch_size is {data.rest_batch_size}, but without data.subset every image keeps its mask '
        'and there is no rest; set data.subset (as labelled:1/8), or 0'
      )
    return whole
  kept, rest = subsets.divide(whole, spec(config), data.subset, data.subset_seed)
  if not data.rest_batch_size:
    return kept
  parallel.check_batch(data.rest_batch_size, 'data.rest_batch_size')
  kept, rest = ((_tagged(config, part) if data.tags else part) for part in (kept, rest))
  return mixture.Mixture(kept, rest, data.rest_batch_size)


def _tagged(config: Config, source: Any) -> Any:
  return mixture.Tagged(source, mixture.read_tags(config.data.tags), spec(config).classes)


def training_spec(config: Config) -> Any:
  """The specification as `spec` gives it, once it has the figures that the config's class weights need.

  Raises:
    ValueError: as `spec`; or these figures cannot be had, see data.stats.weighed.
  """
  found = spec(config)
  if 'class_weights' not in config.task:
    return found
  return stats.weighed(found, config.task.class_weights, lambda: train_source(config))


def spec(config: Config) -> Any:
  """The specification of the config's dataset.

  Raises:
    ValueError: unknown dataset or protocol; or the specification depends on files, which are missing or at
      fault.
  """
  data = config.data
  return dataset_spec(data.name, options(data.options), source=data.source, directory=data.dir)


def dataset_spec(
  name: str, chosen: Mapping[str, Any] | None = None, *, source: str = '', directory: str = ''
) -> Any:
  """The specification of a dataset.

  A builder with several protocols, or whose classes its files state, has `spec_of`, which takes those of
  open_split's arguments that it depends on.

  Args:
    name: its file in jseg/data/builders.
    chosen: options of its open_split.
    source: as open_split takes it.
    directory: as open_split takes it.

  Raises:
    ValueError: as `spec`.
  """
  found = module('data', name)
  if not hasattr(found, 'spec_of'):
    return found.SPEC
  given = {**(chosen or {}), 'source': source, 'directory': directory}
  takes = inspect.signature(found.spec_of).parameters
  return found.spec_of(**{key: value for key, value in given.items() if key in takes})
