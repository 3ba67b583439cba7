"""GoogLeNet in two forms, as encoder and as ImageNet classifier.

Source: Szegedy et al., "Going deeper with convolutions" (arXiv:1409.4842), table 1. Form 'caffe' is Caffe's
bvlc_googlenet: biases, local response normalisation, pools that round up. 'torchvision' has batch
normalisation in place of both, 3x3 convolutions where the paper has 5x5, and a fourth pool of 2x2.
Departure: no auxiliary classifiers; neither released network has them at test.
"""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks
from jseg.ops import normalise, pool
from jseg.typing import Array, Dtype

# Features of 1x1 | 3x3's reduction, 3x3 | 5x5's reduction, 5x5 | the pool's projection, for width 64.
_INCEPTIONS = {
  '3a': (64, 96, 128, 16, 32, 32),
  '3b': (128, 128, 192, 32, 96, 64),
  '4a': (192, 96, 208, 16, 48, 64),
  '4b': (160, 112, 224, 24, 64, 64),
  '4c': (128, 128, 256, 24, 64, 64),
  '4d': (112, 144, 288, 32, 64, 64),
  '4e': (256, 160, 320, 32, 128, 128),
  '5a': (256, 160, 320, 32, 128, 128),
  '5b': (384, 192, 384, 48, 128, 128),
}
_FORMS = ('caffe', 'torchvision')


class Unit(nn.Module):
  """Convolution that keeps the size at stride 1, normalisation where the form has it, ReLU."""

  features: int
  side: int
  stride: int
  padding: int
  norm: Callable[..., nn.Module] | None
  dtype: Dtype

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """[b h w c] -> [b h' w' features]."""
    x = blocks.Conv(
      self.features, (self.side, self.side), self.stride, self.padding, use_bias=self.norm is None,
      dtype=self.dtype, name='conv',
    )(x)  # fmt: skip
    return nn.relu(x if self.norm is None else self.norm(name='norm')(x, train=train))


class Inception(nn.Module):
  """Four branches side by side: 1x1; 1x1 and 3x3; 1x1 and 5x5; 3x3 pool and 1x1."""

  features: tuple[int, ...]  # as _INCEPTIONS has them
  large: int  # the side of "5x5"
  unit: Callable[..., nn.Module]

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """[b h w c] -> [b h w sum of the branches']."""

    def unit(name: str, i: int, side: int, x: Array) -> Array:
      return self.unit(self.features[i], side, 1, side // 2, name=name)(x, train=train)

    branches = (
      unit('conv1x1', 0, 1, x),
      unit('conv3x3', 2, 3, unit('reduce3x3', 1, 1, x)),
      unit('conv5x5', 4, self.large, unit('reduce5x5', 3, 1, x)),
      unit('pool_proj', 5, 1, pool.max_pool(x, kernel=3, stride=1, padding=1)),
    )
    return jnp.concatenate(branches, axis=-1)


class Encoder(nn.Module):
  """Three convolutions and nine inception modules."""

  form: str = 'caffe'  # caffe | torchvision
  width: int = 64  # features of the first convolution, a multiple of 8
  norm: str = 'bn'  # as blocks.Norm, of form 'torchvision'
  bn_momentum: float = 0.9
  first_padding: int = 3  # of the very first convolution
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  strides = (2, 4, 8, 16, 32)

  @property
  def channels(self) -> tuple[int, ...]:
    """Features of c1 .. c5."""
    sums = [sum(_INCEPTIONS[name][i] for i in (0, 2, 4, 5)) for name in ('3b', '4e', '5b')]
    return tuple(n * self.width // 64 for n in (64, 192, *sums))

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[tuple[Array, ...], dict[str, Array]]:
    """image [b h w c] -> maps (c1 .. c5) at strides 2 .. 32, each before its pool, and a dict.

    The dict has pool1 .. pool4 and inception3a .. inception5b.

    Raises:
      ValueError: the form is unknown, or the image too small for the pools.
    """
    self._check(image)
    caffe = self.form == 'caffe'
    norm = functools.partial(blocks.Norm, self.norm, self.bn_momentum, 1e-3, self.axis_name, self.dtype)
    unit = functools.partial(Unit, norm=None if caffe else norm, dtype=self.dtype)
    x = unit(self.width, 7, 2, self.first_padding, name='conv1')(image, train=train)
    features, out = [x], {}
    out['pool1'] = x = pool.max_pool(x, kernel=3, ceil_mode=True)
    x = normalise.lrn(x) if caffe else x
    x = unit(self.width, 1, 1, 0, name='conv2')(x, train=train)
    x = unit(3 * self.width, 3, 1, 1, name='conv3')(x, train=train)
    features.append(x)
    x = normalise.lrn(x) if caffe else x
    out['pool2'] = x = pool.max_pool(x, kernel=3, ceil_mode=True)
    for name, numbers in _INCEPTIONS.items():
      branches = tuple(n * self.width // 64 for n in numbers)
      out[f'inception{name}'] = x = Inception(branches, 5 if caffe else 3, unit, name=f'inception{name}')(
        x, train=train
      )
      if name in ('3b', '4e', '5b'):
        features.append(x)
      if name == '3b':
        out['pool3'] = x = pool.max_pool(x, kernel=3, ceil_mode=True)
      if name == '4e':
        out['pool4'] = x = pool.max_pool(x, kernel=3 if caffe else 2, ceil_mode=True)
    return tuple(features), out

  def _check(self, image: Array) -> None:
    """Raises the ValueErrors of __call__."""
    if self.form not in _FORMS:
      raise ValueError(f"GoogLeNet of form '{self.form}' is unknown; there are: {', '.join(_FORMS)}")
    # Pools of 3x3 need two pixels for one, four for two, ...
    least = 2 * ((16 if self.form == 'caffe' else 8) - 1) + 7 - 2 * self.first_padding
    if min(image.shape[1:3]) < least:
      raise ValueError(
        f'image of {image.shape[1]}x{image.shape[2]} pixels is too small for four pools; '
        f'give at least {least} on each side'
      )


class Classifier(nn.Module):
  """The classification network: encoder, mean over the map, one fully connected layer."""

  num_classes: int = 1000
  form: str = 'caffe'
  width: int = 64
  norm: str = 'bn'
  dropout: float = 0.4  # torchvision's has 0.2
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c] -> logits [b k] float32 and the encoder's maps and avgpool."""
    features, out = Encoder(
      self.form, self.width, self.norm, dtype=self.dtype, axis_name=self.axis_name, name='encoder'
    )(image, train=train)
    out['avgpool'] = x = pool.adaptive_avg_pool(features[-1], (1, 1))
    x = blocks.Dropout(self.dropout, self.axis_name)(x, train=train)
    x = blocks.Conv(self.num_classes, (1, 1), dtype=self.dtype, name='fc')(x)
    return x[:, 0, 0].astype(jnp.float32), out
