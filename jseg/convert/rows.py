"""Renaming of weights: rows (reference name, our path, change of layout), applied all or nothing.

References are flat {name: array} dictionaries in torch's layouts: convolution OIHW, transposed convolution
IOHW, linear (out, in). Ours are HWIO and, for transposed convolutions, [kh kw cout cin], both unflipped; of
volumes OIDHW, IODHW, and DHWIO, [kd kh kw cout cin].
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

# Counts batches in torch's normalisation layers; running averages with a momentum do not use it.
_UNUSED = '.num_batches_tracked'
_LISTED = 8  # names in a message


class Row(NamedTuple):
  """One array: its reference name, where it goes in our variables, and how its layout changes."""

  name: str
  path: tuple[str, ...]  # ('params' or 'batch_stats', module, ..., leaf)
  change: Callable[[np.ndarray], np.ndarray]


def _same(array: np.ndarray) -> np.ndarray:
  return array


def _conv_kernel(array: np.ndarray) -> np.ndarray:
  return array.transpose(*range(2, array.ndim), 1, 0)


def _deconv_kernel(array: np.ndarray) -> np.ndarray:
  return array.transpose(*range(2, array.ndim), 1, 0)  # IOHW -> HWOI


def conv(
  name: str,
  path: tuple[str, ...],
  *,
  bias: bool = True,
  change: Callable[[np.ndarray], np.ndarray] = _same,
) -> list[Row]:
  """A convolution; `change` is applied to the kernel in the reference's own layout first."""
  rows = [Row(f'{name}.weight', ('params', *path, 'kernel'), lambda a: _conv_kernel(change(a)))]
  return [*rows, Row(f'{name}.bias', ('params', *path, 'bias'), _same)] if bias else rows


def deconv(name: str, path: tuple[str, ...], *, bias: bool = True) -> list[Row]:
  """A transposed convolution."""
  rows = [Row(f'{name}.weight', ('params', *path, 'kernel'), _deconv_kernel)]
  return [*rows, Row(f'{name}.bias', ('params', *path, 'bias'), _same)] if bias else rows


def norm(name: str, path: tuple[str, ...]) -> list[Row]:
  """A batch normalisation with scale, shift and running statistics."""
  leaves = (
    ('weight', 'params', 'scale'),
    ('bias', 'params', 'bias'),
    ('running_mean', 'batch_stats', 'mean'),
    ('running_var', 'batch_stats', 'var'),
  )
  return [Row(f'{name}.{theirs}', (kind, *path, 'bn', ours), _same) for theirs, kind, ours in leaves]


def group_norm(name: str, path: tuple[str, ...]) -> list[Row]:
  """A group normalisation with scale and shift."""
  leaves = (('weight', 'scale'), ('bias', 'bias'))
  return [Row(f'{name}.{theirs}', ('params', *path, 'gn', ours), _same) for theirs, ours in leaves]


def prelu(name: str, path: tuple[str, ...]) -> list[Row]:
  """A PReLU with one slope for each channel."""
  return [Row(f'{name}.weight', ('params', *path, 'slope'), _same)]


def _listed(names: set[str]) -> str:
  first = ', '.join(sorted(names)[:_LISTED])
  return first + (f' and {len(names) - _LISTED} more' if len(names) > _LISTED else '')


def apply(arrays: Mapping[str, np.ndarray], rows: Iterable[Row]) -> dict[str, Any]:
  """Our variables {'params': ..., 'batch_stats': ...} from the reference's arrays; every one used once.

  Raises:
    ValueError: arrays are missing or left over; the message lists the first of them.
  """
  rows = list(rows)
  expected = {row.name for row in rows}
  given = {name for name in arrays if not name.endswith(_UNUSED)}
  faults = [
    f'{word}: {_listed(names)}'
    for word, names in (('missing', expected - given), ('unknown', given - expected))
    if names
  ]
  if faults:
    raise ValueError(f'weights do not fit the network; {"; ".join(faults)}')
  variables: dict[str, Any] = {'params': {}, 'batch_stats': {}}
  for row in rows:
    *parents, leaf = row.path
    node = variables
    for parent in parents:
      node = node.setdefault(parent, {})
    node[leaf] = np.ascontiguousarray(row.change(np.asarray(arrays[row.name])))
  return variables
