"""Weights from the Hugging Face hub: hf:<owner>/<repo> or hf:<owner>/<repo>/<file>."""

import importlib.util
import pathlib
import re

from jseg.convert import files

PREFIX = 'hf:'
_USUAL = ('model.safetensors', 'pytorch_model.bin')


def fetch(address: str) -> pathlib.Path:
  """The local copy of a file of a repository, downloaded on first use into the hub's own cache.

  Without a file's name: model.safetensors, else pytorch_model.bin, else the only file of weights there is.

  Raises:
    ValueError: huggingface_hub is missing, the address is malformed, there is no such file, or the hub
      cannot be reached.
  """
  match = re.fullmatch(r'hf:([\w.-]+/[\w.-]+)(?:/([\w./-]+))?', address)
  if not match:
    raise ValueError(
      f"'{address}' is no address on the hub; write hf:<owner>/<repo> or with /<file> after it"
    )
  if importlib.util.find_spec('huggingface_hub') is None:
    raise ValueError(f"'{address}' needs huggingface_hub: pip install 'jseg[hf]'")
  import huggingface_hub

  repository, name = match.groups()
  try:
    name = name or _choose(repository, huggingface_hub.list_repo_files(repository))
    return pathlib.Path(huggingface_hub.hf_hub_download(repository, name))
  except Exception as error:  # of many kinds, from the hub's library and from those below it
    reason = ' '.join(str(error).split())[:300] or type(error).__name__
    raise ValueError(f"'{address}' cannot be fetched: {reason}") from error


def _choose(repository: str, names: list[str]) -> str:
  for name in _USUAL:
    if name in names:
      return name
  found = [name for name in names if pathlib.PurePosixPath(name).suffix in files.SUFFIXES]
  if len(found) != 1:
    raise ValueError(
      f'name one of its files, hf:{repository}/<file>; there are: {", ".join(found) or "none"}'
    )
  return found[0]
