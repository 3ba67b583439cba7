"""ResNet-18, 34, 50, 101 and 152 as encoder and as ImageNet classifier.

Source: He et al., "Deep residual learning" (arXiv:1512.03385), table 1; the layers are torchvision's.
Departure: bottlenecks stride in their 3x3 convolution, as torchvision's weights have it; the paper's in
the first 1x1.
"""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks
from jseg.ops import pool
from jseg.typing import Array, Dtype

# Blocks in each of the four stages.
STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_BOTTLENECK = 50  # and deeper: three convolutions in a block, with four times as many features at its end

# N(0, sqrt(2 / fan_out)), torchvision's initialiser of these networks.
_fan_out = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')


class Block(nn.Module):
  """A residual block: two 3x3 convolutions, or 1x1, 3x3 and 1x1, beside the identity or a 1x1 projection."""

  features: int  # of the 3x3 convolutions
  bottleneck: bool
  stride: int
  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module]

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """[b h w c] -> [b h/stride w/stride features, or four times that]."""
    sides = (1, 3, 1) if self.bottleneck else (3, 3)
    striding = sides.index(3)
    last = self.features * (4 if self.bottleneck else 1)
    shortcut = x
    if self.stride > 1 or x.shape[-1] != last:
      shortcut = self.conv(last, (1, 1), stride=self.stride, name='shortcut')(x)
      shortcut = self.norm(name='shortcut_norm')(shortcut, train=train)
    for i, side in enumerate(sides):
      features = last if i == len(sides) - 1 else self.features
      stride = self.stride if i == striding else 1
      x = self.conv(features, (side, side), stride=stride, padding=side // 2, name=f'conv{i + 1}')(x)
      x = self.norm(name=f'norm{i + 1}')(x, train=train)
      x = nn.relu(x) if i < len(sides) - 1 else x
    return nn.relu(x + shortcut)


class Encoder(nn.Module):
  """Stem and four stages of residual blocks."""

  depth: int = 50  # a key of STAGES
  width: int = 64  # features of the stem and of the first stage's 3x3 convolutions
  norm: str = 'bn'  # as blocks.Norm
  bn_eps: float = 1e-5
  bn_momentum: float = 0.9
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  strides = (2, 4, 8, 16, 32)

  @property
  def channels(self) -> tuple[int, ...]:
    """Features of c1 .. c5."""
    last = 4 if self.depth >= _BOTTLENECK else 1
    return (self.width, *(last * self.width * 2**i for i in range(4)))

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[tuple[Array, ...], dict[str, Array]]:
    """image [b h w c], any size -> maps (c1 .. c5) at strides 2 .. 32, shallow to deep, and {'pool'}.

    c1 comes before the stem's pool, `pool` after it.

    Raises:
      ValueError: the depth has no ResNet.
    """
    if self.depth not in STAGES:
      raise ValueError(f'ResNet of depth {self.depth} is unknown; there are: {", ".join(map(str, STAGES))}')
    conv = functools.partial(blocks.Conv, use_bias=False, dtype=self.dtype, kernel_init=_fan_out)
    norm = functools.partial(
      blocks.Norm, self.norm, self.bn_momentum, self.bn_eps, self.axis_name, self.dtype
    )
    x = conv(self.width, (7, 7), stride=2, padding=3, name='conv1')(image)
    x = nn.relu(norm(name='norm1')(x, train=train))
    features = [x]
    x = pool.max_pool(x, kernel=3, stride=2, padding=1)
    out = {'pool': x}
    for i, count in enumerate(STAGES[self.depth]):
      for j in range(count):
        stride = 2 if i > 0 and j == 0 else 1
        x = Block(
          self.width * 2**i, self.depth >= _BOTTLENECK, stride, conv, norm, name=f'stage{i + 1}_{j + 1}'
        )(x, train=train)
      features.append(x)
    return tuple(features), out


class Classifier(nn.Module):
  """The classification network: encoder, mean over the map, one fully connected layer."""

  num_classes: int = 1000
  depth: int = 50
  width: int = 64
  norm: str = 'bn'
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c] -> logits [b k] float32 and the maps pool, stage1..stage4, avgpool."""
    features, out = Encoder(
      self.depth, self.width, self.norm, dtype=self.dtype, axis_name=self.axis_name, name='encoder'
    )(image, train=train)
    out |= {f'stage{i}': c for i, c in enumerate(features[1:], start=1)}
    out['avgpool'] = x = pool.adaptive_avg_pool(features[-1], (1, 1))
    x = blocks.Conv(self.num_classes, (1, 1), dtype=self.dtype, name='fc')(x)
    return x[:, 0, 0].astype(jnp.float32), out
