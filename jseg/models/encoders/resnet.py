"""ResNet-18, 34, 50, 101, 152 and 269 as encoder and as ImageNet classifier.

Source: He et al., "Deep residual learning" (arXiv:1512.03385), table 1, in the form of torchvision's weights:
bottlenecks stride in their 3x3 convolution. The paper's own, stem='caffe' with strided='1x1', is that of its
released prototxts. The deep stem and depth 269 are PSPNet's (arXiv:1612.01105); strides that `output_stride`
takes away become dilations of the 3x3 convolutions.
"""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jseg.models import blocks
from jseg.ops import pool
from jseg.typing import Array, Dtype

# Blocks in each of the four stages.
STAGES = {
  18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3),
  269: (3, 30, 48, 8),
}  # fmt: skip
_BOTTLENECK = 50  # and deeper: three convolutions in a block, with four times as many features at its end
_STEMS = ('conv7', 'deep', 'caffe')
_OUTPUT_STRIDES = (32, 16, 8)
_STRIDED = ('3x3', '1x1')

# N(0, sqrt(2 / fan_out)), torchvision's initialiser of these networks.
_fan_out = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')


class Block(nn.Module):
  """A residual block: two 3x3 convolutions, or 1x1, 3x3 and 1x1, beside the identity or a 1x1 projection."""

  features: int  # of the 3x3 convolutions
  bottleneck: bool
  stride: int
  dilation: int  # of the 3x3 convolutions
  strided: str  # '3x3' | '1x1': a bottleneck's convolution that has the stride
  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module]

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """[b h w c] -> [b h/stride w/stride features, or four times that]."""
    sides = (1, 3, 1) if self.bottleneck else (3, 3)
    striding = sides.index(3) if self.strided == '3x3' else 0
    last = self.features * (4 if self.bottleneck else 1)
    shortcut = x
    if self.stride > 1 or x.shape[-1] != last:
      shortcut = self.conv(last, (1, 1), stride=self.stride, name='shortcut')(x)
      shortcut = self.norm(name='shortcut_norm')(shortcut, train=train)
    for i, side in enumerate(sides):
      features = last if i == len(sides) - 1 else self.features
      stride = self.stride if i == striding else 1
      dilation = self.dilation if side == 3 else 1
      x = self.conv(
        features, (side, side), stride, dilation * (side // 2), dilation=dilation, name=f'conv{i + 1}'
      )(x)
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
  stem: str = 'conv7'  # conv7 | deep: three 3x3, the last twice as wide | caffe: pool unpadded, rounding up
  strided: str = '3x3'  # 3x3 | 1x1: a bottleneck's convolution that has the stride
  output_stride: int = 32  # 32 | 16 | 8
  contract_dilation: bool = False  # a stage's first block keeps the dilation before it, as torchvision does
  dilate: bool = True  # strides that `output_stride` takes away become dilations
  freeze_at: int = 0  # no gradient to the stem (1) and to stages before this number, as Detectron counts
  remat: bool = False  # compute blocks again in the backward pass: less memory, a third more time
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @property
  def strides(self) -> tuple[int, ...]:
    """Strides of c1 .. c5."""
    return (2, 4, *(min(stride, self.output_stride) for stride in (8, 16, 32)))

  @property
  def channels(self) -> tuple[int, ...]:
    """Features of c1 .. c5."""
    last = 4 if self.depth >= _BOTTLENECK else 1
    first = self.width * (2 if self.stem == 'deep' else 1)
    return (first, *(last * self.width * 2**i for i in range(4)))

  @nn.compact
  def __call__(
    self, image: Array, *, train: bool, first: int = 0, last: int = 4
  ) -> tuple[tuple[Array, ...], dict[str, Array]]:
    """image [b h w c], any size -> maps (c1 .. c5) at `strides`, shallow to deep, and {'pool'}.

    c1 comes before the stem's pool, `pool` after it.

    Args:
      image: of the network, or with `first` > 0 the map of stage `first`, from which the rest goes on.
      train: as in blocks.Norm.
      first: stages not run before those that are; with any, the stem is not run either.
      last: the last stage that is run; maps are those of the stem and the stages that are run.

    Raises:
      ValueError: the depth has no ResNet, another option is unknown, or the image too small for stem='caffe'.
    """
    self._check(image)
    conv = functools.partial(blocks.Conv, use_bias=False, dtype=self.dtype, kernel_init=_fan_out)
    norm = functools.partial(
      blocks.Norm, self.norm, self.bn_momentum, self.bn_eps, self.axis_name, self.dtype
    )
    features, out, x = [], {}, image
    if first == 0:
      c1 = self._stem(image, conv, norm, train)
      unpadded = self.stem == 'caffe'
      x = pool.max_pool(c1, kernel=3, stride=2, padding=0 if unpadded else 1, ceil_mode=unpadded)
      x = lax.stop_gradient(x) if self.freeze_at > 0 else x
      features, out = [c1], {'pool': x}
    dilation = 1
    for i, count in enumerate(STAGES[self.depth][:last]):
      stride = 1 if i == 0 or 4 * 2**i > self.output_stride else 2
      before, dilation = dilation, dilation * (2 if i > 0 and stride == 1 and self.dilate else 1)
      for j in range(count if i >= first else 0):
        block = Block(
          self.width * 2**i,
          self.depth >= _BOTTLENECK,
          stride if j == 0 else 1,
          before if j == 0 and self.contract_dilation else dilation,
          self.strided,
          conv,
          norm,
          name=f'stage{i + 1}_{j + 1}',
        )
        x = blocks.run(block, x, train=train, remat=self.remat, axis_name=self.axis_name)
      if i >= first:
        x = lax.stop_gradient(x) if i + 1 < self.freeze_at else x
        features.append(x)
    return tuple(features), out

  def _stem(self, image: Array, conv: Callable, norm: Callable, train: bool) -> Array:
    """c1."""
    x = image
    if self.stem == 'deep':
      for i, times in enumerate((1, 1, 2), start=1):
        x = conv(times * self.width, stride=2 if i == 1 else 1, padding=1, name=f'conv{i}')(x)
        x = nn.relu(norm(name=f'norm{i}')(x, train=train))
      return x
    # The released ResNet-50 alone has a bias in its first convolution.
    biased = self.stem == 'caffe' and self.depth == 50
    x = conv(self.width, (7, 7), stride=2, padding=3, use_bias=biased, name='conv1')(image)
    return nn.relu(norm(name='norm1')(x, train=train))

  def _check(self, image: Array) -> None:
    """Raises the ValueErrors of __call__."""
    for word, value, known in (
      ('of depth', self.depth, STAGES),
      ('stem', self.stem, _STEMS),
      ('of output stride', self.output_stride, _OUTPUT_STRIDES),
      ('strided in', self.strided, _STRIDED),
    ):
      if value not in known:
        raise ValueError(f'ResNet {word} {value} is unknown; there are: {", ".join(map(str, known))}')
    if self.stem == 'caffe' and min(image.shape[1:3]) < 5:
      raise ValueError(
        f'image of {image.shape[1]}x{image.shape[2]} pixels is too small for the unpadded pool; '
        'give at least 5x5'
      )


class Classifier(nn.Module):
  """The classification network: encoder, mean over the map, one fully connected layer."""

  num_classes: int = 1000
  depth: int = 50
  width: int = 64
  norm: str = 'bn'
  stem: str = 'conv7'
  strided: str = '3x3'
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c] -> logits [b k] float32 and the maps pool, stage1..stage4, avgpool."""
    features, out = Encoder(
      self.depth, self.width, self.norm, stem=self.stem, strided=self.strided,
      dtype=self.dtype, axis_name=self.axis_name, name='encoder',
    )(image, train=train)  # fmt: skip
    out |= {f'stage{i}': c for i, c in enumerate(features[1:], start=1)}
    out['avgpool'] = x = pool.adaptive_avg_pool(features[-1], (1, 1))
    x = blocks.Conv(self.num_classes, (1, 1), dtype=self.dtype, name='fc')(x)
    return x[:, 0, 0].astype(jnp.float32), out
