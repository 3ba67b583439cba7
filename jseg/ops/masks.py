"""Masks of objects: the small targets of a mask head, and its answers put back into the image."""

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


def _placement(boxes: Array, side: int) -> tuple[Array, Array]:
  """First pixels and sides int32 [n 2] as (x, y) of the boxes that masks of `side` pixels are resized to.

  The mask gets one pixel of zeros around it and the box grows by the same share; its ends are then cut to
  whole pixels, the last one included.
  """
  centre, half = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2
  half = half * ((side + 2) / side)
  first, last = jnp.trunc(centre - half).astype(jnp.int32), jnp.trunc(centre + half).astype(jnp.int32)
  return first, jnp.maximum(last - first + 1, 1)


def paste(
  probs: Float[Array, 'n m m'], boxes: Float[Array, 'n 4'], size: tuple[int, int]
) -> Float[Array, 'n h w']:
  """Masks resized to their boxes and put into images of `size` = (h, w) pixels, 0 outside of the boxes.

  Source: torchvision's paste_masks_in_image. An object is where the result is over one half.

  Args:
    probs: the mask head's probabilities of one class.
    boxes: where they belong, pixels.
    size: of the image.
  """
  side = probs.shape[-1]
  first, length = _placement(jnp.asarray(boxes), side)
  padded = jnp.pad(jnp.asarray(probs), ((0, 0), (1, 1), (1, 1)))
  down, across = (_resizing(first[:, i], length[:, i], side + 2, size[1 - i]) for i in (1, 0))
  rows = jnp.einsum('nhm,nmk->nhk', down, padded, precision=lax.Precision.HIGHEST)
  return jnp.einsum('nwk,nhk->nhw', across, rows, precision=lax.Precision.HIGHEST)


def _resizing(first: jax.Array, length: jax.Array, old: int, image: int) -> jax.Array:
  """One axis of bilinear resizing from `old` pixels to `length` from `first` on, float32 [n image old]."""
  place = jnp.arange(image) - first[:, None]  # [n image]
  source = jnp.clip((place + 0.5) * (old / length[:, None]) - 0.5, 0, old - 1)
  weight = jnp.maximum(0, 1 - jnp.abs(source[..., None] - jnp.arange(old)))
  return jnp.where(((place >= 0) & (place < length[:, None]))[..., None], weight, 0)
