"""Data sets: `python -m jseg.dataset --verb=prepare|verify|stats|browse --name=camvid [--source=DIR]`.

prepare  makes the copy that training reads, once; checks every file on the way and stops at the first fault,
         or, with --bad_sample=skip, leaves faulty pairs out as long as they are few.
verify   opens every file of the source and reports every fault, what is there twice, and what to do then;
         exits with 1 if there was any.
stats    prints frequencies of the classes, the loss weights that follow, mean and spread of the images;
         --output=FILE.json keeps them for --config.task.class_weights=FILE.json#enet.
browse   writes contact sheets (PNG) and pages for a web browser into the folder --output.

The last two look at --split, and need --source only if no copy was prepared before. The source is the folder
as its owners give it, or their archives (.zip, .tar, .tgz, .tar.gz, .tar.bz2): one, or a folder of several.
"""

import ast
import functools
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_collections
from absl import app, flags

from jseg.data import browse, prepare, records, spec, stats, verify
from jseg.engine import resolve, workdirs, writers

VERBS = ('prepare', 'verify', 'stats', 'browse')

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
_SPLIT = flags.DEFINE_string('split', 'train', 'stats, browse: which split.')
_OPTION = flags.DEFINE_multi_string(
  'option', [], 'stats, browse: an option of the data set, as classes=13; may be given again.'
)
_OUTPUT = flags.DEFINE_string('output', '', 'stats: the JSON file to write, if any. browse: the folder.')
_PAGE = flags.DEFINE_integer('page', 0, 'browse: the first page to write, from 0.')
_PAGES = flags.DEFINE_integer('pages', 1, 'browse: how many pages to write; 0: all from --page on.')
_PER_PAGE = flags.DEFINE_integer('per_page', 24, 'browse: images on a page.')


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
  dataset: spec.DatasetSpec = resolve.dataset_spec(name, source=source, directory=directory)
  if not dataset.instructions:
    raise ValueError(f'{name} needs no files: there is nothing to {verb}')
  if not source:
    raise ValueError(f'--verb={verb} needs --source, the folder of {name}: {dataset.instructions}')
  if verb == 'prepare':
    with prepare.session(policy):
      folder, there = prepare.ensure(dataset, source=source, directory=directory, scan=module.scan)
    for split in dataset.split_sizes or there:
      opened = records.PreparedSource(folder, there[split], dataset.num_classes) if split in there else ()
      print(f'{name} {split}: {len(opened) or "no"} images')
    for line in prepare.left_out(folder):
      print(line)
    print(f'{name} is prepared in {spec.data_dir(directory) / dataset.name}')
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
    f'{split} {found.count(split)}' for split in dataset.split_sizes or found.splits if split in found.splits
  )
  print(f'{name}: {counts} images with masks; {problems or "no"} problem{"s" if problems != 1 else ""}')
  pairs = sum(map(len, found.pairs.values()))
  typed = f'python -m jseg.dataset --verb=prepare --name={dataset.builder_name} {typed}'
  now = f'mend or remove these files, or leave them out: {typed} --bad_sample=skip' if problems else typed
  print(
    f'{name}: opened in {seconds:.1f} s, {1000 * seconds / max(pairs, 1):.1f} s per 1,000 pairs; now: {now}'
  )
  return problems


def opened(
  name: str, split: str, source: str, directory: str, options: Mapping[str, Any]
) -> tuple[spec.DatasetSpec, spec.Source]:
  """The specification and a split of a data set, as a config with these options would have them.

  Raises:
    ValueError: unknown data set, split or option; or it is not prepared and cannot be.
  """
  policy = verify.Policy()._asdict()
  config = ml_collections.ConfigDict(
    {'data': {'name': name, 'source': source, 'dir': directory, 'options': dict(options), **policy}}
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
      policy = _BAD_SAMPLE.value, _MAX_BAD_FRACTION.value
      return run(_VERB.value, _NAME.value, _SOURCE.value, _DIR.value, *policy)
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
