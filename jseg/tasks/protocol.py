"""How class scores of an image are made at test time: scales, mirroring, sliding windows."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jseg.ops import resize
from jseg.typing import Array

Forward = Callable[[Array], jax.Array]  # image float32 [b h w 3] -> logits [b h w k]


def class_scores(
  forward: Forward,
  image: Float[Array, 'b h w 3'],
  *,
  scales: tuple[float, ...] = (1.0,),
  flip: bool = False,
  window: tuple[int, ...] = (),
) -> Float[Array, 'b h w k']:
  """Scores whose arg-max is the prediction: logits of one pass, or mean probabilities of several.

  Args:
    forward: the network in evaluation mode.
    image: preprocessed.
    scales: factors on the image's size; each pass is resized back (bilinear, half-pixel centres).
    flip: average with the mirrored image's result, mirrored back.
    window: (height, width) in pixels of windows that overlap by at least half; () for the whole image.
  """
  size = image.shape[1:3]
  if tuple(scales) == (1.0,) and not flip and not window:
    return forward(image)
  total = jnp.zeros(())
  for scale in scales:
    scaled_size = tuple(max(1, round(n * scale)) for n in size)
    scaled = image if scaled_size == size else resize.bilinear(image, scaled_size)
    views = [scaled, scaled[:, :, ::-1]] if flip else [scaled]
    for number, view in enumerate(views):
      probabilities = _windowed(forward, view, window) if window else jax.nn.softmax(forward(view))
      probabilities = probabilities[:, :, ::-1] if number else probabilities
      total = total + (probabilities if scaled_size == size else resize.bilinear(probabilities, size))
  return total / (len(scales) * (2 if flip else 1))


def _windowed(forward: Forward, image: jax.Array, window: tuple[int, ...]) -> jax.Array:
  """Mean probabilities over overlapping windows; windows larger than the image are cut to it."""
  height, width = image.shape[1:3]
  window_h, window_w = min(window[0], height), min(window[1], width)
  total, hits = 0.0, jnp.zeros((1, height, width, 1))
  for top in _starts(height, window_h):
    for left in _starts(width, window_w):
      part = jax.nn.softmax(forward(image[:, top : top + window_h, left : left + window_w]))
      pads = ((0, 0), (top, height - top - window_h), (left, width - left - window_w), (0, 0))
      total = total + jnp.pad(part, pads)
      hits = hits.at[:, top : top + window_h, left : left + window_w].add(1.0)
  return total / hits


def _starts(length: int, window: int) -> Iterator[int]:
  """Evenly spaced starts that cover the length, at most half a window apart."""
  steps = -(-(length - window) // max(1, window // 2))
  return (round(i * (length - window) / max(steps, 1)) for i in range(steps + 1))
