"""The proof beside each checkpoint: a sha256 sum per file, in the format of `sha256sum -c`.

Also what follows from it: which steps of a folder are good, and clearing the others away.
"""

import hashlib
import os
import pathlib
import shutil
import tempfile

from absl import logging

NAME = 'manifest.sha256'
_ASIDE = '.damaged'
_UNFINISHED = '.orbax-checkpoint-tmp'


def exists(folder: pathlib.Path) -> bool:
  """True once the save of this step has come to its end."""
  return (folder / NAME).is_file()


def write(folder: pathlib.Path, step: int) -> None:
  """Sums up every file under `folder`; the manifest appears whole or not at all."""
  names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*') if p.is_file())
  text = _render(step, {name: _digest(folder / name) for name in names if name != NAME})
  draft = folder / f'.{NAME}'
  with open(draft, 'w') as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
  os.replace(draft, folder / NAME)


def damage(folder: pathlib.Path, step: int) -> str:
  """What is wrong with the step in `folder`, in a few words; '' if every bit is as it was written."""
  try:
    text = (folder / NAME).read_text()
  except FileNotFoundError:
    return f'{NAME} is missing (its save or removal was cut off)'
  except (OSError, UnicodeDecodeError) as error:
    return f'{NAME} cannot be read ({type(error).__name__})'
  header, *lines = text.split('\n')
  if header.split(',')[0] != _header(step, 0).split(',')[0]:
    return f'{NAME} is not the one of step {step}'
  digests = {}
  for line in lines[:-1]:
    digest, _, name = line.partition('  ')
    try:
      found = _digest(folder / name)
    except FileNotFoundError:
      return f'{name} is missing'
    except (OSError, ValueError) as error:
      return f'{name} cannot be read ({type(error).__name__})'
    if found != digest:
      return f'the contents of {name} have changed'
    digests[name] = found
  # Rendered again, it must be the same to the letter: lines lost from the manifest itself show here.
  return '' if text == _render(step, digests) else f'{NAME} has changed'


def steps(directory: pathlib.Path) -> list[int]:
  """The numbers of the committed steps, proven or not, ascending; none if there is no such folder."""
  names = (p.name for p in directory.iterdir()) if directory.is_dir() else ()
  return sorted(int(name) for name in names if name.isdigit())


def survey(directory: pathlib.Path, *, stop: bool = False) -> tuple[list[int], dict[int, str]]:
  """Reads every file of every step, from the newest down.

  Args:
    directory: the checkpoints folder.
    stop: be content with the first good step.

  Returns:
    The good steps, ascending, and what is wrong with the others.
  """
  good: list[int] = []
  bad: dict[int, str] = {}
  for step in reversed(steps(directory)):
    reason = damage(directory / str(step), step)
    if reason:
      bad[step] = reason
      continue
    good.append(step)
    if stop:
      break
  return good[::-1], bad


def tidy(directory: pathlib.Path) -> None:
  """Readies the folder for saving: without leftovers of killed saves and without damaged steps.

  Damaged steps would count among the newest kept and may break what reads them. They are renamed, not
  deleted; steps that were never finished are deleted, as long as a good one remains.
  """
  for path in directory.glob(f'*{_UNFINISHED}*'):
    # A save that has just failed may still be writing there; what is left harms nothing and goes next time.
    shutil.rmtree(path, ignore_errors=True)
  good, bad = survey(directory)
  for step, reason in bad.items():
    folder, aside = directory / str(step), directory / f'{step}{_ASIDE}'
    keep = exists(folder) or not good
    shutil.rmtree(aside, ignore_errors=True)
    if keep:
      folder.rename(aside)
    else:
      shutil.rmtree(folder)
    logging.warning(
      'checkpoint %s is damaged: %s; %s, the newest good one is %s',
      folder, reason, f'renamed {aside.name}' if keep else 'removed', f'step {good[-1]}' if good else 'none',
    )  # fmt: skip


def damaged(directory: pathlib.Path) -> bool:
  """True if `tidy` renamed steps here."""
  return any(directory.glob(f'*{_ASIDE}'))


def require_writable(directory: pathlib.Path) -> None:
  """Makes the folder and tries to write there.

  Raises:
    ValueError: it cannot be written.
  """
  try:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory):
      pass
  except OSError as error:
    raise ValueError(f'{directory} cannot be written ({error.strerror}); give another --workdir') from None


def _header(step: int, count: int) -> str:
  return f'# jseg checkpoint of step {step}, {count} files'


def _render(step: int, digests: dict[str, str]) -> str:
  lines = [f'{digest}  {name}' for name, digest in digests.items()]
  return '\n'.join([_header(step, len(digests)), *lines, ''])


def _digest(path: pathlib.Path) -> str:
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()
