"""Data sets: `python -m jseg.dataset --verb=prepare|verify --name=camvid --source=DIR [--dir=D]`.

prepare  makes the copy that training reads, once; checks every file on the way and stops at the first fault.
verify   opens every file of the source and reports every fault, then a summary; exits with 1 if any.
"""

import functools
from collections.abc import Sequence

from absl import app, flags

from jseg.data import spec, verify
from jseg.engine import resolve, workdirs

VERBS = ('prepare', 'verify')

_VERB = flags.DEFINE_enum('verb', None, VERBS, 'What to do.')
_NAME = flags.DEFINE_string('name', '', 'The data set: a file in jseg/data/builders.')
_SOURCE = flags.DEFINE_string('source', '', 'Its folder as its owners give it.')
_DIR = flags.DEFINE_string('dir', '', 'Where prepared copies live; default: $JSEG_DATA, else ~/.cache/jseg.')


def run(verb: str, name: str, source: str, directory: str) -> int:
  """Does what the flags say; returns the exit code.

  Raises:
    ValueError: unknown data set, no source, or (prepare) a fault in it.
    OSError: a file or folder cannot be read or written.
  """
  module = resolve.module('data', name)
  dataset: spec.DatasetSpec = resolve.dataset_spec(name, source=source, directory=directory)
  if not dataset.instructions:
    raise ValueError(f'{name} needs no files: there is nothing to {verb}')
  if not source:
    raise ValueError(f'--verb={verb} needs --source, the folder of {name}: {dataset.instructions}')
  if verb == 'prepare':
    there = module.scan(source).splits
    for split in dataset.split_sizes or there:
      count = len(module.open_split(split, source=source, directory=directory)) if split in there else 'no'
      print(f'{name} {split}: {count} images')
    print(f'{name} is prepared in {spec.data_dir(directory) / dataset.name}')
    return 0
  found = module.scan(source)
  for line in verify.size_warnings(dataset, found):
    print(line)
  problems = 0
  for line in verify.all_problems(dataset, found):
    print(line)
    problems += 1
  counts = ', '.join(
    f'{split} {found.count(split)}' for split in dataset.split_sizes or found.splits if split in found.splits
  )
  print(f'{name}: {counts} images with masks; {problems or "no"} problem{"s" if problems != 1 else ""}')
  return 1 if problems else 0


def main(argv: Sequence[str]) -> int:
  """The door: bad input is one line on stderr and exit status 2."""
  try:
    if len(argv) > 1:
      raise ValueError(f"unexpected argument '{argv[1]}'; every argument is a --flag=value")
    if _VERB.value is None or not _NAME.value:
      raise ValueError(f'--verb (one of {", ".join(VERBS)}) and --name (of the data set) are needed')
    return run(_VERB.value, _NAME.value, _SOURCE.value, _DIR.value)
  except (ValueError, OSError) as error:
    workdirs.fail('jseg.dataset', error)


if __name__ == '__main__':
  app.run(main, flags_parser=functools.partial(workdirs.parse_flags, 'jseg.dataset'))
