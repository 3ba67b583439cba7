"""Mean IU against the number of masks: ways to learn from few of them, side by side over several seeds."""

import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from typing import Any

import numpy as np

from jseg.engine import writers


@dataclasses.dataclass(frozen=True)
class Way:
  """A way to learn: its config file, and that of what it starts from, which learns from tags alone."""

  config: str
  first: str = ''


def ways(folder: str, dataset: str) -> dict[str, Way]:
  """The four of the papers, by the config files that are there.

  Args:
    folder: of config files.
    dataset: the last part of their names.

  Raises:
    ValueError: there is none for this dataset.
  """
  files = {
    'supervised only': Way(f'gan_supervised_{dataset}'),
    'decoupled': Way(f'decouplednet_seg5_{dataset}', f'decouplednet_cls_{dataset}'),
    'GAN, semi': Way(f'gan_semi_{dataset}'),
    'GAN, weak': Way(f'gan_weak_{dataset}'),
  }
  place = pathlib.Path(folder)
  there = sorted(path.stem for path in place.glob('*.py'))
  found = {
    name: Way(*(f'{place}/{stem}.py' if stem else '' for stem in (way.config, way.first)))
    for name, way in files.items()
    if {way.config, way.first} <= {*there, ''}
  }
  if 'supervised only' not in found:
    known = [stem.removeprefix('gan_supervised_') for stem in there if stem.startswith('gan_supervised_')]
    raise ValueError(
      f'{folder} has no gan_supervised_{dataset}.py to compare with; --dataset can be: '
      f'{", ".join(known) or "none there"}'
    )
  return found


def compare(
  chosen: Mapping[str, Way],
  workdir: pathlib.Path,
  *,
  subsets: Sequence[str],
  seeds: int,
  overrides: Sequence[str] = (),
  first_overrides: Sequence[str] = (),
  jobs: int = 1,
  run: Callable[[Sequence[str]], int] | None = None,
) -> dict[str, dict[str, list[float]]]:
  """Trains what is not yet there and returns {way: {subset: [mean IU of a seed]}}.

  A run whose last result lies in its folder is not run again, one that was stopped goes on. Seed s draws the
  images that keep their masks, the initial weights and the order; all ways of one s have the same images.

  Args:
    chosen: by name.
    workdir: has a folder for every run.
    subsets: as data.subset takes them.
    seeds: 0 .. seeds - 1.
    overrides: flags of jseg.main for every run.
    first_overrides: flags for runs from tags alone, after those.
    jobs: runs at a time; those of one way and seed follow each other. After a failure no new way begins.
    run: arguments of jseg.main -> exit status; None: a process each.

  Raises:
    ValueError: a run failed.
  """
  given = workdir, subsets, overrides, first_overrides, run or _process
  chains = [(seed, name) for seed in range(seeds) for name in chosen]
  with futures.ThreadPoolExecutor(jobs) as pool:
    waiting = [pool.submit(_chain, seed, name, chosen[name], *given) for seed, name in chains]
    try:
      futures.wait(waiting, return_when=futures.FIRST_EXCEPTION)
    finally:
      pool.shutdown(cancel_futures=True)  # of what has not begun by then; nothing is left unless a run failed
    rows = [chain.result() for chain in waiting]
  scores: dict[str, dict[str, list[float]]] = {}
  for (_, name), row in zip(chains, rows, strict=True):
    for column, score in row.items():
      scores.setdefault(name, {}).setdefault(column, []).append(score)
  return scores


