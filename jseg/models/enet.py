"""ENet: an early halving, bottlenecks with dilated and asymmetric convolutions, a small decoder that unpools.

Source: Paszke et al., "ENet" (arXiv:1606.02147), table 1 and figure 2; the layers are those of the
authors' `encoder.lua` and `decoder.lua`, which leave the text in two things: the middle convolutions, the
first and the transposed ones have biases, and the decoder uses ReLU. They train in two
stages: decoder=False is the first, whose weights the whole network then starts from.
"""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jseg.models import blocks
from jseg.ops import pool, resize
from jseg.typing import Array, Dtype

_STRIDE = 8
_EPS = 1e-3  # of all normalisation, as in the Lua files

# Bottlenecks 1 .. 8 of stages 2 and 3: (kind, dilation).
_SECTION = (
  ('regular', 1), ('regular', 2), ('asymmetric', 1), ('regular', 4),
  ('regular', 1), ('regular', 8), ('asymmetric', 1), ('regular', 16),
)  # fmt: skip


class Bottleneck(nn.Module):
  """A quarter of the features, a middle convolution, all of them again; added to the shortcut.

  regular: a 3x3 convolution, dilated if wanted. asymmetric: 1x5, then 5x1. down: at half the size, the
  first projection being 2x2; the shortcut is pooled and filled up with empty channels. up: at twice the
  size, by a 3x3 transposed convolution; the shortcut is unpooled.
  """

  features: int
  kind: str
  dilation: int
  dropout: float
  prelu: bool  # otherwise ReLU
  norm: Callable[..., nn.Module]
  dtype: Dtype
  axis_name: str | None

  @nn.compact
  def __call__(self, x: Array, place: Array | None = None, *, train: bool) -> tuple[Array, Array | None]:
    """[b h w c] -> ([b h' w' features], for 'down' the places [b h' w' c] of the pool's maxima).

    `place` is for 'up': where the maxima lay in the map that the shortcut returns to.
    """
    features, x = self.features // 4, jnp.asarray(x)
    conv = functools.partial(blocks.Conv, dtype=self.dtype)
    side = 2 if self.kind == 'down' else 1
    y = conv(features, (side, side), side, use_bias=False, name='project')(x)
    y = self._active(self.norm(name='norm1')(y, train=train), 'act1')
    if self.kind == 'asymmetric':
      y = conv(features, (1, 5), padding=((0, 0), (2, 2)), use_bias=False, name='conv1x5')(y)
      y = conv(features, (5, 1), padding=((2, 2), (0, 0)), name='conv5x1')(y)
    elif self.kind == 'up':
      y = blocks.ConvTranspose(features, (3, 3), 2, 1, 1, dtype=self.dtype, name='conv')(y)
    else:
      y = conv(features, padding=self.dilation, dilation=self.dilation, name='conv')(y)
    y = self._active(self.norm(name='norm2')(y, train=train), 'act2')
    y = conv(self.features, (1, 1), use_bias=False, name='expand')(y)
    y = self.norm(name='norm3')(y, train=train)
    y = blocks.Dropout(self.dropout, self.axis_name, per_channel=True)(y, train=train)
    places = None
    if self.kind == 'down':
      x, places = pool.max_pool_2x2(x)
      empty = (0, self.features - x.shape[-1], 0)
      x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0),) * 3 + (empty,))
    elif self.kind == 'up':
      x = conv(self.features, (1, 1), use_bias=False, name='shortcut')(x)
      x = self.norm(name='shortcut_norm')(x, train=train)
      x = pool.unpool_2x2(x, jnp.asarray(place), y.shape[1:3])
    return self._active(x + y, 'act3'), places

  def _active(self, x: Array, name: str) -> Array:
    return blocks.PReLU(self.dtype, name=name)(x) if self.prelu else nn.relu(x)


class Model(nn.Module):
  """ENet."""

  num_classes: int
  width: int = 16  # features at half the size; the stages have 4, 8, 8, 4 and 1 times as many
  dropout: tuple[float, float] = (0.01, 0.1)  # of whole maps, in stage 1 and in stages 2 and 3
  encoder_head: bool = False  # also score the encoder, in `encoder_logits` at an eighth of the size
  decoder: bool = True  # False: the encoder alone; the logits are its scores, each over 8x8 pixels
  norm: str = 'bn'  # as blocks.Norm
  bn_momentum: float = 0.9
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c], any size -> logits [b h w k] float32 and the maps initial, stage1..stage5.

    Sides that 8 does not divide are filled up with zeros at their ends, and the logits cut.
    """
    h, w = image.shape[1:3]
    image = blocks.filled_up(image, _STRIDE)
    image = image.astype(self.dtype)
    first = blocks.Conv(self.width - image.shape[-1], stride=2, padding=1, dtype=self.dtype, name='first')
    x = jnp.concatenate([first(image), pool.max_pool(image)], axis=-1)
    x = self._norm()(name='first_norm')(x, train=train)
    x, out = blocks.PReLU(self.dtype, name='first_act')(x), {}
    out['initial'] = x
    early, late = self.dropout
    x, small = self._bottleneck(4, 'down', 1, early, True, 'stage1_0')(x, train=train)
    for i in range(1, 5):
      x, _ = self._bottleneck(4, 'regular', 1, early, True, f'stage1_{i}')(x, train=train)
    out['stage1'] = x
    x, smaller = self._bottleneck(8, 'down', 1, late, True, 'stage2_0')(x, train=train)
    for stage in (2, 3):
      for i, (kind, dilation) in enumerate(_SECTION, start=1):
        x, _ = self._bottleneck(8, kind, dilation, late, True, f'stage{stage}_{i}')(x, train=train)
      out[f'stage{stage}'] = x
    if self.encoder_head or not self.decoder:
      head = blocks.Conv(self.num_classes, (1, 1), dtype=self.dtype, name='encoder_score')
      out['encoder_logits'] = head(x).astype(jnp.float32)
    if not self.decoder:
      logits = resize.nearest(out['encoder_logits'], image.shape[1:3])
      return logits[:, :h, :w], out
    for stage, times, place, count in ((4, 4, smaller, 2), (5, 1, small, 1)):
      x, _ = self._bottleneck(times, 'up', 1, 0.0, False, f'stage{stage}_0')(x, place, train=train)
      for i in range(1, count + 1):
        x, _ = self._bottleneck(times, 'regular', 1, 0.0, False, f'stage{stage}_{i}')(x, train=train)
      out[f'stage{stage}'] = x
    logits = blocks.ConvTranspose(self.num_classes, (2, 2), 2, dtype=self.dtype, name='score')(x)
    return logits.astype(jnp.float32)[:, :h, :w], out

  def _bottleneck(
    self, times: int, kind: str, dilation: int, dropout: float, prelu: bool, name: str
  ) -> Bottleneck:
    return Bottleneck(
      times * self.width, kind, dilation, dropout, prelu, self._norm(), self.dtype, self.axis_name, name=name
    )

  def _norm(self) -> Callable[..., nn.Module]:
    return functools.partial(blocks.Norm, self.norm, self.bn_momentum, _EPS, self.axis_name, self.dtype)
