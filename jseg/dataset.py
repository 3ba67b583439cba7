"""Data sets: `python -m jseg.dataset --verb=prepare|verify --name=camvid --source=DIR [--dir=D]`.

prepare  makes the copy that training reads, once; checks every file on the way and stops at the first fault,
         or, with --bad_sample=skip, leaves faulty pairs out as long as they are few.
verify   opens every file of the source and reports every fault, what is there twice, and what to do then;
         exits with 1 if there was any.

The source is the folder as its owners give it, or their archives (.zip, .tar, .tgz, .tar.gz, .tar.bz2):
one, or a folder of several.
"""

import functools
import time
from collections.abc import Callable, Sequence

from absl import app, flags

from jseg.data import prepare, records, spec, verify
from jseg.engine import resolve, workdirs

VERBS = ('prepare', 'verify')

_VERB = flags.DEFINE_enum('verb', None, VERBS, 'What to do.')
_NAME = flags.DEFINE_string('name', '', 'The data set: a file in jseg/data/builders.')
_SOURCE = flags.DEFINE_string('source', '', 'The folder or the archives as its owners give them.')
_BAD_SAMPLE = flags.DEFINE_enum(
  'bad_sample', 'raise', ('raise', 'skip'), 'prepare: stop at the first faulty pair, or leave such out.'
)
_MAX_BAD_FRACTION = flags.DEFINE_float(
  'max_bad_fraction', 0.01, 'With skip: stop all the same when more than this share is faulty.'
)
_DIR = flags.DEFINE_string('dir', '', 'Where prepared copies live; default: $JSEG_DATA, else ~/.cache/jseg.')


def run(
  verb: str,
  name: str,
  source: str,
  directory: str,
  bad_sample: str = 'raise',
  max_bad_fraction: float = 0.01,
) -> int:
  """Does what the flags say; returns the exit code.

  Raises:
    ValueError: unknown data set, no source, or (prepare) a fault in it.
    OSError: a file or folder cannot be read or written.
  """
  policy = verify.Policy(bad_sample, max_bad_fraction).check()
  module = resolve.module('data', name)
  dataset: spec.DatasetSpec = module.SPEC
  if not dataset.instructions:
    raise ValueError(f'{name} needs no files: there is nothing to {verb}')
  if not source:
    raise ValueError(f'--verb={verb} needs --source, the folder of {name}: {dataset.instructions}')
  if verb == 'prepare':
    with prepare.session(policy):
      folder, there = prepare.ensure(dataset, source=source, directory=directory, scan=module.scan)
    for split in dataset.split_sizes:
      count = len(records.PreparedSource(folder, there[split])) if split in there else 'no'
      print(f'{name} {split}: {count} images')
    for line in prepare.left_out(folder):
      print(line)
    print(f'{name} is prepared in {spec.data_dir(directory) / name}')
    return 0
  place = f' --dir={directory}' if directory else ''
  with prepare.scanned(dataset, source=source, directory=directory, scan=module.scan) as (found, show):
    return 1 if _verify(dataset, found, show, f'--source={source}{place}') else 0


def _verify(dataset: spec.DatasetSpec, found: verify.Scan, show: Callable[[str], str], typed: str) -> int:
  """Prints what is wrong, and what to do now with `typed` for flags; returns how many problems there are."""

  def say(line: str) -> None:
    print(show(line).encode('utf-8', 'backslashreplace').decode())  # names on a disk may be any bytes

  name, problems, began = dataset.name, 0, time.monotonic()
  notes = verify.size_warnings(dataset, found)
  for line in verify.all_problems(dataset, found, notes):
    say(line)
    problems += 1
  seconds = time.monotonic() - began
  for line in notes:
    say(line)
  counts = ', '.join(
    f'{split} {found.count(split)}' for split in dataset.split_sizes if split in found.splits
  )
  print(f'{name}: {counts} images with masks; {problems or "no"} problem{"s" if problems != 1 else ""}')
  pairs = sum(map(len, found.pairs.values()))
  typed = f'python -m jseg.dataset --verb=prepare --name={name} {typed}'
  now = f'mend or remove these files, or leave them out: {typed} --bad_sample=skip' if problems else typed
  print(
    f'{name}: opened in {seconds:.1f} s, {1000 * seconds / max(pairs, 1):.1f} s per 1,000 pairs; now: {now}'
  )
  return problems


def main(argv: Sequence[str]) -> int:
  """The door: bad input is one line on stderr and exit status 2."""
  try:
    if len(argv) > 1:
      raise ValueError(f"unexpected argument '{argv[1]}'; every argument is a --flag=value")
    if _VERB.value is None or not _NAME.value:
      raise ValueError(f'--verb (one of {", ".join(VERBS)}) and --name (of the data set) are needed')
    return run(
      _VERB.value, _NAME.value, _SOURCE.value, _DIR.value, _BAD_SAMPLE.value, _MAX_BAD_FRACTION.value
    )
  except (ValueError, OSError) as error:
    workdirs.fail('jseg.dataset', error)


if __name__ == '__main__':
  app.run(main, flags_parser=functools.partial(workdirs.parse_flags, 'jseg.dataset'))