def _chain(
  seed: int,
  name: str,
  way: Way,
  workdir: pathlib.Path,
  subsets: Sequence[str],
  overrides: Sequence[str],
  first_overrides: Sequence[str],
  run: Callable[[Sequence[str]], int],
) -> dict[str, float]:
  """Mean IU of one way and seed, 'tags' first if the way has two stages: {subset: mean IU}."""
  slug, row = name.replace(',', '').replace(' ', '_'), {}
  begin = [f'--config.seed={seed}', *overrides]
  if way.first:
    first = workdir / f'{slug}_tags_{seed}'
    flags = [f'--config={way.first}', f'--workdir={first}', *begin, *first_overrides]
    row['tags'] = _score(run, flags, first)
    begin.append(f'--config.init_from={first}')
  for subset in subsets:
    place = workdir / f'{slug}_{subset.replace(":", "").replace("/", "of")}_{seed}'
    flags = [f'--config={way.config}', f'--workdir={place}', *begin]
    flags += [f'--config.data.subset={subset}', f'--config.data.subset_seed={seed}']
    row[subset] = _score(run, flags, place)
  return row


def _process(flags: Sequence[str]) -> int:
  return subprocess.run([sys.executable, '-m', 'jseg.main', *flags], check=False).returncode


def _score(run: Callable[[Sequence[str]], int], flags: Sequence[str], workdir: pathlib.Path) -> float:
  """The mean IU of a run's last result; it is run first unless it was whole."""
  done = workdir / 'done.json'
  if not done.is_file():
    if run(flags):
      raise ValueError(f'a run failed: python -m jseg.main {" ".join(flags)}')
    results = sorted((workdir / 'results').glob('*.json'), key=lambda path: int(path.stem.split('-')[-1]))
    last = json.loads(results[-1].read_text())
    writers.write_json(
      done, {'flags': list(flags), 'mean_iu': last['scores']['mean_iu'], 'step': last['step']}
    )
  content: dict[str, Any] = json.loads(done.read_text())
  if content['flags'] != list(flags):
    raise ValueError(f'{workdir} holds a run with other flags ({" ".join(content["flags"])}); name another')
  return float(content['mean_iu'])


def table(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
  """Markdown: a row for each way, mean and standard deviation (of a sample) over the seeds in percent."""
  columns = list(dict.fromkeys(subset for row in scores.values() for subset in row))
  lines = ['| | ' + ' | '.join(columns) + ' |', '|---' * (1 + len(columns)) + '|']
  for name, row in scores.items():
    cells = [_cell(row[column]) if column in row else '' for column in columns]
    lines.append(f'| {name} | ' + ' | '.join(cells) + ' |')
  count = max(len(values) for row in scores.values() for values in row.values())
  lines.append('')
  lines.append(
    f'Mean IU in %, mean ± standard deviation over {count} seed{"s" if count > 1 else ""}. tags: no mask at '
    'all, places where the scores of tags come from.'
  )
  return '\n'.join(lines)


def _cell(values: Sequence[float]) -> str:
  mean = f'{100 * np.mean(values):.1f}'
  return f'{mean} ± {100 * np.std(values, ddof=1):.1f}' if len(values) > 1 else mean


def plot(scores: Mapping[str, Mapping[str, Sequence[float]]], path: pathlib.Path) -> None:
  """Draws the same as curves with error bars into a PNG.

  Raises:
    ValueError: matplotlib is not installed.
  """
  try:
    from matplotlib import figure
  except ImportError:
    raise ValueError(
      "the curves need matplotlib: pip install 'jseg[plot]'; the table is there without"
    ) from None
  columns = list(dict.fromkeys(subset for row in scores.values() for subset in row))
  columns.sort(key=lambda column: column != 'tags')  # no masks stand first
  drawing = figure.Figure(figsize=(6, 4), layout='constrained')
  axes = drawing.subplots()
  for name, row in scores.items():
    places = [i for i, column in enumerate(columns) if column in row]
    values = [100 * np.asarray(row[columns[i]]) for i in places]
    spread = [v.std(ddof=1) if len(v) > 1 else 0.0 for v in values]
    axes.errorbar(places, [v.mean() for v in values], spread, label=name, marker='o', capsize=3)
  axes.set_xticks(range(len(columns)), columns)
  axes.set_xlabel('images with masks')
  axes.set_ylabel('mean IU, %')
  axes.grid(alpha=0.3)
  axes.legend()
  drawing.savefig(path, dpi=150)
