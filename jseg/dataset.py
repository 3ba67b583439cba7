"""Data sets: `python -m jseg.dataset --verb=prepare|verify|stats|browse --name=camvid [--source=DIR]`.

prepare  makes the copy that training reads, once; checks every file on the way and stops at the first fault.
verify   opens every file of the source and reports every fault, then a summary; exits with 1 if any.
stats    prints frequencies of the classes, the loss weights that follow, mean and spread of the images;
         --output=FILE.json keeps them for --config.task.class_weights=FILE.json#enet.
browse   writes contact sheets (PNG) and pages for a web browser into the folder --output.

The last two look at --split, and need --source only if no copy was prepared before.
"""

import ast
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
from absl import app, flags

from jseg.data import browse, spec, stats, verify
from jseg.engine import resolve, workdirs, writers

VERBS = ('prepare', 'verify', 'stats', 'browse')

_VERB = flags.DEFINE_enum('verb', None, VERBS, 'What to do.')
_NAME = flags.DEFINE_string('name', '', 'The data set: a file in jseg/data/builders.')
_SOURCE = flags.DEFINE_string('source', '', 'Its folder as its owners give it.')
_DIR = flags.DEFINE_string('dir', '', 'Where prepared copies live; default: $JSEG_DATA, else ~/.cache/jseg.')
_SPLIT = flags.DEFINE_string('split', 'train', 'stats, browse: which split.')
_OPTION = flags.DEFINE_multi_string(
  'option', [], 'stats, browse: an option of the data set, as classes=13; may be given again.'
)
_OUTPUT = flags.DEFINE_string('output', '', 'stats: the JSON file to write, if any. browse: the folder.')
_PAGE = flags.DEFINE_integer('page', 0, 'browse: the first page to write, from 0.')
_PAGES = flags.DEFINE_integer('pages', 1, 'browse: how many pages to write; 0: all from --page on.')
_PER_PAGE = flags.DEFINE_integer('per_page', 24, 'browse: images on a page.')


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


def opened(
  name: str, split: str, source: str, directory: str, options: Mapping[str, Any]
) -> tuple[spec.DatasetSpec, spec.Source]:
  """The specification and a split of a data set, as a config with these options would have them.

  Raises:
    ValueError: unknown data set, split or option; or it is not prepared and cannot be.
  """
  config = ml_collections.ConfigDict(
    {'data': {'name': name, 'source': source, 'dir': directory, 'options': dict(options)}}
  )
  return resolve.spec(config), resolve.source(config, split)


def show_stats(
  name: str, split: str, source: str, directory: str, options: Mapping[str, Any], output: str
) -> None:
  """Prints the figures of a split, and writes them as JSON if `output` names a file; see data.stats.

  Raises:
    ValueError: as `opened`; or an example cannot be read.
    OSError: the file cannot be written.
  """
  dataset, examples = opened(name, split, source, directory, options)
  sizes = {split: len(examples)}
  for other in dataset.split_sizes:
    try:
      sizes[other] = len(opened(name, other, '', directory, options)[1])
    except ValueError:  # the source did not hold it
      continue
  summary = stats.summarise(dataset, split, examples, sizes)
  print(stats.text(summary))
  if output:
    path = pathlib.Path(output).expanduser()
    writers.write_json(path, summary)
    hint = f'; a config takes weights from it as --config.task.class_weights={path}#enet'
    print(f'written to {path}{hint if summary["weights"]["enet"] else ""}')


def show_images(
  name: str, split: str, source: str, directory: str, options: Mapping[str, Any], output: str, **numbers: int
) -> None:
  """Writes contact sheets and pages of a split into a folder; `numbers` are those of data.browse.write.

  Raises:
    ValueError: as `opened`; no folder, a number out of range, or an example cannot be read.
    OSError: a file cannot be written.
  """
  if not output:
    raise ValueError('--verb=browse needs --output, the folder to write to')
  dataset, examples = opened(name, split, source, directory, options)
  for path in browse.write(dataset, split, examples, pathlib.Path(output).expanduser(), **numbers):
    print(path)


def parse_options(words: Sequence[str]) -> dict[str, Any]:
  """--option=key=value, as often as it was given; a value that is no Python literal is a text.

  Raises:
    ValueError: there is no '=' in it.
  """
  options = {}
  for word in words:
    key, equals, value = word.partition('=')
    if not equals:
      raise ValueError(f"--option is '{word}'; it must be key=value")
    try:
      options[key] = ast.literal_eval(value)
    except (ValueError, SyntaxError):
      options[key] = value
  return options


def main(argv: Sequence[str]) -> int:
  """The door: bad input is one line on stderr and exit status 2."""
  try:
    if len(argv) > 1:
      raise ValueError(f"unexpected argument '{argv[1]}'; every argument is a --flag=value")
    if _VERB.value is None or not _NAME.value:
      raise ValueError(f'--verb (one of {", ".join(VERBS)}) and --name (of the data set) are needed')
    if _VERB.value in ('prepare', 'verify'):
      return run(_VERB.value, _NAME.value, _SOURCE.value, _DIR.value)
    which = _NAME.value, _SPLIT.value, _SOURCE.value, _DIR.value, parse_options(_OPTION.value)
    if _VERB.value == 'stats':
      show_stats(*which, _OUTPUT.value)
    else:
      show_images(*which, _OUTPUT.value, page=_PAGE.value, pages=_PAGES.value, per_page=_PER_PAGE.value)
    return 0
  except (ValueError, OSError) as error:
    workdirs.fail('jseg.dataset', error)


if __name__ == '__main__':
  app.run(main, flags_parser=functools.partial(workdirs.parse_flags, 'jseg.dataset'))
