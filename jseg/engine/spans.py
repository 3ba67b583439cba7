"""What every element of an array can see of an image, through one operation after the other.

Weights are taken to be anything but zero; constants (the matrices of resizing and of adaptive pools, lists of
indices) count as they are. An operation without a rule, and one whose addresses depend on the image, sees all
that its inputs see. The channels of a concatenation count as one.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

# Beyond every image: the row of what sees nothing.
NOTHING = np.int32(2**30)

# Results of the shape of an input, but not made element by element.
_MIXING = ('cumsum', 'cumprod', 'cummax', 'cummin', 'cumlogsumexp', 'sort', 'conv_general_dilated')


class Span(NamedTuple):
  """Of every element of an array, the first row it sees, and the last one, negated: rules are all minima.

  Both have one entry along every axis on which they do not differ.
  """

  first: np.ndarray
  last: np.ndarray


def constants(eqn: Any, values: Sequence[Any]) -> list[Any]:
  """What becomes of constants on the way to where they count; enough for indices and matrices."""
  rule = eqn.primitive.name
  if any(value is None for value in values):
    return [None] * len(eqn.outvars)
  if rule in _MOVES:
    return [_MOVES[rule](values[0], eqn)]
  if rule in ('convert_element_type', 'copy', 'stop_gradient'):
    return [values[0]]
  if rule in ('lt', 'add', 'mul'):
    return [{'lt': np.less, 'add': np.add, 'mul': np.multiply}[rule](*values)]
  if rule == 'select_n' and len(values) == 3:
    return [np.where(values[0], values[2], values[1])]
  return [None] * len(eqn.outvars)


def seen(eqn: Any, values: Sequence[Any], place: int) -> Span:
  """What the result of an equation sees, at least one of whose inputs sees something."""
  rule = eqn.primitive.name
  if rule in _MOVES and isinstance(values[0], Span):
    sides = [_MOVES[rule](side, eqn) for side in values[0]]
  elif rule in _RULES:
    sides = [_RULES[rule](eqn, values, side, place) for side in (0, 1)]
  elif rule.startswith(('reduce_', 'arg')) and 'axes' in eqn.params:
    axes = tuple(eqn.params['axes'])
    sides = [np.squeeze(side.min(axes, keepdims=True), axes) for side in values[0]]
  else:
    sides = [_elementwise(eqn, values, side, place) for side in (0, 1)]
  return Span(*(_lean(side) for side in sides))


def _lean(x: np.ndarray) -> np.ndarray:
  """x with one entry along the axes on which it does not differ."""
  for axis, n in enumerate(x.shape):
    first = x.take([0], axis)
    if n > 1 and (x == first).all():
      x = first
  return x


# Moves: results that are rearranged inputs. x has one entry along the axes on which it does not differ.


def _reshape(x: np.ndarray, eqn: Any) -> np.ndarray:
  """Axes are expanded only where what they merge or split into differs."""
  old, new = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
  if 0 in old:
    return np.zeros((1,) * len(new), x.dtype)
  full, target, i, j = [], [], 0, 0
  while i < len(old) or j < len(new):
    a, b, begin = [], [], (i, j)
    # The shortest stretch of axes with as many elements before as after.
    while (i, j) == begin or np.prod(a) != np.prod(b):
      if j == len(new) or (i < len(old) and np.prod(a) <= np.prod(b)):
        a.append(old[i])
        i += 1
      else:
        b.append(new[j])
        j += 1
    differs = max(x.shape[begin[0] : i], default=1) > 1
    full += a if differs else [1] * len(a)
    target += b if differs else [1] * len(b)
  return np.broadcast_to(x, full).reshape(target)


def _broadcast_in_dim(x: np.ndarray, eqn: Any) -> np.ndarray:
  shape = [1] * len(eqn.params['shape'])
  for axis, n in zip(eqn.params['broadcast_dimensions'], x.shape, strict=True):
    shape[axis] = n
  return x.reshape(shape)


def _slice(x: np.ndarray, eqn: Any) -> np.ndarray:
  p = eqn.params
  steps = p['strides'] or (1,) * x.ndim
  cuts = [slice(*cut) for cut in zip(p['start_indices'], p['limit_indices'], steps, strict=True)]
  return x[tuple(slice(None) if n == 1 else cut for n, cut in zip(x.shape, cuts, strict=True))]


_MOVES = {
  'broadcast_in_dim': _broadcast_in_dim,
  'reshape': _reshape,
  'rev': lambda x, eqn: np.flip(x, eqn.params['dimensions']),
  'slice': _slice,
  'squeeze': lambda x, eqn: np.squeeze(x, eqn.params['dimensions']),
  'transpose': lambda x, eqn: np.transpose(x, eqn.params['permutation']),
}


# Rules: (equation, its inputs, which side of their spans, which of its results) -> that side of the result.


def _everything(eqn: Any, values: Sequence[Any], side: int, place: int) -> np.ndarray:
  least = min(value[side].min() for value in values if isinstance(value, Span))
  return np.full((1,) * len(eqn.outvars[place].aval.shape), least, np.int32)


def _elementwise(eqn: Any, values: Sequence[Any], side: int, place: int) -> np.ndarray:
  seeing = [i for i, value in enumerate(values) if isinstance(value, Span)]
  out = eqn.outvars[place].aval.shape
  shapes = [eqn.invars[i].aval.shape for i in seeing]
  fits = all(len(s) == len(out) and all(n in (1, m) for n, m in zip(s, out, strict=True)) for s in shapes)
  if eqn.primitive.name in _MIXING or not fits:
    return _everything(eqn, values, side, place)
  return functools.reduce(np.minimum, [values[i][side] for i in seeing])


def _pad_axis(x: np.ndarray, axis: int, low: int, high: int, inner: int = 0) -> np.ndarray:
  """One axis of x with what sees nothing at its ends and between; negative ends crop."""
  if x.shape[axis] == 1:
    return x
  size = [*x.shape]
  size[axis] = (x.shape[axis] - 1) * (inner + 1) + 1 + max(low, 0) + max(high, 0)
  y = np.full(size, NOTHING, x.dtype)
  at = [slice(None)] * x.ndim
  at[axis] = slice(max(low, 0), size[axis] - max(high, 0), inner + 1)
  y[tuple(at)] = x
  at[axis] = slice(max(-low, 0), size[axis] - max(-high, 0))
  return y[tuple(at)]


def _pad(eqn: Any, values: Sequence[Any], side: int, place: int) -> np.ndarray:
  if not isinstance(values[0], Span) or isinstance(values[1], Span):
    return _everything(eqn, values, side, place)
  x = values[0][side]
  for axis, ends in enumerate(eqn.params['padding_config']):
    x = _pad_axis(x, axis, *map(int, ends))
  return x


def _window(x: np.ndarray, axis: int, size: int, stride: int, pads: Any, inner: int, step: int) -> np.ndarray:
  """The least over windows along one axis, of `size` entries `step` apart."""
  if x.shape[axis] == 1:
    return x
  x = _pad_axis(x, axis, int(pads[0]), int(pads[1]), inner - 1)
  count = (x.shape[axis] - (size - 1) * step - 1) // stride + 1
  last = (count - 1) * stride + 1
  views = []
  for k in range(size):
    at = [slice(None)] * x.ndim
    at[axis] = slice(k * step, k * step + last, stride)
    views.append(x[tuple(at)])
  return functools.reduce(np.minimum, views)


def _conv(eqn: Any, values: Sequence[Any], side: int, place: int) -> np.ndarray:
  if not isinstance(values[0], Span) or isinstance(values[1], Span):
    return _everything(eqn, values, side, place)
  p, x, kernel = eqn.params, values[0][side], eqn.invars[1].aval.shape
  lhs, rhs, out = p['dimension_numbers']
  for i, axis in enumerate(lhs[2:]):
    x = _window(
      x, axis, kernel[rhs[2 + i]], p['window_strides'][i], p['padding'][i], p['lhs_dilation'][i],
      p['rhs_dilation'][i],
    )  # fmt: skip
  x = x.min(lhs[1], keepdims=True)
  return np.transpose(x, [lhs[out.index(axis)] for axis in range(x.ndim)])


def _reduce_window(eqn: Any, values: Sequence[Any], side: int, place: int) -> np.ndarray:
  p, x = eqn.params, values[0][side]
  for axis, size in enumerate(p['window_dimensions']):
    x = _window(
      x, axis, size, p['window_strides'][axis], p['padding'][axis], p['base_dilation'][axis],
      p['window_dilation'][axis],
    )  # fmt: skip
  return x


def _dot(eqn: Any, values: Sequence[Any], side: int, place: int) -> np.ndarray:
  parts = [_dot_side(eqn, values, side, me) for me in (0, 1) if isinstance(values[me], Span)]
  return functools.reduce(np.minimum, parts)


def _dot_side(eqn: Any, values: Sequence[Any], side: int, me: int) -> np.ndarray:
  """What a product sees through its factor `me`; where the other one is known to be zero, nothing."""
  contract, batch = eqn.params['dimension_numbers']
  shapes = [atom.aval.shape for atom in eqn.invars]
  frees = [[a for a in range(len(shapes[i])) if a not in contract[i] and a not in batch[i]] for i in (0, 1)]
  x, other = values[me][side], values[1 - me]
  x = x.transpose(*batch[me], *frees[me], *contract[me])
  head, mine, theirs = len(batch[me]), len(frees[me]), len(frees[1 - me])
  if isinstance(other, np.ndarray) and len(contract[me]) == 1 and x.shape[-1] > 1:
    factor = other.transpose(*batch[1 - me], *frees[1 - me], *contract[1 - me])
    factor = factor.reshape(*factor.shape[:head], *(1,) * mine, *factor.shape[head:])
    x = x.reshape(*x.shape[:-1], *(1,) * theirs, x.shape[-1])
    x = np.where(factor != 0, x, NOTHING).min(-1)
  else:
    x = x.min(tuple(range(head + mine, x.ndim)), initial=NOTHING)
    x = x.reshape(*x.shape, *(1,) * theirs)
  if me == 1:
    order = [*range(head), *range(head + mine, x.ndim), *range(head, head + mine)]
    x = x.transpose(order)
  return x


def _gather(eqn: Any, values: Sequence[Any], side: int, place: int) -> np.ndarray:
  """Entries of one axis by a known list of indices; of other kinds, everything."""
  d, shape = eqn.params['dimension_numbers'], eqn.invars[0].aval.shape
  index, axes = values[1], d.start_index_map
  whole = [n for axis, n in enumerate(shape) if axis not in axes]
  taken = [n for axis, n in enumerate(eqn.params['slice_sizes']) if axis not in axes]
  plain = isinstance(index, np.ndarray) and len(axes) == 1 and d.collapsed_slice_dims == axes
  listed = plain and len(eqn.invars[1].aval.shape) == 2 and not d.operand_batching_dims
  if not listed or whole != taken:
    return _everything(eqn, values, side, place)
  x, axis = values[0][side], axes[0]
  if x.shape[axis] > 1:
    x = x.take(np.clip(np.broadcast_to(index, eqn.invars[1].aval.shape)[:, 0], 0, shape[axis] - 1), axis)
  (to,) = set(range(x.ndim)) - set(d.offset_dims)
  return np.moveaxis(x, axis, to)


def _concatenate(eqn: Any, values: Sequence[Any], side: int, place: int) -> np.ndarray:
  """Channels, the last axis, see what any of them sees."""
  axis, ndim = eqn.params['dimension'], len(eqn.outvars[0].aval.shape)
  nothing = np.full((1,) * ndim, NOTHING, np.int32)
  parts = [value[side] if isinstance(value, Span) else nothing for value in values]
  if axis == ndim - 1 and all(part.shape[axis] == 1 for part in parts):
    return functools.reduce(np.minimum, parts)
  size = [max(part.shape[i] for part in parts) for i in range(ndim)]
  full = []
  for part, atom in zip(parts, eqn.invars, strict=True):
    full.append(np.broadcast_to(part, [*size[:axis], atom.aval.shape[axis], *size[axis + 1 :]]))
  return np.concatenate(full, axis)


def _split(eqn: Any, values: Sequence[Any], side: int, place: int) -> np.ndarray:
  axis, sizes = eqn.params['axis'], eqn.params['sizes']
  x = values[0][side]
  begin = sum(sizes[:place])
  return x if x.shape[axis] == 1 else x.take(range(begin, begin + sizes[place]), axis)


_RULES = {
  'concatenate': _concatenate,
  'conv_general_dilated': _conv,
  'dot_general': _dot,
  'gather': _gather,
  'pad': _pad,
  'reduce_window_max': _reduce_window,
  'reduce_window_min': _reduce_window,
  'reduce_window_sum': _reduce_window,
  'split': _split,
}
