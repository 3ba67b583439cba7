"""DenseNet-121, 161, 169 and 201 as encoder and as ImageNet classifier.

Source: Huang, Liu, van der Maaten, Weinberger, "Densely connected convolutional networks" (arXiv:1608.06993),
table 1, the form with bottlenecks and compression (DenseNet-BC); the layers are torchvision's, and so is
depth 161, whose growth is 48.
"""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks
from jseg.ops import pool
from jseg.typing import Array, Dtype

# Layers in each of the four dense blocks, and the growth: the features each of them adds.
LAYOUTS = {
  121: ((6, 12, 24, 16), 32),
  161: ((6, 12, 36, 24), 48),
  169: ((6, 12, 32, 32), 32),
  201: ((6, 12, 48, 32), 32),
}
_LEAST = 29  # that three halvings of the map at stride 4, rounding down, leave a pixel


class Layer(nn.Module):
  """Normalisation, ReLU, 1x1 to four times the growth; the same and 3x3 to the growth; beside the input."""

  growth: int
  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module]

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """[b h w c] -> [b h w c + growth]."""
    y = nn.relu(self.norm(name='norm1')(x, train=train))
    y = self.conv(4 * self.growth, (1, 1), name='conv1')(y)
    y = nn.relu(self.norm(name='norm2')(y, train=train))
    y = self.conv(self.growth, (3, 3), padding=1, name='conv2')(y)
    return jnp.concatenate((x, y), axis=-1)


class Encoder(nn.Module):
  """Stem and four dense blocks, with transitions that halve features and sides between them."""

  depth: int = 121  # a key of LAYOUTS
  growth: int | None = None  # None: the depth's; the stem has twice as many features
  norm: str = 'bn'  # as blocks.Norm
  bn_eps: float = 1e-5
  bn_momentum: float = 0.9
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  strides = (2, 4, 8, 16, 32)

  @property
  def channels(self) -> tuple[int, ...]:
    """Features of c1 .. c5."""
    layers, growth = self._layout()
    found = [2 * growth]
    for i, count in enumerate(layers):
      before = found[-1] if i == 0 else found[-1] // 2
      found.append(before + count * growth)
    return tuple(found)

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[tuple[Array, ...], dict[str, Array]]:
    """image [b h w c], sides >= 29 -> maps (c1 .. c5) at strides 2 .. 32, shallow to deep, and {'pool'}.

    c1 comes before the stem's pool, `pool` after it; c2 .. c4 are the blocks' outputs before the transitions,
    c5 the last one's after normalisation and ReLU.

    Raises:
      ValueError: the depth has no DenseNet, or the image is too small for the transitions.
    """
    layers, growth = self._layout()
    if min(image.shape[1:3]) < _LEAST:
      raise ValueError(
        f'image of {image.shape[1]}x{image.shape[2]} pixels is too small for three pools that round down; '
        f'give at least {_LEAST} on each side'
      )
    conv = functools.partial(blocks.Conv, use_bias=False, dtype=self.dtype)
    norm = functools.partial(
      blocks.Norm, self.norm, self.bn_momentum, self.bn_eps, self.axis_name, self.dtype
    )
    x = conv(2 * growth, (7, 7), stride=2, padding=3, name='conv0')(image)
    x = nn.relu(norm(name='norm0')(x, train=train))
    features = [x]
    x = pool.max_pool(x, kernel=3, stride=2, padding=1)
    out = {'pool': x}
    for i, count in enumerate(layers, start=1):
      for j in range(1, count + 1):
        x = Layer(growth, conv, norm, name=f'block{i}_{j}')(x, train=train)
      if i < len(layers):
        features.append(x)
        x = nn.relu(norm(name=f'transition{i}_norm')(x, train=train))
        x = conv(x.shape[-1] // 2, (1, 1), name=f'transition{i}')(x)
        x = pool.avg_pool(x, kernel=2, stride=2)
    features.append(nn.relu(norm(name='norm5')(x, train=train)))
    return tuple(features), out

  def _layout(self) -> tuple[tuple[int, ...], int]:
    """Layers of the blocks, and the growth.

    Raises:
      ValueError: the depth has no DenseNet.
    """
    if self.depth not in LAYOUTS:
      raise ValueError(
        f'DenseNet of depth {self.depth} is unknown; there are: {", ".join(map(str, LAYOUTS))}'
      )
    layers, growth = LAYOUTS[self.depth]
    return layers, growth if self.growth is None else self.growth


class Classifier(nn.Module):
  """The classification network: encoder, mean over the map, one fully connected layer."""

  num_classes: int = 1000
  depth: int = 121
  growth: int | None = None
  norm: str = 'bn'
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c], sides >= 29 -> logits [b k] float32 and the maps pool, block1..block4, avgpool."""
    features, out = Encoder(
      self.depth, self.growth, self.norm, dtype=self.dtype, axis_name=self.axis_name, name='encoder'
    )(image, train=train)
    out |= {f'block{i}': c for i, c in enumerate(features[1:], start=1)}
    out['avgpool'] = x = pool.adaptive_avg_pool(features[-1], (1, 1))
    x = blocks.Conv(self.num_classes, (1, 1), dtype=self.dtype, name='fc')(x)
    return x[:, 0, 0].astype(jnp.float32), out
