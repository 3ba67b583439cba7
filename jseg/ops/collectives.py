"""Sums over the devices that share a batch."""

from typing import Any

from jax import lax


def psum(tree: Any, axis_name: str | None) -> Any:
  """The sum of a pytree over all devices of the axis; None is one device.

  On an axis of one device it is the tree itself: XLA would copy every array, gradients included.
  """
  return tree if axis_name is None or lax.axis_size(axis_name) == 1 else lax.psum(tree, axis_name)


def gather(tree: Any, axis_name: str | None) -> Any:
  """The rows of all devices, one after the other: each array [b ...] becomes [devices * b ...]."""
  return tree if axis_name is None else lax.all_gather(tree, axis_name, tiled=True)
