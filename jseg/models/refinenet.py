"""RefineNet: four cascaded refinement blocks over a ResNet's maps at strides 4, 8, 16 and 32.

Source: Lin, Milan, Shen, Reid, "RefineNet: Multi-path refinement networks" (arXiv:1611.06612), section 3 and
figure 2; the layers are those of the released code (`main/gen_network_refine_group.m`), which has three
residual units at a block's end and none where the next block receives its output: the paper's one and the
next block's two, and before the classifier the paper's one and its two additional ones. The text's chained
pooling has two stages (crp_stages=2), all released models have four. crp_order is 'pool_conv' in the paper
and in the released models for VOC and Cityscapes, 'conv_pool' in those for the other datasets ("improved").
"""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks
from jseg.models.encoders import resnet
from jseg.ops import pool, resize
from jseg.typing import Array, Dtype

_ORDERS = ('pool_conv', 'conv_pool')


class ResidualUnit(nn.Module):
  """RCU: two convolutions, each after a ReLU, added to the input; the second has no bias."""

  conv: Callable[..., nn.Module]

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[b h w c] -> [b h w c]."""
    y = self.conv(x.shape[-1], use_bias=True, name='conv1')(nn.relu(x))
    return x + self.conv(x.shape[-1], name='conv2')(nn.relu(y))


class ChainedPooling(nn.Module):
  """CRP: pools of 5x5, each followed or preceded by a convolution, whose outputs add up on the input."""

  stages: int
  order: str
  conv: Callable[..., nn.Module]

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[b h w c], not negative -> [b h w c]."""
    total = x
    for i in range(1, self.stages + 1):
      conv = self.conv(x.shape[-1], name=f'conv{i}')
      if self.order == 'pool_conv':
        x = conv(pool.max_pool(x, kernel=5, stride=1, padding=2))
      else:
        x = pool.max_pool(conv(x), kernel=5, stride=1, padding=2)
      total = total + x
    return total


class Refine(nn.Module):
  """One block: adaptation, fusion with the block below, chained pooling, residual units."""

  features: int
  crp_stages: int
  crp_order: str
  conv: Callable[..., nn.Module]

  @nn.compact
  def __call__(self, x: Array, below: Array | None) -> Array:
    """An encoder's map [b h w c], and the output of the block below, if any -> [b h w features]."""
    x = self.conv(self.features, name='adapt')(x)
    for i in (1, 2):
      x = ResidualUnit(self.conv, name=f'rcu_in{i}')(x)
    if below is not None:
      x = self.conv(self.features, name='fuse')(x)
      below = self.conv(self.features, name='fuse_below')(below)
      x = x + resize.bilinear(below, x.shape[1:3], align_corners=True)
    x = ChainedPooling(self.crp_stages, self.crp_order, self.conv, name='crp')(nn.relu(x))
    for i in (1, 2, 3):
      x = ResidualUnit(self.conv, name=f'rcu_out{i}')(x)
    return x


class Model(nn.Module):
  """RefineNet-50, 101 and 152."""

  num_classes: int
  depth: int = 101  # of the ResNet
  width: int = 64  # of the ResNet; blocks have 4 times as many features, the lowest 8 times
  crp_stages: int = 4
  crp_order: str = 'pool_conv'  # pool_conv | conv_pool
  norm: str = 'frozen'  # of the encoder, as blocks.Norm; the authors train with ImageNet's statistics
  bn_momentum: float = 0.9
  dropout: float = 0.5  # on the two deepest maps and before the classifier
  remat: bool = False  # of the encoder, as resnet.Encoder
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c], any size -> logits [b h w k] float32, and maps.

    The maps are the encoder's, pool and stage1..4; the blocks', refine4..1; and `score`, the class scores at
    a quarter of the image's size, float32: there the authors take the loss. The logits are their bilinear
    upsampling.

    Raises:
      ValueError: an option is unknown.
    """
    if self.crp_order not in _ORDERS:
      raise ValueError(f"crp_order '{self.crp_order}' is unknown; there are: {', '.join(_ORDERS)}")
    features, out = resnet.Encoder(
      self.depth, self.width, self.norm, bn_momentum=self.bn_momentum, remat=self.remat, dtype=self.dtype,
      axis_name=self.axis_name, name='encoder',
    )(image, train=train)  # fmt: skip
    out |= {f'stage{i}': c for i, c in enumerate(features[1:], start=1)}
    conv = functools.partial(
      blocks.Conv, padding=1, use_bias=False, dtype=self.dtype, kernel_init=nn.initializers.normal(0.01)
    )
    x = None
    for i in range(4, 0, -1):
      tap = features[i]
      if i >= 3:
        tap = blocks.Dropout(self.dropout, self.axis_name)(tap, train=train)
      out[f'refine{i}'] = x = Refine(
        self.width * (8 if i == 4 else 4), self.crp_stages, self.crp_order, conv, name=f'refine{i}'
      )(tap, x)
    x = blocks.Dropout(self.dropout, self.axis_name)(x, train=train)
    score = conv(self.num_classes, use_bias=True, name='score')(x)
    out['score'] = score = score.astype(jnp.float32)
    return resize.bilinear(score, image.shape[1:3], align_corners=True), out
