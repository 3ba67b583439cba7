"""U-Net: the paper's, and with options the padded, normalised form most reproductions use.

Source: Ronneberger, Fischer, Brox, "U-Net" (arXiv:1505.04597), section 2 and figure 1. As it stands, Model
is the paper's: valid convolutions, dropout at the end of the contracting path, skips cropped and put in
front of the upsampled map, and the image mirrored at its border (the overlap-tile strategy of section 2), so
that the logits cover the image itself. With padding='same' and norm='bn' it is the network of
milesial/Pytorch-UNet, which is not the paper's; upsample='bilinear' is the other form it has.
"""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from jseg.models import blocks
from jseg.ops import pool, resize
from jseg.typing import Array, Dtype


def output_side(side: int, depth: int) -> int:
  """The side of the valid network's map for an image of this side, pixels; 0: there is none.

  Pools and crops round down where a side is odd.
  """
  skips = []
  for _ in range(depth - 1):
    skips.append(side - 4)
    side = (side - 4) // 2
  side -= 4
  for skip in reversed(skips):
    side = min(2 * side, skip) - 4
    if side < 1:
      return 0
  return max(side, 0)


def tile(side: int, depth: int) -> tuple[int, int]:
  """The smallest map of the valid network that covers `side` pixels with no pool rounding.

  Returns:
    The map's side, and the margin by which the image must reach beyond it on either end: at depth 5 a map
    of 388 pixels needs an image of 388 + 2 * 92 = 572.
  """
  step = 2 ** (depth - 1)
  base = 4 * (step - 1)  # what the convolutions of the expanding path take off
  return -(-(side + base) // step) * step - base, 6 * step - 4


def mirror(image: Array, before: int, size: tuple[int, ...]) -> Array:
  """Extends image [b ... c] to `size` by reflection about its border pixels, `before` of them at each start.

  Images smaller than the margin are reflected as often as it takes.
  """
  image = jnp.asarray(image)
  for axis, new in enumerate(size, start=1):
    side = image.shape[axis]
    index = np.pad(np.arange(side), (before, new - before - side), mode='reflect')
    image = jnp.take(image, index, axis=axis)
  return image


def join(skip: Array, up: Array, *, crop: bool) -> Array:
  """Concatenates two maps [b ... c], skip first, at one size.

  Args:
    skip: the contracting path's map.
    up: the expanding path's.
    crop: True: the skip is cut to the other's size, around its centre (an odd pixel more goes at the end);
      False: the other is filled with zeros to the skip's size, the odd one at the end.
  """
  skip, up = jnp.asarray(skip), jnp.asarray(up)
  for axis in range(1, skip.ndim - 1):
    extra = skip.shape[axis] - up.shape[axis]
    if crop:
      skip = lax.slice_in_dim(skip, extra // 2, extra // 2 + up.shape[axis], axis=axis)
    elif extra:
      pads = [(0, 0)] * up.ndim
      pads[axis] = (extra // 2, extra - extra // 2)
      up = jnp.pad(up, pads)
  return jnp.concatenate([skip, up], axis=-1)


class DoubleConv(nn.Module):
  """Two 3x3 convolutions, each followed by normalisation, if any, and ReLU."""

  features: tuple[int, int]
  padding: int
  norm: str
  bn_momentum: float
  dtype: Dtype
  axis_name: str | None

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """[b h w c] -> [b h' w' features[1]], h' = h - 4 without padding."""
    for i, features in enumerate(self.features, start=1):
      x = blocks.Conv(
        features, padding=self.padding, use_bias=self.norm == 'none', dtype=self.dtype, name=f'conv{i}'
      )(x)
      x = blocks.Norm(
        self.norm, self.bn_momentum, axis_name=self.axis_name, dtype=self.dtype, name=f'norm{i}'
      )(x, train=train)
      x = nn.relu(x)
    return x


class Model(nn.Module):
  """U-Net."""

  num_classes: int
  width: int = 64  # features of the first level; each deeper one has twice as many
  depth: int = 5  # levels, the bottom one included
  padding: str = 'valid'  # valid | same: what the 3x3 convolutions do at their border
  border: str = 'mirror'  # valid only. mirror: logits at the image's size | none: the smaller map as it is
  upsample: str = 'deconv'  # deconv: 2x2 transposed | bilinear: fixed, for padding='same'
  norm: str = 'none'  # as blocks.Norm; with one, the 3x3 convolutions have no bias
  bn_momentum: float = 0.9
  dropout: float = 0.5  # after the two deepest levels
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c] -> logits [b h w k] float32 and the maps down0.., up0.. by level.

    Any size is taken with border='mirror'. With border='none' the logits are [b h' w' k], h' as
    `output_side`.

    Raises:
      ValueError: an option is unknown, or the image too small for it.
    """
    h, w = image.shape[1:3]
    self._check(h, w)
    x, out = image, {}
    if self.padding == 'valid' and self.border == 'mirror':
      (new_h, margin), (new_w, _) = tile(h, self.depth), tile(w, self.depth)
      x = mirror(image, margin, (new_h + 2 * margin, new_w + 2 * margin))
    halving = 2 if self.upsample == 'bilinear' else 1  # of the features that an upsampling starts from
    for level in range(self.depth):
      if level > 0:
        x = pool.max_pool(x)
      features = self.width * 2**level // (halving if level == self.depth - 1 else 1)
      x = self._double_conv((features, features), f'down{level}')(x, train=train)
      if level >= self.depth - 2:
        x = blocks.Dropout(self.dropout, self.axis_name)(x, train=train)
      out[f'down{level}'] = x
    for level in range(self.depth - 2, -1, -1):
      if self.upsample == 'bilinear':
        x = resize.bilinear(x, (2 * x.shape[1], 2 * x.shape[2]), align_corners=True)
      else:
        x = blocks.ConvTranspose(self.width * 2**level, dtype=self.dtype, name=f'up{level}_conv')(x)
      x = join(out[f'down{level}'], x, crop=self.padding == 'valid')
      features = (self.width * 2**level, self.width * 2**level // (halving if level > 0 else 1))
      out[f'up{level}'] = x = self._double_conv(features, f'up{level}')(x, train=train)
    logits = blocks.Conv(self.num_classes, (1, 1), dtype=self.dtype, name='score')(x)
    if self.border == 'mirror':
      logits = logits[:, :h, :w]
    return logits.astype(jnp.float32), out

  def _double_conv(self, features: tuple[int, int], name: str) -> DoubleConv:
    padding = int(self.padding == 'same')
    return DoubleConv(features, padding, self.norm, self.bn_momentum, self.dtype, self.axis_name, name=name)

  def _check(self, h: int, w: int) -> None:
    """Raises the ValueErrors of __call__."""
    if self.padding not in ('valid', 'same'):
      raise ValueError(f"U-Net's padding '{self.padding}' is unknown; there are: valid, same")
    if self.upsample not in ('deconv', 'bilinear'):
      raise ValueError(f"U-Net's upsample '{self.upsample}' is unknown; there are: deconv, bilinear")
    if self.upsample == 'bilinear' and self.padding != 'same':
      raise ValueError("U-Net's upsample='bilinear' is of its padded form; set padding='same'")
    if self.border not in ('mirror', 'none'):
      raise ValueError(f"U-Net's border '{self.border}' is unknown; there are: mirror, none")
    least = 1
    if self.padding == 'same':
      least = 2 ** (self.depth - 1)
    elif self.border == 'none':
      least = next(n for n in range(5, 2**30) if output_side(n, self.depth) > 0)
    if min(h, w) < least:
      raise ValueError(
        f'image of {h}x{w} pixels is too small for a U-Net of depth {self.depth} with '
        f"padding='{self.padding}'; give at least {least}x{least}"
      )
