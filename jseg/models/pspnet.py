"""PSPNet: a dilated ResNet, its map beside averages of it over 1, 4, 9 and 36 regions, an auxiliary head.

Source: Zhao et al., "Pyramid scene parsing network" (arXiv:1612.01105), section 3 and figure 3; the layers
are those of the released prototxts: deep stem, bottlenecks striding in their first 1x1, dilations 2 and 4 in
the last two stages, element-wise dropout. hszhao/semseg, the authors' later code, is strided='3x3' with
dropout_maps=True. Sides must be 8 k + 1 for the bilinear upsampling to keep corners: others are filled up
with zeros, the mean of a normalised image, at their ends, which the pyramid's averages see.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks
from jseg.models.encoders import resnet
from jseg.ops import pool, resize
from jseg.typing import Array, Dtype

BINS = (1, 2, 3, 6)  # regions a side


class Head(nn.Module):
  """A 3x3 convolution with normalisation, ReLU and dropout, and the scores from it."""

  num_classes: int
  features: int
  dropout: float
  dropout_maps: bool
  norm: Callable[..., nn.Module]
  dtype: Dtype
  axis_name: str | None

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> jax.Array:
    """[b h w c] -> scores [b h w k] float32."""
    x = blocks.Conv(self.features, padding=1, use_bias=False, dtype=self.dtype, name='conv')(x)
    x = nn.relu(self.norm(name='norm')(x, train=train))
    x = blocks.Dropout(self.dropout, self.axis_name, per_channel=self.dropout_maps)(x, train=train)
    return blocks.Conv(self.num_classes, (1, 1), dtype=self.dtype, name='score')(x).astype(jnp.float32)


class Model(nn.Module):
  """PSPNet."""

  num_classes: int
  depth: int = 50  # of the ResNet: 50 | 101 | 152 | 269
  width: int = 64  # of the ResNet; the heads have 8 and 4 times as many features
  aux: bool = True  # the head on the last map but one, for a loss on out['aux']
  strided: str = '1x1'  # as resnet.Encoder
  dropout: float = 0.1  # in both heads
  dropout_maps: bool = False  # drop whole maps
  norm: str = 'bn'  # as blocks.Norm
  bn_momentum: float = 0.95
  remat: bool = False  # as resnet.Encoder
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c], any size -> logits [b h w k] float32 and named maps.

    The maps: stage1 .. stage4; pyramid, the last with its averages beside it; score [b h/8 w/8 k] before
    upsampling; with `aux` aux_score and aux, the auxiliary logits at the image's size.

    Raises:
      ValueError: the depth has no such ResNet, or `strided` is unknown.
    """
    h, w = image.shape[1:3]
    tall, wide = (-(-(side - 1) // 8) * 8 + 1 for side in (h, w))
    image = jnp.pad(jnp.asarray(image), ((0, 0), (0, tall - h), (0, wide - w), (0, 0)))
    norm = functools.partial(
      blocks.Norm, self.norm, self.bn_momentum, axis_name=self.axis_name, dtype=self.dtype
    )
    features, _ = resnet.Encoder(
      self.depth, self.width, self.norm, bn_momentum=self.bn_momentum, stem='deep', strided=self.strided,
      output_stride=8, remat=self.remat, dtype=self.dtype, axis_name=self.axis_name, name='encoder',
    )(image, train=train)  # fmt: skip
    out = {f'stage{i}': c for i, c in enumerate(features[1:], start=1)}
    x = features[-1]
    maps = [x]
    for bins in BINS:
      y = pool.adaptive_avg_pool(x, (bins, bins))
      y = blocks.Conv(8 * self.width, (1, 1), use_bias=False, dtype=self.dtype, name=f'pool{bins}')(y)
      y = nn.relu(norm(name=f'pool{bins}_norm')(y, train=train))
      maps.append(resize.bilinear(y, x.shape[1:3], align_corners=True))
    out['pyramid'] = jnp.concatenate(maps, axis=-1)
    out['score'] = self._head(8, norm, 'head')(out['pyramid'], train=train)
    if self.aux:
      out['aux_score'] = self._head(4, norm, 'aux')(features[-2], train=train)
      out['aux'] = resize.bilinear(out['aux_score'], (tall, wide), align_corners=True)[:, :h, :w]
    logits = resize.bilinear(out['score'], (tall, wide), align_corners=True)
    return logits[:, :h, :w], out

  def _head(self, times: int, norm: Callable[..., nn.Module], name: str) -> Head:
    return Head(
      self.num_classes, times * self.width, self.dropout, self.dropout_maps, norm, self.dtype,
      self.axis_name, name=name,
    )  # fmt: skip
