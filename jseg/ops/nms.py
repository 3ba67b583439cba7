"""Non-maximum suppression with fixed shapes, exactly the greedy one, and the choice of the best scores."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Bool, Float, Int

from jseg.ops import boxes as box_ops
from jseg.typing import Array

# Boxes decided together. Small: few passes within a block even where each box suppresses the next; large:
# few blocks one after the other.
BLOCK = 256


def nms(
  boxes: Float[Array, 'n 4'],
  scores: Float[Array, 'n'],
  valid: Bool[Array, 'n'],
  threshold: float,
  *,
  groups: Int[Array, 'n'] | None = None,
) -> Bool[Array, 'n']:
  """Which boxes stay: by falling score, each suppresses later ones whose IoU with it is over the threshold.

  Blocks of boxes are decided in turn. Within a block, keeping what no kept earlier box suppresses is repeated
  until nothing changes, which is the greedy answer and takes as many passes as the longest chain of
  suppressions; then the block suppresses all later boxes at once.

  Args:
    boxes: the candidates; degenerate ones overlap nothing.
    scores: of equal ones the first box comes first.
    valid: False for padding, which neither stays nor suppresses.
    threshold: IoU in [0, 1].
    groups: boxes of different groups (levels, classes) never suppress each other.

  Returns:
    Whether each box stays, in the order they came.
  """
  order = jnp.argsort(jnp.where(valid, scores, -jnp.inf), descending=True, stable=True)
  ordered, alive = jnp.asarray(boxes)[order], jnp.asarray(valid)[order]
  group = None if groups is None else jnp.asarray(groups)[order]
  limit = threshold_in_float32(threshold)

  def suppresses(a: slice, b: slice) -> jax.Array:
    over = box_ops.iou(ordered[a], ordered[b]) > limit
    return over if group is None else over & (group[a][:, None] == group[b])

  n, kept = len(ordered), []
  for start in range(0, n, BLOCK):
    end = min(start + BLOCK, n)
    block, later = slice(start, end), slice(end, n)
    kept.append(_settle(alive[:BLOCK], jnp.triu(suppresses(block, block), 1)))
    alive = alive[BLOCK:]
    if end < n:
      alive &= ~jnp.any(suppresses(block, later) & kept[-1][:, None], axis=0)
  return jnp.zeros(n, bool).at[order].set(jnp.concatenate(kept) if kept else jnp.zeros(0, bool))


def _settle(alive: jax.Array, suppresses: jax.Array) -> jax.Array:
  """What lives [n] and no kept earlier one suppresses; `suppresses` [n n] is zero but above the diagonal."""

  def step(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    keep = state[0]
    new = alive & ~jnp.any(suppresses & keep[:, None], axis=0)
    return new, jnp.any(new != keep)

  return lax.while_loop(lambda state: state[1], step, (alive, jnp.any(alive)))[0]


def threshold_in_float32(threshold: float) -> np.float32:
  """The largest float32 that is not above the threshold: what lies over one lies over the other."""
  rounded = np.float32(threshold)
  return rounded if float(rounded) <= threshold else np.nextafter(rounded, np.float32(-np.inf))


def top(
  scores: Float[Array, 'n'], valid: Bool[Array, 'n'], count: int
) -> tuple[Int[Array, '{count}'], Bool[Array, '{count}']]:
  """The places of the `count` highest valid scores, falling; of equal ones the first comes first.

  Returns:
    The places int32, and whether each is one: where there are fewer valid scores, the rest is padding.
  """
  taken = min(count, len(scores))
  _, index = lax.top_k(jnp.where(valid, scores, -jnp.inf), taken)
  found = jnp.asarray(valid)[index]
  room = (0, count - taken)
  return jnp.pad(index.astype(jnp.int32), room), jnp.pad(found, room)
