"""Starting from weights that exist: what was loaded, what was not, and why."""

import copy
import dataclasses
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

import jax
import numpy as np

from jseg.convert import converted, files, hub
from jseg.engine import checkpoint, paths, resolve
from jseg.tasks.task import Task, TrainState
from jseg.typing import Config

# (height, width) by which a network is shaped where the config says none: parameters do not depend on it.
_SIZE = (360, 480)


def init_from(
  path: str,
  state: TrainState,
  *,
  entry: Collection[str] = (),
  classes: int = 0,
  ids: Sequence[int] = (),
  preprocess: str = '',
) -> tuple[TrainState, list[str]]:
  """A fresh state with every array that fits it by name and shape.

  The weights of a classifier fill the network's `encoder` (and FCN's fc6 and fc7): they have these names.
  Where the image has other channels than theirs, the first kernel is adapted: one channel gets the sum over
  theirs (a grey image in all of them gives the same); of more channels the first keep theirs and each of the
  others gets the mean. Where theirs count the classes as the data's owners do, gaps included (torchvision's
  detectors have 91 for COCO's 80 and the background), those that there are get their own.

  Args:
    path: a workdir of ours, its checkpoints folder or one step's, a folder that jseg.convert wrote, a file
      of others' weights (see convert.files) whose names are known (see convert.sources), or
      hf:<owner>/<repo>[/<file>].
    state: as the task initialised it.
    entry: names of the kernels that see the image, see entry_kernels.
    classes: how many the network has, to tell what was re-initialised for that.
    ids: by class, its number in the owners' files, see owner_ids.
    preprocess: the task.preprocess of this run; another one than the weights expect is warned of.

  Returns:
    (state, report): a summary, the expected input, and then one line for each array: re-initialised (not
    there, or of another shape: a head for other classes), adapted, unused, loaded.

  Raises:
    ValueError: there are no such weights, they cannot be read, or not one array fits.
  """
  state, report, lines = _filled(path, state, entry, classes, ids, preprocess)
  counts = {word: len(part) for word, part in report.items()}
  head = f"init_from '{path}': loaded {counts['loaded'] + counts['adapted']} of "
  head += f'{sum(counts.values()) - counts["unused"]} arrays, {counts["adapted"]} of them adapted; '
  head += f'{counts["unused"]} unused'
  return state, [head, *lines, *(f'  {word} {line}' for word, part in report.items() for line in part)]


def whole(config: Config, spec: Any) -> tuple[Task, TrainState, list[str]]:
  """A config's task with the weights that its `init_from` names: to measure or predict with as they are.

  Args:
    config: of the network that these weights are of.
    spec: the dataset's specification, of as many classes as they know.

  Returns:
    (task, state on the host, what there is to say of where the weights are from).

  Raises:
    ValueError: as `init_from`; or they leave some of the network without weights.
  """
  config = _learning_nothing(config)
  height, width = resolve.measuring(config).image_size(config) or _SIZE
  shape = height, width, 3
  task = resolve.task(config, spec, shape)
  template = jax.eval_shape(lambda key: task.init(key, shape), jax.random.key(0))
  blank = jax.tree.map(
    lambda x: np.zeros(x.shape, x.dtype), dataclasses.replace(template, opt_state=(), ema={})
  )
  state, report, lines = _filled(
    config.init_from,
    blank,
    entry_kernels(task, shape, template),
    spec.num_classes,
    owner_ids(spec),
    resolve.preprocess(config),
  )
  if lacking := report['re-initialised']:
    raise ValueError(
      f"init_from '{config.init_from}' leaves {len(lacking)} of {len(_arrays(state))} arrays without any, "
      f'the first is {lacking[0]}; name a config of the same network, options and classes, or train it'
    )
  return task, dataclasses.replace(state, ema=state.params), lines


def _filled(
  path: str,
  state: TrainState,
  entry: Collection[str],
  classes: int,
  ids: Sequence[int],
  preprocess: str,
) -> tuple[TrainState, dict[str, list[str]], list[str]]:
  """(the state with every array that fits, {what became of them: a line for each}, lines on their source)."""
  found, lines = _found(path, preprocess)
  wanted = _arrays(state)
  taken, report = {}, {'re-initialised': [], 'adapted': [], 'unused': [], 'loaded': []}
  for name, value in wanted.items():
    if name not in found:
      report['re-initialised'].append(f'{name}: not in the checkpoint')
      continue
    array, shapes = np.asarray(found[name]), f'{found[name].shape} there, {value.shape} here'
    if array.shape == value.shape:
      report['loaded'].append(f'{name} {value.shape}')
      taken[name] = np.array(array, value.dtype)
    elif name in entry and (adapted := _adapted(array, value.shape)) is not None:
      report['adapted'].append(f'{name}: {shapes}; another number of image channels')
      taken[name] = np.array(adapted, value.dtype)
    elif (chosen := _chosen(array, value.shape, ids)) is not None:
      report['adapted'].append(f"{name}: {shapes}; its classes are numbered as the data's owners do")
      taken[name] = np.array(chosen, value.dtype)
    else:
      why = '; another number of classes' if _of_classes(array.shape, value.shape, classes) else ''
      report['re-initialised'].append(f'{name}: {shapes}{why}')
  if not taken:
    raise ValueError(
      f"init_from '{path}': none of its {len(found)} arrays fits this network; is it another network's?"
    )
  report['unused'] = [name for name in found if name not in wanted]
  merged = paths.unflatten({'params': state.params, 'model_state': state.model_state}, {**wanted, **taken})
  ema = jax.tree.map(np.array, merged['params']) if state.ema else {}
  state = dataclasses.replace(state, params=merged['params'], model_state=merged['model_state'], ema=ema)
  return state, report, lines


