"""Data sets: `python -m jseg.dataset --verb=prepare|verify --name=camvid --source=DIR [--dir=D]`.

prepare  makes the copy that training reads, once; checks every file on the way and stops at the first fault.
verify   opens every file of the source and reports every fault, then a summary; exits with 1 if any.
"""

import importlib
import pkgutil
import sys
from types import ModuleType

from absl import app, flags

from jseg.data import builders, spec, verify

VERBS = ('prepare', 'verify')

FLAGS = flags.FLAGS


def define_flags() -> None:
  """Defines the flags of this door; called when it is run, not when it is imported."""
  flags.DEFINE_enum('verb', None, VERBS, 'What to do.', required=True)
  flags.DEFINE_string('name', None, 'The data set: a file in jseg/data/builders.', required=True)
  flags.DEFINE_string('source', '', 'Its folder as its owners give it.')
  flags.DEFINE_string('dir', '', 'Where prepared copies live; default: $JSEG_DATA, else ~/.cache/jseg.')


def builder(name: str) -> ModuleType:
  """The module of a data set.

  Raises:
    ValueError: there is none of that name; lists those that exist.
  """
  known = sorted(module.name for module in pkgutil.iter_modules(builders.__path__))
  if name not in known:
    raise ValueError(f"data set '{name}' is unknown; there are: {', '.join(known)}")
  return importlib.import_module(f'{builders.__name__}.{name}')


def run(verb: str, name: str, source: str, directory: str) -> int:
  """Does what the flags say; returns the exit code.

  Raises:
    ValueError: unknown data set, no source, or (prepare) a fault in it.
    OSError: a file or folder cannot be read or written.
  """
  module = builder(name)
  dataset: spec.DatasetSpec = module.SPEC
  if not dataset.instructions:
    raise ValueError(f'{name} needs no files: there is nothing to {verb}')
  if not source:
    raise ValueError(f'--verb={verb} needs --source, the folder of {name}: {dataset.instructions}')
  if verb == 'prepare':
    for split in dataset.split_sizes:
      count = len(module.open_split(split, source=source, directory=directory))
      print(f'{name} {split}: {count} images')
    print(f'{name} is prepared in {spec.data_dir(directory) / name}')
    return 0
  found = module.scan(source)
  for line in verify.size_warnings(dataset, found):
    print(line)
  problems = 0
  for line in verify.all_problems(dataset, found):
    print(line)
    problems += 1
  counts = ', '.join(f'{split} {len(pairs)}' for split, pairs in found.pairs.items())
  print(f'{name}: {counts} images with masks; {problems or "no"} problem{"s" if problems != 1 else ""}')
  return 1 if problems else 0


def main(argv: list[str]) -> int:
  """The door: bad input gives one line on stderr and exit code 2."""
  if len(argv) > 1:
    print(f"jseg.dataset: error: unexpected argument '{argv[1]}'", file=sys.stderr)
    return 2
  try:
    return run(FLAGS.verb, FLAGS.name, FLAGS.source, FLAGS.dir)
  except (ValueError, OSError) as error:
    print(f'jseg.dataset: error: {error}', file=sys.stderr)
    return 2


if __name__ == '__main__':
  define_flags()
  app.run(main)
