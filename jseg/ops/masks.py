"""Masks of objects: the small targets of a mask head."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Int, UInt8

from jseg.ops import roi_align
from jseg.typing import Array

# Boxes whose masks are fetched at once, of up to a megabyte each at 800 x 1344.
AT_ONCE = 8


def targets(
  masks: UInt8[Array, 'g h w'], boxes: Float[Array, 'n 4'], index: Int[Array, ' n'], *, size: int = 28
) -> Float[Array, 'n {size} {size}']:
  """What each box shows of its object's mask, by RoIAlign with as many samples as the box has pixels.

  Source: torchvision's project_masks_on_boxes. Detectron draws the object's polygons into the box instead,
  and takes what is over one half; round these for the same up to the pixels at the border.

  Args:
    masks: 1 on the object, 0 elsewhere, one map per object.
    boxes: where to look, pixels.
    index: the object of each box; any row for padding.
    size: side of the targets, pixels.

  Returns:
    The object's share of every pixel, in [0, 1].
  """
  height, width = masks.shape[1:]
  boxes = lax.stop_gradient(jnp.asarray(boxes))

  def one(task: tuple[jax.Array, jax.Array]) -> jax.Array:
    box, own = task
    down, across = (
      roi_align.matrix(box[None, axis::2], n, output=size, scale=1.0, sampling=0, aligned=False)[0]
      for axis, n in ((1, height), (0, width))
    )
    mask = jnp.asarray(masks)[own].astype(jnp.float32)
    return jnp.linalg.multi_dot([down, mask, across.T], precision=lax.Precision.HIGHEST)

  return lax.map(one, (boxes, jnp.asarray(index)), batch_size=AT_ONCE)
