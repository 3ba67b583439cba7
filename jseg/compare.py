"""Compares ways to learn from few masks: mean IU against their number, over seeds, as table and curves.

  python -m jseg.compare --workdir=runs/few --dataset=shapes --subsets=strong:4,strong:16 --seeds=3
  python -m jseg.compare --workdir=runs/v --dataset=voc --subsets=strong:5 --set=config.data.source=VOCdevkit

The supervised-only baseline, decoupled training, and the semi and weakly supervised GAN, each by its config
of that dataset; where a dataset has no config for one, it is left out. --jobs of them run at a time. What
they print goes to a .log beside the folder of each. They end in comparison.md, .json and .png of the workdir;
typed again, the command goes on where it was stopped.
"""

import pathlib

from absl import flags

from jseg.engine import comparison, workdirs, writers

_WORKDIR = flags.DEFINE_string('workdir', None, 'Where runs, table and curves are kept.')
_CONFIGS = flags.DEFINE_string('configs', 'configs', 'The folder of config files.')
_DATASET = flags.DEFINE_string('dataset', 'shapes', 'Whose config files: the last part of their names.')
_WAYS = flags.DEFINE_list('ways', '', 'Some of: supervised only, decoupled, GAN semi, GAN weak; empty: all.')
_SUBSETS = flags.DEFINE_list('subsets', 'strong:4,strong:16', 'Which images keep masks, as data.subset.')
_SEEDS = flags.DEFINE_integer('seeds', 3, 'How many seeds: 0, 1, ...')
_JOBS = flags.DEFINE_integer('jobs', 1, 'How many runs at a time.')
_SET = flags.DEFINE_multi_string('set', [], 'config.KEY=VALUE for all runs; may be given several times.')
_SET_TAGS = flags.DEFINE_multi_string('set_tags', [], 'config.KEY=VALUE for the runs from tags alone.')


def _run() -> None:
  if not _WORKDIR.value:
    raise ValueError('--workdir is missing: name the folder the runs may write to')
  if min(_SEEDS.value, _JOBS.value) < 1 or not _SUBSETS.value:
    given = f'--seeds={_SEEDS.value}, --jobs={_JOBS.value}, --subsets={",".join(_SUBSETS.value)}'
    raise ValueError(f'{given}: at least 1 of each')
  known = comparison.ways(_CONFIGS.value, _DATASET.value)
  chosen = {
    name: way for name, way in known.items() if not _WAYS.value or name.replace(',', '') in _WAYS.value
  }
  if len(chosen) < len(_WAYS.value) or not chosen:
    names = ', '.join(name.replace(',', '') for name in known)
    raise ValueError(
      f'--ways={",".join(_WAYS.value)}: the ways with configs for {_DATASET.value} are: {names}'
    )
  workdir = pathlib.Path(_WORKDIR.value).expanduser().absolute()
  workdirs.claim(workdir)
  scores = comparison.compare(
    chosen,
    workdir,
    subsets=_SUBSETS.value,
    seeds=_SEEDS.value,
    jobs=_JOBS.value,
    overrides=[f'--{word}' for word in _SET.value],
    first_overrides=[f'--{word}' for word in _SET_TAGS.value],
  )
  text = comparison.table(scores)
  (workdir / 'comparison.md').write_text(text + '\n')
  writers.write_json(workdir / 'comparison.json', scores)
  print(text)
  comparison.plot(scores, workdir / 'comparison.png')
  print(f'{workdir}/comparison.md, .json, .png')


if __name__ == '__main__':
  workdirs.start('jseg.compare', _run)
