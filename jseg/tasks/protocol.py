"""How class scores of an image are made at test time: scales, mirroring, windows, stochastic passes."""

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
  if tuple(scales) == (1.0,) and not flip and not window:
    return forward(image)
  return probabilities(forward, image, scales=scales, flip=flip, window=window)


def sampled_scores(
  forward: Callable[[Array, jax.Array], jax.Array],
  image: Float[Array, 'b h w 3'],
  *,
  samples: int,
  scales: tuple[float, ...] = (1.0,),
  flip: bool = False,
  window: tuple[int, ...] = (),
) -> tuple[Float[Array, 'b h w k'], Float[Array, 'b h w']]:
  """Mean probabilities of stochastic passes, and the passes' variance averaged over classes.

  Source: Kendall, Badrinarayanan, Cipolla, "Bayesian SegNet" (arXiv:1511.02680), section 3.

  Args:
    forward: (image, number of the pass, int32 []) -> logits; the same number gives the same pass.
    image: preprocessed.
    samples: how many passes, each under the whole protocol; one after the other, so that memory does not
      grow with them.
    scales: as for class_scores.
    flip: as for class_scores.
    window: as for class_scores.
  """

  def add(total: tuple[jax.Array, jax.Array], number: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
    # Welford's sums: equal passes have a variance of zero exactly.
    mean, squares = total
    found = probabilities(
      lambda view: forward(view, number), image, scales=scales, flip=flip, window=window
    )  # fmt: skip
    moved = mean + (found - mean) / (number + 1)
    return (moved, squares + (found - mean) * (found - moved)), None

  shape = jax.eval_shape(forward, image, jax.ShapeDtypeStruct((), jnp.int32)).shape
  start = (jnp.zeros(shape), jnp.zeros(shape))
  (mean, squares), _ = jax.lax.scan(add, start, jnp.arange(samples, dtype=jnp.int32))
  return mean, squares.mean(-1) / samples


def probabilities(
  forward: Forward, image: Array, *, scales: tuple[float, ...], flip: bool, window: tuple[int, ...]
) -> jax.Array:
  """Mean probabilities [b h w k] over the passes of a protocol; arguments as for class_scores."""
  size = image.shape[1:3]
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
