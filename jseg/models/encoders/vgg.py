"""VGG16 and VGG19, with or without batch normalisation, as encoder and as ImageNet classifier.

Source: Simonyan, Zisserman, "Very deep convolutional networks" (arXiv:1409.1556), table 1, columns D and E;
the batch-normalised form is torchvision's. Convolutions keep their bias beside normalisation.
"""

import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks
from jseg.ops import pool
from jseg.typing import Array, Dtype

# Convolutions in each of the five stages.
STAGES = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class Encoder(nn.Module):
  """The thirteen or sixteen convolutions and five pools."""

  depth: int = 16
  width: int = 64  # features of the first stage; the others have 2, 4, 8 and 8 times as many
  norm: str = 'none'  # as blocks.Norm
  bn_eps: float = 1e-5
  bn_momentum: float = 0.9
  first_padding: int = 1  # of the very first convolution; FCN pads by 100
  ceil_mode: bool = False  # pools round up, as in Caffe
  dropout: float = 0.0  # after the pools of the three deepest stages, as in Bayesian SegNet and G-FRNet
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  strides = (2, 4, 8, 16, 32)

  @property
  def channels(self) -> tuple[int, ...]:
    """Features of c1 .. c5."""
    return tuple(self.width * min(2**i, 8) for i in range(5))

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[tuple[Array, ...], dict[str, Array]]:
    """image [b h w c] -> the pooled maps (c1 .. c5) at strides 2 .. 32, shallow to deep, and a dict.

    The dict has, for each stage i, `stage{i}`, the map before its pool, and `place{i}`, where in each 2x2
    window the maximum lay (`pool.unpool_2x2` takes both).

    Raises:
      ValueError: the depth has no VGG, or the image is too small for five pools.
    """
    if self.depth not in STAGES:
      raise ValueError(f'VGG of depth {self.depth} is unknown; there are: {", ".join(map(str, STAGES))}')
    least = 34 - 2 * self.first_padding
    if not self.ceil_mode and min(image.shape[1:3]) < least:
      raise ValueError(
        f'image of {image.shape[1]}x{image.shape[2]} pixels is too small for five pools that round down; '
        f'give at least {least}x{least}'
      )
    features, out = [], {}
    x = image
    for i, (convs, channels) in enumerate(zip(STAGES[self.depth], self.channels, strict=True), start=1):
      for j in range(1, convs + 1):
        padding = self.first_padding if i == j == 1 else 1
        x = blocks.Conv(channels, padding=padding, dtype=self.dtype, name=f'conv{i}_{j}')(x)
        x = self._norm(f'norm{i}_{j}')(x, train=train)
        x = nn.relu(x)
      out[f'stage{i}'] = x
      x, out[f'place{i}'] = pool.max_pool_2x2(x, ceil_mode=self.ceil_mode)
      if i > 2:
        x = blocks.Dropout(self.dropout, self.axis_name)(x, train=train)
      features.append(x)
    return tuple(features), out

  def _norm(self, name: str) -> blocks.Norm:
    return blocks.Norm(self.norm, self.bn_momentum, self.bn_eps, self.axis_name, self.dtype, name=name)


class Classifier(nn.Module):
  """The classification network: encoder, average pooling to 7x7, three fully connected layers.

  fc6 is a 7x7 convolution and fc7 a 1x1 one, so that their parameters are those of FCN's layers.
  """

  num_classes: int = 1000
  depth: int = 16
  width: int = 64
  norm: str = 'none'
  dropout: float = 0.5
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c], sides >= 32 -> logits [b k] float32 and the maps pool1..pool5, avgpool."""
    features, _ = Encoder(
      self.depth, self.width, self.norm, dtype=self.dtype, axis_name=self.axis_name, name='encoder'
    )(image, train=train)
    out = {f'pool{i}': c for i, c in enumerate(features, start=1)}
    out['avgpool'] = x = pool.adaptive_avg_pool(features[-1], (7, 7))
    for name, kernel in (('fc6', 7), ('fc7', 1)):
      x = nn.relu(blocks.Conv(64 * self.width, (kernel, kernel), dtype=self.dtype, name=name)(x))
      x = blocks.Dropout(self.dropout, self.axis_name)(x, train=train)
    x = blocks.Conv(self.num_classes, (1, 1), dtype=self.dtype, name='fc8')(x)
    return x[:, 0, 0].astype(jnp.float32), out
