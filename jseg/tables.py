"""Sets what runs measured beside what was published, a table for each dataset, as Markdown and HTML.

  python -m jseg.tables --dataset=camvid                          # what is published
  python -m jseg.tables --runs=runs/enet,runs/camvid --output=out # and what these runs found

Published figures are those of PUBLISHED in the config files. A run belongs to the config of its network,
dataset and task that it is nearest to; what it did otherwise is said. It is compared with a published figure
only where dataset, split and number of scales are the same and nothing else is known to keep the two apart.
Of each split the result of the last step counts; runs that differ by their seeds alone are one line, mean ±
standard deviation.
"""

import pathlib

from absl import flags

from jseg.engine import result_tables, results, workdirs

_RUNS = flags.DEFINE_list('runs', '', 'Workdirs, or folders that hold some.')
_CONFIGS = flags.DEFINE_string('configs', 'configs', 'The folder of config files.')
_DATASET = flags.DEFINE_list('dataset', '', 'Which datasets; empty: those of the runs, or all.')
_OUTPUT = flags.DEFINE_string('output', '', 'Also writes OUTPUT.md and OUTPUT.html.')


def _run() -> None:
  known = results.recipes(_CONFIGS.value)
  measured = results.runs(_RUNS.value, known)
  tables = results.rows(known, measured)
  chosen = _DATASET.value or sorted({run.config.data.name for run in measured}) or list(tables)
  if unknown := [name for name in chosen if name not in tables]:
    raise ValueError(f'--dataset={",".join(unknown)}: no figure is known; there are: {", ".join(tables)}')
  tables = {name: tables[name] for name in chosen}
  text = result_tables.markdown(tables)
  if _OUTPUT.value:
    output = pathlib.Path(_OUTPUT.value).expanduser()
    output.parent.mkdir(parents=True, exist_ok=True)
    for ending, content in (('md', text + '\n'), ('html', result_tables.page(tables))):
      output.with_name(f'{output.name}.{ending}').write_text(content)
  print(text)
  if _OUTPUT.value:
    print(f'{_OUTPUT.value}.md, {_OUTPUT.value}.html')


if __name__ == '__main__':
  workdirs.start('jseg.tables', _run)