def entry_kernels(task: Task, image_shape: tuple[int, int, int], state: TrainState) -> set[str]:
  """The names of the kernels that see the image: those with one more input for one more image channel.

  Args:
    task: gives the shapes for other images.
    image_shape: (h, w, channels).
    state: as initialised for it; shapes suffice.
  """
  channels = image_shape[-1]
  wider = _arrays(
    jax.eval_shape(lambda key: task.init(key, image_shape[:-1] + (channels + 1,)), jax.random.key(0))
  )
  return {
    name
    for name, value in _arrays(state).items()
    if value.shape[-2:-1] == (channels,)
    and wider[name].shape == (*value.shape[:-2], channels + 1, value.shape[-1])
  }


def trained(
  config: Config, spec: Any, workdir: pathlib.Path, which: str
) -> tuple[Task, TrainState, dict[str, Any]]:
  """A run's task and weights (averaged ones where it kept some), to predict with but not to train on.

  Args:
    config: the one the run was trained with.
    spec: the dataset's specification.
    workdir: of the run.
    which: 'best' or 'latest'.

  Returns:
    (task, state on the host, the checkpoint's meta: 'step' and 'image_shape').

  Raises:
    ValueError: there is no good checkpoint, or it is another network's.
  """
  config = _learning_nothing(config)
  params, model_state, meta = checkpoint.restore_params(workdir, which)
  shape = tuple(meta['image_shape'])
  task = resolve.task(config, spec, shape)
  template = jax.eval_shape(lambda key: task.init(key, shape), jax.random.key(0))
  found = paths.flatten({'params': params, 'model_state': model_state})
  wanted = _arrays(template)
  for name in sorted(found.keys() | wanted.keys()):
    there, here = (tree[name].shape if name in tree else 'nothing' for tree in (found, wanted))
    if there != here:
      raise ValueError(
        f'the checkpoint in {workdir} is of another network: {name} is {there} there, {here} here; '
        'take the config it was trained with'
      )
  step = np.asarray(meta['step'], np.int32)
  state = TrainState(step=step, params=params, model_state=model_state, opt_state=(), ema=params)
  return task, state, meta


def _learning_nothing(config: Config) -> Config:
  """A copy that asks for no class weights: the file that they came from may be gone."""
  config = copy.deepcopy(config)
  if 'class_weights' in config.task:
    config.task.class_weights = 'none'
  return config


def _found(path: str, preprocess: str) -> tuple[dict[str, Any], list[str]]:
  """The arrays of `path` by our names, and what to say of where they are from."""
  place = pathlib.Path(path).expanduser()
  if folder := converted.find(place):
    arrays, record = converted.read(folder)
    return arrays, _expectation(record['source'], record['preprocess'], preprocess)
  if path.startswith(hub.PREFIX) or (place.suffix in files.SUFFIXES and not place.is_dir()):
    _, source, arrays = converted.load(path)
    return arrays, _expectation(source.names[0], source.preprocess, preprocess)
  params, model_state, _ = checkpoint.restore_params(place)
  return paths.flatten({'params': params, 'model_state': model_state}), []


def _expectation(source: str, theirs: str, ours: str) -> list[str]:
  if not theirs:
    return [f'  weights of {source}; what input they expect is not known: see to task.preprocess']
  lines = [f"  weights of {source}, which expect task.preprocess='{theirs}'"]
  if ours and ours != theirs:
    lines.append(f"  warning: task.preprocess is '{ours}' here")
  return lines


def _adapted(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
  """The kernel [... cin cout] for other image channels, None where it cannot be adapted to that shape."""
  given, wanted = kernel.shape[-2], shape[-2]
  if (*kernel.shape[:-2], kernel.shape[-1]) != (*shape[:-2], shape[-1]):
    return None
  if wanted == 1:
    return kernel.sum(-2, keepdims=True, dtype=np.float32)
  if wanted > given:
    mean = kernel.mean(-2, keepdims=True, dtype=np.float32)
    return np.concatenate([kernel, np.repeat(mean, wanted - given, axis=-2)], axis=-2)
  return None


def _chosen(array: np.ndarray, shape: tuple[int, ...], ids: Sequence[int]) -> np.ndarray | None:
  """Of an array that has a place for every number up to the greatest of `ids`, those of `ids`."""
  count, highest = len(ids), max(ids, default=-1) + 1
  axes = [i for i, (a, b) in enumerate(zip(array.shape, shape, strict=False)) if a != b]
  if highest == count or len(axes) != 1 or array.ndim != len(shape):
    return None
  (axis,) = axes
  each, left = divmod(shape[axis], count)  # values of a class, side by side
  if left or array.shape[axis] != each * highest:
    return None
  split = array.reshape(*array.shape[:axis], highest, each, *array.shape[axis + 1 :])
  return split.take(ids, axis).reshape(shape)


def owner_ids(spec: Any) -> tuple[int, ...]:
  """By class, its number in the data owners' files; empty where several of theirs are one class."""
  try:
    return spec.written_ids()
  except ValueError:
    return ()


def _of_classes(there: tuple[int, ...], here: tuple[int, ...], classes: int) -> bool:
  """Whether two shapes differ just where this network has its number of classes."""
  if len(there) != len(here):
    return False
  differing = {(a, b) for a, b in zip(there, here, strict=True) if a != b}
  return len(differing) == 1 and next(iter(differing))[1] == classes


def _arrays(state: TrainState) -> dict[str, Any]:
  """Parameters and statistics of a state, or of its shapes, by name."""
  return paths.flatten({'params': state.params, 'model_state': state.model_state})
