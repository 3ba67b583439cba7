"""Mean IU against the number of masks: ways to learn from few of them, side by side over several seeds."""

import dataclasses
import datetime
import json
import pathlib
import subprocess
import sys
import threading
import time
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


class _Told:
  """Says of each run on stderr that it begins, and at its end the score and about how long the rest takes."""

  def __init__(self, total: int):
    self._total, self._left, self._trained, self._began = total, total, 0, time.monotonic()
    self._lock = threading.Lock()  # runs end in threads of their own

  def begins(self, place: pathlib.Path, log: pathlib.Path) -> None:
    print(f'{place.name}: training, its lines in {log}', file=sys.stderr, flush=True)

  def ends(self, place: pathlib.Path, score: float, trained: bool) -> None:
    with self._lock:
      self._left, self._trained = self._left - 1, self._trained + trained
      line = f'{place.name}: mean IU {100 * score:.2f} %, {self._total - self._left} of {self._total} runs'
      if self._trained and self._left:
        left = (time.monotonic() - self._began) / self._trained * self._left
        line += f', about {datetime.timedelta(seconds=round(left))} left'
      print(line, file=sys.stderr, flush=True)


def compare(
  chosen: Mapping[str, Way],
  workdir: pathlib.Path,
  *,
  subsets: Sequence[str],
  seeds: int,
  overrides: Sequence[str] = (),
  first_overrides: Sequence[str] = (),
  jobs: int = 1,
  run: Callable[[Sequence[str], pathlib.Path], int] | None = None,
) -> dict[str, dict[str, list[float]]]:
  """Trains what is not yet there and returns {way: {subset: [mean IU of a seed]}}.

  A run whose last result lies in its folder is not run again, one that was stopped goes on. Seed s draws the
  images that keep their masks, the initial weights and the order; all ways of one s have the same images.

  Args:
    chosen: by name.
    workdir: has a folder for every run, and beside it the lines it printed, as .log.
    subsets: as data.subset takes them.
    seeds: 0 .. seeds - 1.
    overrides: flags of jseg.main for every run.
    first_overrides: flags for runs from tags alone, after those.
    jobs: runs at a time; those of one way and seed follow each other. After a failure no new way begins.
    run: (arguments of jseg.main, where its lines go) -> exit status; None: a process each.

  Raises:
    ValueError: a run failed.
  """
  chains = [
    (name, _chain(seed, name, chosen[name], workdir, subsets, overrides, first_overrides))
    for seed in range(seeds)
    for name in chosen
  ]
  workdir.mkdir(parents=True, exist_ok=True)
  told = _Told(sum(len(chain) for _, chain in chains))
  failed = threading.Event()
  with futures.ThreadPoolExecutor(jobs) as pool:
    waiting = [pool.submit(_followed, chain, run or _process, told, failed) for _, chain in chains]
  found = [chain.result() for chain in waiting]
  scores: dict[str, dict[str, list[float]]] = {}
  for (name, _), row in zip(chains, found, strict=True):
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
) -> dict[str, tuple[pathlib.Path, list[str]]]:
  """{column: (folder, flags of jseg.main)} of the runs of one way and seed, in their order."""
  slug, runs = name.replace(',', '').replace(' ', '_'), {}
  begin = [f'--config.seed={seed}', *overrides]
  if way.first:
    first = workdir / f'{slug}_tags_{seed}'
    runs['tags'] = first, [f'--config={way.first}', f'--workdir={first}', *begin, *first_overrides]
    begin.append(f'--config.init_from={first}')
  for subset in subsets:
    place = workdir / f'{slug}_{subset.replace(":", "").replace("/", "of")}_{seed}'
    flags = [f'--config={way.config}', f'--workdir={place}', *begin]
    runs[subset] = place, [*flags, f'--config.data.subset={subset}', f'--config.data.subset_seed={seed}']
  return runs


def _followed(
  chain: Mapping[str, tuple[pathlib.Path, list[str]]],
  run: Callable[[Sequence[str], pathlib.Path], int],
  told: _Told,
  failed: threading.Event,
) -> dict[str, float]:
  """Runs a chain and returns {column: mean IU}; nothing if another one has failed."""
  if failed.is_set():
    return {}
  try:
    return {column: _score(run, flags, place, told) for column, (place, flags) in chain.items()}
  except BaseException:
    failed.set()
    raise


def _process(flags: Sequence[str], log: pathlib.Path) -> int:
  with log.open('a') as lines:
    command = [sys.executable, '-m', 'jseg.main', *flags]
    return subprocess.run(command, stdout=lines, stderr=subprocess.STDOUT, check=False).returncode


def _score(
  run: Callable[[Sequence[str], pathlib.Path], int],
  flags: Sequence[str],
  workdir: pathlib.Path,
  told: _Told,
) -> float:
  """The mean IU of a run's last result; it is run first unless it was whole."""
  done, log = workdir / 'done.json', workdir.with_name(f'{workdir.name}.log')
  trained = not done.is_file()
  if trained:
    told.begins(workdir, log)
    if run(flags, log):
      last = log.read_text().splitlines()[-1:]
      raise ValueError(f'a run failed: python -m jseg.main {" ".join(flags)}: {"".join(last)}')
    results = sorted((workdir / 'results').glob('*.json'), key=lambda path: int(path.stem.split('-')[-1]))
    result = json.loads(results[-1].read_text())
    writers.write_json(
      done, {'flags': list(flags), 'mean_iu': result['scores']['mean_iu'], 'step': result['step']}
    )
  content: dict[str, Any] = json.loads(done.read_text())
  if content['flags'] != list(flags):
    raise ValueError(f'{workdir} holds a run with other flags ({" ".join(content["flags"])}); name another')
  told.ends(workdir, content['mean_iu'], trained)
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
