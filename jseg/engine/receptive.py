"""Receptive fields and strides of a network's maps, exactly, from its abstract forward pass.

Follows, operation by operation, which rows of the image every element can depend on: the first and the last
one (jseg.engine.spans). Nothing is compiled or computed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jseg.engine import spans

# Rows by which the probe is taller than the image it stands for, in turn until the fields fit; and the rows
# in its middle that must be free of its borders.
_TALLER, _MIDDLE = (3072, 9216), 1024


class Field(NamedTuple):
  """What one element of a map sees of the image."""

  rows: int | None  # None: the whole image, or a share of it
  stride: float  # image rows from one row of the map to the next


def fields(
  function: Callable[[Any, Any], Mapping[str, Any]], variables: Any, image_shape: tuple[int, ...]
) -> dict[str, Field]:
  """The fields of maps.

  Args:
    function: (variables, image) -> maps [b h ... c] by name; it is traced only.
    variables: a pytree of arrays or shapes.
    image_shape: (b, h, ..., c) of an image that the function takes. It is traced with ones that are taller by
      a multiple of 1024 rows.

  Returns:
    For every map the field along the height, of the widest-seeing row away from the border.
  """
  found: dict[str, Field] = {}
  for more in _TALLER:
    height = image_shape[1] + more
    image = jax.ShapeDtypeStruct((1, height, *image_shape[2:]), jnp.float32)
    jaxpr, maps = jax.make_jaxpr(function, return_shape=True)(variables, image)
    rows = np.arange(height, dtype=np.int32).reshape(1, -1, *(1 for _ in image_shape[2:]))
    given = [None] * len(jax.tree.leaves(variables))
    results = _run(jaxpr.jaxpr, jaxpr.consts, [*given, spans.Span(rows, -rows)])
    shapes = jax.tree.leaves(maps, is_leaf=lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    names = jax.tree.leaves({name: name for name in maps})
    found = {
      name: _field(span, shape.shape[1], height)
      for name, span, shape in zip(names, results, shapes, strict=True)
    }
    if all(field.rows is not None for field in found.values()):
      break
  return found


def _field(value: Any, count: int, height: int) -> Field:
  """The field of a map of `count` rows for an image of `height` rows."""
  if not isinstance(value, spans.Span):
    return Field(0, height / count)
  others = tuple(axis for axis in range(value.first.ndim) if axis != 1)
  first, last = (np.broadcast_to(side.min(others), count).astype(np.int64) for side in value)
  last = -last
  rows = int((last - first).max()) + 1
  if rows > height - _MIDDLE or count * _MIDDLE // 4 < height:
    return Field(None, float(round(height / count)))  # the probe's own rounding is not the map's
  # A power of two of steps: rows of a decoder differ with a period of the stride.
  steps = 2 ** int(np.log2(max(1, _MIDDLE // 4 * count / height)))
  begin = count // 2 - steps // 2
  centre = (first + last) / 2
  return Field(max(rows, 0), float(centre[begin + steps] - centre[begin]) / steps)


def _run(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
  """The values of a jaxpr's results: a Span; an array: a known constant; None: neither known nor seeing."""
  known: dict[Any, Any] = dict(zip(jaxpr.invars, args, strict=True))
  known |= {var: np.asarray(const) for var, const in zip(jaxpr.constvars, consts, strict=True)}

  def read(atom: Any) -> Any:
    return np.asarray(atom.val) if isinstance(atom, core.Literal) else known[atom]

  for eqn in jaxpr.eqns:
    values = [read(atom) for atom in eqn.invars]
    inner = _inner(eqn)
    if inner is not None:
      results = _run(inner[0], inner[1], values)
    elif any(isinstance(value, spans.Span) for value in values):
      results = [spans.seen(eqn, values, place) for place in range(len(eqn.outvars))]
    else:
      results = spans.constants(eqn, values)
    known |= dict(zip(eqn.outvars, results, strict=True))
  return [read(atom) for atom in jaxpr.outvars]


def _inner(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
  """The jaxpr that an equation calls, once, with its own inputs."""
  for param in eqn.params.values():
    if isinstance(param, core.ClosedJaxpr) and len(param.jaxpr.invars) == len(eqn.invars):
      return (param.jaxpr, param.consts) if len(param.jaxpr.outvars) == len(eqn.outvars) else None
    if isinstance(param, core.Jaxpr) and len(param.invars) == len(eqn.invars):
      return (param, ()) if len(param.outvars) == len(eqn.outvars) else None
  return None
