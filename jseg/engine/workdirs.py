"""What the doors share: a run's folder, its config and flags, and failing in one line."""

import contextlib
import functools
import json
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import ml_collections
from absl import app, flags

from jseg.data import spec
from jseg.engine import resolve, writers

DATASET = 'dataset.json'  # in a workdir


def claim(workdir: pathlib.Path) -> None:
  """Makes the folder and sees that it can be written to.

  Raises:
    ValueError: it is a file, or may not be written to.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=workdir):
      pass
  except OSError as error:
    raise ValueError(f'{workdir} cannot be written to ({error.strerror}); name another') from error


@contextlib.contextmanager
def claimed(workdir: pathlib.Path) -> Iterator[None]:
  """Sees that the folder can be written to or made; a refusal inside leaves no empty folder behind.

  Raises:
    ValueError: it is a file, or may not be written to.
  """
  absent = [path for path in (workdir, *workdir.parents) if not path.exists()]
  try:
    with tempfile.TemporaryFile(dir=absent[-1].parent if absent else workdir):
      pass
  except OSError as error:
    raise ValueError(f'{workdir} cannot be written to ({error.strerror}); name another') from error
  try:
    yield
  except (ValueError, OSError):
    inside = sorted(workdir.rglob('*'), reverse=True) if absent else []
    if all(path.is_dir() for path in inside):
      for path in [*inside, *absent]:
        with contextlib.suppress(OSError):  # never made, or another's by now
          path.rmdir()
    raise


def get_config(workdir: str) -> ml_collections.ConfigDict:
  """The config a run was trained with; `--config=jseg/engine/workdirs.py:W` names it, as any config file.

  Raises:
    ValueError: the folder holds no run, or its config is damaged.
  """
  path = pathlib.Path(workdir) / 'config.json'
  if not path.is_file():
    raise ValueError(
      f'{workdir} holds no run: there is no {path.name}; train one there first, or name another'
    )
  try:
    return ml_collections.ConfigDict(_tuples(json.loads(path.read_text()))).lock()
  except Exception as error:  # what ConfigDict makes of another JSON value is any of several
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise ValueError(f'{path}: no config ({line}); train the run again, or name another') from error


def dataset(workdir: pathlib.Path, config: ml_collections.ConfigDict) -> spec.DatasetSpec:
  """The specification of the data a run was trained on; its folder keeps it, as the data may have gone.

  Raises:
    ValueError: the folder keeps none, and the config's dataset cannot be found.
  """
  path = workdir / DATASET
  if not path.is_file():
    return resolve.spec(config)
  try:
    return spec.from_json(json.loads(path.read_text()))
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error


def keep(workdir: pathlib.Path, config: ml_collections.ConfigDict, found: spec.DatasetSpec) -> None:
  """Writes what `get_config` and `dataset` read."""
  writers.write_json(workdir / 'config.json', json.loads(config.to_json_best_effort()))
  writers.write_json(workdir / DATASET, spec.to_json(found))


def require_classes(workdir: pathlib.Path, found: spec.DatasetSpec) -> None:
  """Raises ValueError if the run in this folder was trained on other classes, or another order of them."""
  path = workdir / DATASET
  before = spec.from_json(json.loads(path.read_text())).classes if path.is_file() else found.classes
  for number, (there, here) in enumerate(zip(before, found.classes, strict=False)):
    if there != here:
      raise ValueError(
        f"{workdir} was trained with '{there}' as class {number}, which is '{here}' now; name another "
        '--workdir'
      )


def _tuples(value):
  """JSON has lists where a config has tuples."""
  if isinstance(value, dict):
    return {key: _tuples(item) for key, item in value.items()}
  return resolve.as_tuple(value)


def parse_flags(door: str, argv: Sequence[str]) -> list[str]:
  """The arguments that are no flags; a flag or a config at fault ends the process by `fail`."""
  if 'config' in flags.FLAGS:
    flags.FLAGS['config'].parser = _Completed(flags.FLAGS['config'].parser, argv)
  try:
    return flags.FLAGS(argv)
  except (AttributeError, KeyError) as error:  # the locked config's word for a key that it does not have
    fail(door, ValueError(_unknown_key(str(error))))
  except (flags.Error, TypeError, ValueError, OSError) as error:
    fail(door, error)


class _Completed(flags.ArgumentParser):
  """Reads --config as ml_collections does, and adds the options that the file does not mention."""

  def __init__(self, inner: flags.ArgumentParser, argv: Sequence[str]):
    words = [re.match(r'--?config\.(model|task|data)\.name=(.*)', word) for word in argv]
    self._inner, self._names = inner, {word[1]: word[2] for word in words if word}

  def parse(self, argument: str) -> Any:
    """The config of a file."""
    return resolve.complete(self._inner.parse(argument), self._names)

  def flag_type(self) -> str:
    """What --help calls it."""
    return self._inner.flag_type()


def _unknown_key(text: str) -> str:
  """ml_collections wraps its hint in reprs of several lines, differently for a section and for its keys."""
  hint = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', text)
  if hint:
    return f"the config has no key '{hint[2]}'; did you mean '{hint[1]}'?"
  key = re.search(r'(?:Key )?["\'\\]*(\w+)', text.lstrip('\'"'))
  return f"the config has no key '{key[1] if key else text}'; configs/base.py lists all there are"


def start(door: str, run: Callable[[], None]) -> None:
  """Parses the flags and runs a door that takes nothing else; bad input is `fail`'s one line."""

  def main(argv: Sequence[str]) -> None:
    try:
      if len(argv) > 1:
        raise ValueError(f"unexpected argument '{argv[1]}'; every argument is a --flag=value")
      run()
    except (ValueError, OSError) as error:
      fail(door, error)

  app.run(main, flags_parser=functools.partial(parse_flags, door))


def parse_size(words: Sequence[str]) -> tuple[int, ...]:
  """--size=height,width as the flag gives it, in pixels; () if it is empty.

  Raises:
    ValueError: it is something else.
  """
  if all(re.fullmatch('0*[1-9][0-9]*', word) for word in words) and len(words) in (0, 2):
    return tuple(map(int, words))
  raise ValueError(f'--size is {",".join(words)}; it must be height,width in pixels')


def fail(door: str, error: BaseException) -> NoReturn:
  """Prints what is wrong on one line and ends the process with status 2, at once.

  At once, since other processes of the run may be waiting in a collective that this one never joins.
  """
  line = ' '.join(str(error).split()) or type(error).__name__
  print(f'{door}: error: {line}', file=sys.stderr, flush=True)
  sys.stdout.flush()
  os._exit(2)
