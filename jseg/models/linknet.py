"""LinkNet: ResNet-18, and decoders to whose output each encoder stage's input is added.

Source: Chaurasia, Culurciello, "LinkNet" (arXiv:1707.03718), figures 1 and 2; the layers are those of the
authors' `models/model.lua`: ReLU after every sum, biases in the decoders, an epsilon of 1e-3 in their
normalisation. The authors' later PyTorch form is sum_relu=False, decoder_bias=False, decoder_eps=1e-5.
"""

import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks
from jseg.models.encoders import resnet
from jseg.typing import Array, Dtype

_STRIDE = 32


class Decoder(nn.Module):
  """1x1 to a quarter, a 3x3 transposed convolution, 1x1; each with normalisation and ReLU."""

  features: int
  stride: int
  use_bias: bool
  norm: str
  bn_momentum: float
  bn_eps: float
  dtype: Dtype
  axis_name: str | None

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """[b h w c] -> [b h*stride w*stride features]."""
    quarter = x.shape[-1] // 4
    layers = (
      blocks.Conv(quarter, (1, 1), use_bias=self.use_bias, dtype=self.dtype, name='conv1'),
      blocks.ConvTranspose(
        quarter, (3, 3), self.stride, 1, self.stride - 1, self.use_bias, self.dtype, name='conv2'
      ),
      blocks.Conv(self.features, (1, 1), use_bias=self.use_bias, dtype=self.dtype, name='conv3'),
    )
    for i, layer in enumerate(layers, start=1):
      x = blocks.Norm(self.norm, self.bn_momentum, self.bn_eps, self.axis_name, self.dtype, name=f'norm{i}')(
        layer(x), train=train
      )
      x = nn.relu(x)
    return x


class Model(nn.Module):
  """LinkNet."""

  num_classes: int
  width: int = 64  # of the encoder
  sum_relu: bool = True  # ReLU after each sum
  decoder_bias: bool = True
  decoder_eps: float = 1e-3  # of all normalisation after the encoder but the first of the head (1e-5)
  norm: str = 'bn'  # as blocks.Norm
  bn_momentum: float = 0.9
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c], any size -> logits [b h w k] float32 and the maps encode1..4, decode4..1.

    Sides that 32 does not divide are filled up with zeros at their ends, and the logits cut.
    """
    h, w = image.shape[1:3]
    image = blocks.filled_up(image, _STRIDE)
    features, out = resnet.Encoder(
      18, self.width, self.norm, bn_momentum=self.bn_momentum, dtype=self.dtype,
      axis_name=self.axis_name, name='encoder',
    )(image, train=train)  # fmt: skip
    x, inputs = features[-1], (out.pop('pool'), *features[1:-1])
    out = {f'encode{i}': c for i, c in enumerate(features[1:], start=1)}
    for i in range(4, 0, -1):
      link = inputs[i - 1]
      x = link + Decoder(
        link.shape[-1], 2 if i > 1 else 1, self.decoder_bias, self.norm, self.bn_momentum, self.decoder_eps,
        self.dtype, self.axis_name, name=f'decode{i}',
      )(x, train=train)  # fmt: skip
      out[f'decode{i}'] = x = nn.relu(x) if self.sum_relu else x
    half = self.width // 2
    x = blocks.ConvTranspose(half, (3, 3), 2, 1, 1, dtype=self.dtype, name='head1')(x)
    x = nn.relu(self._norm(1e-5, 'head_norm1')(x, train=train))
    x = blocks.Conv(half, padding=1, dtype=self.dtype, name='head2')(x)
    x = nn.relu(self._norm(self.decoder_eps, 'head_norm2')(x, train=train))
    logits = blocks.ConvTranspose(self.num_classes, (2, 2), 2, dtype=self.dtype, name='score')(x)
    return logits.astype(jnp.float32)[:, :h, :w], out

  def _norm(self, eps: float, name: str) -> blocks.Norm:
    return blocks.Norm(self.norm, self.bn_momentum, eps, self.axis_name, self.dtype, name=name)
