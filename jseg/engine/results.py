"""What others published and what runs measured: read from config files and workdirs, and set side by side.

A figure of a run is compared with a published one only where both are of the same dataset, split and number
of scales; whatever else a run did otherwise than its config is said beside it.
"""

import dataclasses
import json
import pathlib
import runpy
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ml_collections

from jseg.engine import resolve, workdirs
from jseg.typing import Config

# What two runs may do differently and still be of one recipe: chance, places and how often something is told.
_ALIKE = frozenset(
  'seed resume init_from data.subset_seed data.source data.dir data.threads data.prefetch train.log_every '
  'train.save_every train.keep eval.split eval.every eval.batch_size eval.overlays'.split()
)

# What a result's protocol says, and the key of a config that asks for it.
_MEASURING = {key: f'eval.{key}' for key in ('scales', 'flip', 'window', 'samples')}
_MEASURING |= {
  'short': 'instances.test_short',
  'longest': 'instances.longest',
  'buckets': 'instances.buckets',
}


@dataclasses.dataclass(frozen=True)
class Recipe:
  """A config file: its name, what it says, completed (resolve.complete), and the rows of its PUBLISHED."""

  name: str
  config: Config
  published: tuple[Mapping[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class Run:
  """One result of one workdir, beside the recipe that the run is nearest to.

  Attributes:
    workdir: its folder.
    config: of the run.
    recipe: None where no config file is of its network, dataset and task.
    departures: 'key value (the recipe's)' for whatever was done otherwise.
    alike: whether it was measured as the recipe says, the scales aside.
    step: of the checkpoint.
    protocol: as the result file gives it.
    scores: percent, by the names of the result file.
  """

  workdir: str
  config: Config
  recipe: Recipe | None
  departures: tuple[str, ...]
  alike: bool
  step: int
  protocol: Mapping[str, Any]
  scores: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Row:
  """A line of a table.

  Attributes:
    recipe: the config's name.
    split: of the dataset, or 'server'.
    scores: percent.
    source: where a published line stands; of a measured one what it is.
    measured: which of both it is.
    spread: of several runs, the standard deviation of each score; empty for one.
    differences: to the published line that this one is compared with, percent points.
  """

  recipe: str
  split: str
  scores: Mapping[str, float]
  source: str
  measured: bool = False
  spread: Mapping[str, float] = dataclasses.field(default_factory=dict)
  differences: Mapping[str, float] = dataclasses.field(default_factory=dict)


def recipes(folder: str) -> list[Recipe]:
  """The config files of a folder, by name.

  Raises:
    ValueError: there are none.
  """
  found = []
  for path in sorted(pathlib.Path(folder).glob('*.py')):
    contents = runpy.run_path(str(path))
    if 'get_config' in contents and path.stem != 'base':
      config = resolve.complete(contents['get_config'](), {})
      found.append(Recipe(path.stem, config, contents.get('PUBLISHED', ())))
  if not found:
    raise ValueError(f'{folder} holds no config files; name the folder that does with --configs')
  return found


def runs(places: Sequence[str], known: Sequence[Recipe]) -> list[Run]:
  """The results in these folders, each a workdir or one that holds some: of each split that of the last step.

  Raises:
    ValueError: a place holds no run with results, or a file is damaged.
  """
  found: list[Run] = []
  for place in places:
    workdir_paths = sorted({path.parent for path in pathlib.Path(place).expanduser().rglob('config.json')})
    here = [run for workdir in workdir_paths for run in _results(workdir, known)]
    if not here:
      raise ValueError(f'{place} holds no run with results; --mode=evaluate makes them of a checkpoint')
    found += here
  return found


def _results(workdir: pathlib.Path, known: Sequence[Recipe]) -> Iterator[Run]:
  config = resolve.complete(
    workdirs.get_config(str(workdir)), {}
  )  # an early run does not mention all options
  last: dict[str, tuple[int, pathlib.Path]] = {}
  for path in (workdir / 'results').glob('*.json'):
    split, _, step = path.stem.rpartition('-')
    if step.isdigit():  # those that list detections end otherwise
      last[split] = max(last.get(split, (-1, path)), (int(step), path))
  for _, (step, path) in sorted(last.items()):
    try:
      content = json.loads(path.read_text())
      protocol, scores = content['protocol'], content['scores']
      percent = {name: 100 * value for name, value in scores.items() if value is not None}
      split, images = protocol['split'], protocol['images']
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise ValueError(
        f'{path}: no result ({type(error).__name__}: {error}); measure the run again'
      ) from error
    recipe, departures = _nearest(config, known, protocol)
    told = [f'{key} {here} ({there})' for key, (here, there) in departures.items()]
    sizes = workdirs.dataset(workdir, config).split_sizes
    size = sizes.get(split, images)
    if size != images:
      told.append(f'{images:,} of {size:,} images')
    alike = size == images and not departures.keys() & set(_MEASURING.values()) - {'eval.scales'}
    yield Run(str(workdir), config, recipe, tuple(told), alike, step, protocol, percent)


def _nearest(
  config: Config, known: Sequence[Recipe], protocol: Mapping[str, Any]
) -> tuple[Recipe | None, dict[str, tuple[str, str]]]:
  """The recipe of the same network, dataset and task that a run leaves in the fewest keys, and those."""

  def kind(config: Config) -> tuple[str, ...]:
    return config.model.name, config.data.name, config.task.name

  close = [
    (recipe, _departures(config, recipe.config, protocol))
    for recipe in known
    if kind(recipe.config) == kind(config)
  ]
  return min(close, key=lambda pair: len(pair[1]), default=(None, {}))


def _departures(config: Config, recipe: Config, protocol: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
  """{key: (the run's value, the recipe's)} where they are not the same."""
  here, there = dict(_leaves(config)), dict(_leaves(recipe))
  # The result tells how it was measured, which need not be as the run was configured.
  here |= {key: resolve.as_tuple(protocol[name]) for name, key in _MEASURING.items() if name in protocol}
  keys = [key for key in dict.fromkeys([*there, *here]) if key not in _ALIKE]
  return {
    key: (_short(here.get(key)), _short(there.get(key))) for key in keys if here.get(key) != there.get(key)
  }


def _leaves(config: Config, prefix: str = '') -> Iterator[tuple[str, Any]]:
  for key, value in config.items():
    if isinstance(value, ml_collections.ConfigDict):
      yield from _leaves(value, f'{prefix}{key}.')
    else:
      yield f'{prefix}{key}', resolve.as_tuple(value)


def _short(value: Any) -> str:
  text = 'none' if value in (None, '', ()) else f'{value:g}' if isinstance(value, float) else str(value)
  return text if len(text) <= 40 else f'{text[:37]}...'


def rows(known: Sequence[Recipe], measured: Sequence[Run]) -> dict[str, list[Row]]:
  """{dataset: its lines}: of every recipe the published ones, then what its runs measured.

  Runs that differ by their seeds alone are one line, their mean.
  """
  tables: dict[str, list[Row]] = {}
  for recipe in known:
    lines = tables.setdefault(recipe.config.data.name, [])
    lines += [_published(recipe.name, row) for row in recipe.published]
    lines += _measured(recipe.name, [run for run in measured if run.recipe is recipe])
  for run in measured:
    if run.recipe is None:
      tables.setdefault(run.config.data.name, []).extend(
        _measured(f'{run.config.model.name}, of no config', [run])
      )
  return {dataset: lines for dataset, lines in sorted(tables.items()) if lines}


def _published(recipe: str, row: Mapping[str, Any]) -> Row:
  notes = [f'published: {row["source"]}', *(['several scales'] if row['scales'] == 'several' else [])]
  notes += [f'not to be compared: {row["unlike"]}'] if row['unlike'] else []
  return Row(recipe, row['split'], row['scores'], '; '.join(notes))


def _measured(recipe: str, found: Sequence[Run]) -> list[Row]:
  alike: dict[str, list[Run]] = {}
  for run in found:
    key = json.dumps([run.departures, dict(run.protocol)], sort_keys=True)
    alike.setdefault(key, []).append(run)
  return [_mean(recipe, group) for group in alike.values()]


def _mean(recipe: str, group: Sequence[Run]) -> Row:
  first = group[0]
  values = {name: [run.scores[name] for run in group if name in run.scores] for name in first.scores}
  scores = {name: statistics.fmean(column) for name, column in values.items()}
  spread = {name: statistics.stdev(column) for name, column in values.items() if len(column) > 1}
  steps = ' to '.join(
    f'{step:,}' for step in sorted({min(r.step for r in group), max(r.step for r in group)})
  )
  where = f'{len(group)} runs' if len(group) > 1 else first.workdir
  told, differences = [f'measured: step {steps}, {where}'], {}
  if beside := _comparable(first):
    differences = {name: scores[name] - value for name, value in beside['scores'].items() if name in scores}
    told.append(f'beside {beside["source"]}')
    if beside['within'] and not first.departures:
      near = all(abs(difference) <= beside['within'] for difference in differences.values())
      told[-1] += f', {"" if near else "not "}within {beside["within"]:g}'
  if first.departures:
    told.append(f'otherwise than the config: {", ".join(first.departures)}')
  starts = {pathlib.Path(run.config.init_from).name for run in group} - {''}
  told += [f'begun from {", ".join(sorted(starts))}'] if starts else []
  return Row(recipe, first.protocol['split'], scores, '; '.join(told), True, spread, differences)


def _comparable(run: Run) -> Mapping[str, Any] | None:
  """The published row that a run's figures may be set beside."""
  scales = 'several' if len(run.protocol.get('scales', (1.0,))) > 1 else 'one'
  for row in run.recipe.published if run.recipe and run.alike else ():
    if (row['split'], row['scales'], row['unlike']) == (run.protocol['split'], scales, ''):
      return row
  return None
