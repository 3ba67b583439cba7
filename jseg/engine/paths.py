"""Arrays of a pytree by name, 'params/conv1/kernel': how checkpoints store and optimisers choose them."""

from typing import Any

import jax
import numpy as np

Listing = dict[str, list[Any]]  # name -> [shape, dtype name]: what JSON can hold


def name(path: tuple[Any, ...]) -> str:
  """The key path that jax gives to a leaf, joined by '/'."""
  return jax.tree_util.keystr(path, simple=True, separator='/')


def flatten(tree: Any) -> dict[str, Any]:
  """The leaves by name, in the order of the tree."""
  return {name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def unflatten(template: Any, leaves: dict[str, Any]) -> Any:
  """The tree of `template` with the leaves of these names."""
  named, treedef = jax.tree_util.tree_flatten_with_path(template)
  return treedef.unflatten([leaves[name(path)] for path, _ in named])


def nest(leaves: dict[str, Any]) -> dict[str, Any]:
  """Nested dicts, one level per '/'."""
  tree: dict[str, Any] = {}
  for path, leaf in leaves.items():
    *parents, last = path.split('/')
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
    node[last] = leaf
  return tree


def listing(leaves: dict[str, Any]) -> Listing:
  """Shape and dtype of every leaf (an array or a jax.ShapeDtypeStruct)."""
  return {path: [list(leaf.shape), np.dtype(leaf.dtype).name] for path, leaf in leaves.items()}


def difference(here: Listing, there: Listing) -> str:
  """The first array in which two trees differ, and how; '' if they are alike."""
  for path in [*here, *there]:
    mine, its = (_describe(path, side) for side in (here, there))
    if mine != its:
      return f'{path} is {its} there and {mine} here'
  return ''


def _describe(path: str, side: Listing) -> str:
  if path not in side:
    return 'absent'
  shape, dtype = side[path]
  return f'{tuple(shape)} {dtype}'
