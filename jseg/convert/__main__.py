"""Converts weights that others trained into a folder for `config.init_from`.

  python -m jseg.convert                                                   # the sources there are
  python -m jseg.convert --source=torchvision/resnet101 --weights=resnet101.pth --output=weights/resnet101

--weights: a .npz, .safetensors, .pth, .pt, .bin or .caffemodel file, or hf:<owner>/<repo>[/<file>]. Without
--source the names in the file decide. The folder gets weights.npz and weights.json (see convert.converted).
"""

import functools
import pathlib
from collections.abc import Sequence

from absl import app, flags

import jseg
from jseg.convert import converted, sources
from jseg.engine import workdirs

_SOURCE = flags.DEFINE_string('source', '', "Whose weights: 'list' shows all; empty: the names decide.")
_WEIGHTS = flags.DEFINE_string('weights', '', 'The file, or hf:<owner>/<repo>[/<file>].')
_OUTPUT = flags.DEFINE_string('output', '', 'The folder to write to.')


def run(source: str, weights: str, output: str) -> str:
  """Does what the flags say; returns what there is to tell.

  Raises:
    ValueError: a flag is missing, the source is unknown, or the weights cannot be read or are not its own.
    OSError: the folder cannot be written to.
  """
  if source == 'list' or not source and not weights:
    return sources.listing()
  for name, value in (('weights', weights), ('output', output)):
    if not value:
      raise ValueError(f'--{name} is missing; python -m jseg.convert --help tells what it takes')
  folder = pathlib.Path(output).expanduser()
  with workdirs.claimed(folder):
    workdirs.claim(folder)
    report = converted.make(weights, folder, source=source, version=jseg.__version__)
  return '\n'.join([*report, f'written to {folder}; start from it with --config.init_from={folder}'])


def main(argv: Sequence[str]) -> None:
  """The door: bad input is one line on stderr and exit status 2."""
  try:
    if len(argv) > 1:
      raise ValueError(f"unexpected argument '{argv[1]}'; every argument is a --flag=value")
    print(run(_SOURCE.value, _WEIGHTS.value, _OUTPUT.value))
  except (ValueError, OSError) as error:
    workdirs.fail('jseg.convert', error)


if __name__ == '__main__':
  app.run(main, flags_parser=functools.partial(workdirs.parse_flags, 'jseg.convert'))
