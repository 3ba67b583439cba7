"""Fully convolutional networks FCN-32s, FCN-16s, FCN-8s and FCN-8s at once, on VGG16.

Source: Long, Shelhamer, Darrell (CVPR 2015; PAMI 2017, arXiv:1605.06211), section 4; the layers are those of
the released `voc-fcn*/net.py`: the first convolution pads by 100, so that every image passes the 7x7 fc6, and
fixed offsets crop what that adds. All upsampling is the frozen bilinear filter, as in the released code; the
CVPR text learns the intermediate ones: deconv='learned' learns all of them, from the bilinear filter on.
Departure: a frozen filter is no parameter here, the released models store it.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jseg.models import blocks
from jseg.models.encoders import vgg
from jseg.ops import resize
from jseg.typing import Array, Dtype

# Where the logits begin in the upsampled map, pixels, by output stride (the prototxts' crop layers); and
# where the upsampled scores begin in those of pool4 and pool3.
_CROP = {32: 19, 16: 27, 8: 31}
_CROP_POOL4, _CROP_POOL3 = 5, 9


def bilinear_diagonal(key: jax.Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> Array:
  """A transposed convolution's kernel [k k c c] that upsamples every channel by itself."""
  del key
  size, _, channels, _ = shape
  kernel = jnp.asarray(resize.bilinear_kernel(size), dtype)
  return kernel[:, :, None, None] * jnp.eye(channels, dtype=dtype)[None, None]


def crop(x: Array, offset: int, size: tuple[int, ...]) -> Array:
  """The part of x [b h w c] of `size` = (h', w') that begins at (offset, offset)."""
  for axis, side in enumerate(size, start=1):
    x = lax.slice_in_dim(x, offset, offset + side, axis=axis)
  return jnp.asarray(x)


def score(x: Array, num_classes: int, dtype: Dtype, name: str) -> Array:
  """Class scores of x [b h w c], float32; zero at first, so that a new skip leaves a network as it was."""
  zeros = nn.initializers.zeros
  return blocks.Conv(num_classes, (1, 1), dtype=dtype, kernel_init=zeros, name=name)(x).astype(jnp.float32)


def upsample(x: Array, stride: int, kernel_size: int, deconv: str, name: str) -> Array:
  """Scores x [b h w c] upsampled to (h - 1) * stride + kernel_size, fading to zero at the borders.

  Raises:
    ValueError: `deconv` is neither bilinear (frozen, no parameters) nor learned (a full kernel).
  """
  if deconv not in ('bilinear', 'learned'):
    raise ValueError(f"FCN's deconv '{deconv}' is unknown; there are: bilinear, learned")
  if deconv == 'bilinear':
    return resize.bilinear_upsample(x, stride=stride, kernel_size=kernel_size)
  return blocks.ConvTranspose(
    x.shape[-1],
    (kernel_size, kernel_size),
    stride,
    use_bias=False,
    kernel_init=bilinear_diagonal,
    name=name,
  )(x)


class Model(nn.Module):
  """FCN on VGG16."""

  num_classes: int
  stride: int = 8  # 32 | 16 | 8: of the finest map that is scored
  at_once: bool = False  # 8 only: pool4 and pool3 scaled by 0.01 and 0.0001, to train all scores in one run
  deconv: str = 'bilinear'  # bilinear: frozen, no parameters | learned: full kernels
  dropout: float = 0.5  # after fc6 and fc7
  width: int = 64  # VGG's first stage; fc6 and fc7 have 64 times as many features
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c], any size -> logits [b h w k] float32, and the maps by the released layers' names.

    The names are pool1..5, fc6, fc7, score_fr, score_pool4, score_pool3, upscore2, upscore_pool4, upscore.

    Raises:
      ValueError: an option is unknown.
    """
    self._check()
    features, _ = vgg.Encoder(
      16, self.width, first_padding=100, ceil_mode=True, dtype=self.dtype, name='encoder'
    )(image, train=train)
    out = {f'pool{i}': c for i, c in enumerate(features, start=1)}
    x = features[-1]
    for name, kernel in (('fc6', 7), ('fc7', 1)):
      out[name] = x = nn.relu(blocks.Conv(64 * self.width, (kernel, kernel), dtype=self.dtype, name=name)(x))
      x = blocks.Dropout(self.dropout, self.axis_name)(x, train=train)
    out['score_fr'] = x = self._score(x, 'score_fr')
    if self.stride <= 16:
      out['upscore2'] = x = self._upsample(x, 2, 'upscore2')
      out['score_pool4'] = skip = self._score(out['pool4'] * (0.01 if self.at_once else 1.0), 'score_pool4')
      x = x + crop(skip, _CROP_POOL4, x.shape[1:3])
    if self.stride == 8:
      out['upscore_pool4'] = x = self._upsample(x, 2, 'upscore_pool4')
      out['score_pool3'] = skip = self._score(out['pool3'] * (0.0001 if self.at_once else 1.0), 'score_pool3')
      x = x + crop(skip, _CROP_POOL3, x.shape[1:3])
    out['upscore'] = x = self._upsample(x, self.stride, 'upscore')
    return crop(x, _CROP[self.stride], image.shape[1:3]), out

  def _score(self, x: Array, name: str) -> Array:
    return score(x, self.num_classes, self.dtype, name)

  def _upsample(self, x: Array, stride: int, name: str) -> Array:
    return upsample(x, stride, 2 * stride, self.deconv, name)

  def _check(self) -> None:
    """Raises the ValueErrors of __call__."""
    if self.stride not in _CROP:
      raise ValueError(f'FCN of stride {self.stride} is unknown; there are: {", ".join(map(str, _CROP))}')
    if self.at_once and self.stride != 8:
      raise ValueError(
        f'at_once scales the skips of stride 8, this FCN has stride {self.stride}; set stride=8'
      )
