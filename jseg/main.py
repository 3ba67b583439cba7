r"""Trains a config, or evaluates a checkpoint.

  python -m jseg.main --config=configs/unet_shapes.py --workdir=runs/one
  python -m jseg.main --config=configs/unet_shapes.py:quick --workdir=/tmp/q --config.optim.lr=0.1
  python -m jseg.main --mode=evaluate --workdir=runs/one --config.eval.split=test
  python -m jseg.main --mode=evaluate --config=configs/pspnet50_voc.py --workdir=runs/theirs \
    --config.init_from=WEIGHTS --config.model.aux=False --config.data.source=VOCdevkit

The last one measures weights that others trained. Training resumes by itself where the workdir stands.
Several processes (each on its own host, or all on one) are started with the same command and --coordinator
--num_processes --process_id; under Slurm, on a TPU slice and in an indexed Kubernetes job they find each
other (see launch/).
"""

import contextlib
import pathlib
import re
from collections.abc import Sequence

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from jseg.engine import parallel, workdirs

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'A file of configs/, and overrides: --config.optim.lr=0.1'
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Where this run keeps checkpoints, logs, results, overlays.')
_MODE = flags.DEFINE_enum(
  'mode', 'train', ['train', 'evaluate'], 'Train, or evaluate a checkpoint of the workdir.'
)
_CHECKPOINT = flags.DEFINE_enum(
  'checkpoint', 'best', ['best', 'latest'], 'Which one --mode=evaluate measures.'
)
_COORDINATOR = flags.DEFINE_string('coordinator', '', 'host:port of process 0, when there are several.')
_NUM_PROCESSES = flags.DEFINE_integer('num_processes', 0, 'How many processes the run has; 0: find out.')
_PROCESS_ID = flags.DEFINE_integer('process_id', -1, 'Which of them this is; -1: find out.')


def main(_: Sequence[str]) -> None:
  """Runs the mode; bad input is one line on stderr and exit status 2."""
  logging.set_verbosity(logging.INFO)
  try:
    _run()
  except (ValueError, OSError) as error:
    logging.debug('stopped', exc_info=True)
    workdirs.fail('jseg.main', error)


def _run() -> None:
  if not _WORKDIR.value:
    raise ValueError('--workdir is missing: name the folder this run may write to')
  workdir = pathlib.Path(_WORKDIR.value).expanduser().absolute()
  training = _MODE.value == 'train'
  if _CONFIG.value is None:
    raise ValueError('--config is missing: name a file of configs/')
  with workdirs.claimed(workdir) if training else contextlib.nullcontext():
    _work(workdir, training)


def _work(workdir: pathlib.Path, training: bool) -> None:
  parallel.initialise(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
  logging.info(
    '%d devices (%s), %d processes', jax.device_count(), jax.default_backend(), jax.process_count()
  )
  # Imported here: the message above should not wait for the rest of the house.
  from jseg.engine import evaluate, train

  if training:
    train.train(_CONFIG.value, workdir)
  else:
    evaluate.run(_CONFIG.value, workdir, _CHECKPOINT.value)


def _parse(argv: Sequence[str]) -> list[str]:
  return workdirs.parse_flags('jseg.main', _with_config(argv))


def _with_config(argv: Sequence[str]) -> list[str]:
  """Evaluation takes the workdir's config if none is named."""
  named = any(re.match(r'--?config(=|$)', word) for word in argv)
  found = [word.split('=', 1)[1] for word in argv if re.match(r'--?workdir=', word)]
  if named or not found or '--mode=evaluate' not in argv:
    return list(argv)
  return [argv[0], f'--config={workdirs.__file__}:{found[0]}', *argv[1:]]


if __name__ == '__main__':
  app.run(main, flags_parser=_parse)
