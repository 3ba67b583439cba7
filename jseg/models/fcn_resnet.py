"""FCN on a dilated ResNet: the form that torchvision calls fcn_resnet50 and fcn_resnet101.

Source: torchvision's `models/segmentation/fcn.py`: a head of a 3x3 convolution to a quarter of the features,
batch normalisation, ReLU, dropout and a 1x1 convolution on the encoder's last map, another one on the map
before, for an auxiliary loss, and bilinear upsampling. It shares the idea of Long, Shelhamer, Darrell
(arXiv:1605.06211), not the layers: no skips, no filter of its own to upsample.
"""

import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks
from jseg.models.encoders import resnet
from jseg.ops import resize
from jseg.typing import Array, Dtype


class Head(nn.Module):
  """3x3 to a quarter of the features, normalisation, ReLU, dropout, 1x1 to the classes."""

  num_classes: int
  dropout: float
  norm: str
  bn_momentum: float
  dtype: Dtype
  axis_name: str | None

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """[b h w c] -> scores [b h w k] float32."""
    x = blocks.Conv(x.shape[-1] // 4, padding=1, use_bias=False, dtype=self.dtype, name='conv')(x)
    norm = blocks.Norm(self.norm, self.bn_momentum, 1e-5, self.axis_name, self.dtype, name='norm')
    x = nn.relu(norm(x, train=train))
    x = blocks.Dropout(self.dropout, self.axis_name)(x, train=train)
    return blocks.Conv(self.num_classes, (1, 1), dtype=self.dtype, name='score')(x).astype(jnp.float32)


class Model(nn.Module):
  """FCN-ResNet."""

  num_classes: int
  depth: int = 50
  width: int = 64  # of the encoder
  output_stride: int = 8  # as resnet.Encoder
  aux: bool = True  # the head on the last map but one, for a loss on out['aux']
  dropout: float = 0.1
  norm: str = 'bn'  # as blocks.Norm
  bn_momentum: float = 0.9
  remat: bool = False  # as resnet.Encoder
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c], any size -> logits [b h w k] float32, and maps.

    The maps are the encoder's, pool and stage1..4; `score`, the logits before the upsampling; with `aux`
    aux_score and aux, the auxiliary logits at the image's size.

    Raises:
      ValueError: an option of the encoder is unknown.
    """
    size = image.shape[1:3]
    features, out = resnet.Encoder(
      self.depth, self.width, self.norm, bn_momentum=self.bn_momentum, output_stride=self.output_stride,
      contract_dilation=True, remat=self.remat, dtype=self.dtype, axis_name=self.axis_name, name='encoder',
    )(image, train=train)  # fmt: skip
    out |= {f'stage{i}': c for i, c in enumerate(features[1:], start=1)}
    out['score'] = self._head('head')(features[-1], train=train)
    if self.aux:
      out['aux_score'] = self._head('aux')(features[-2], train=train)
      out['aux'] = resize.bilinear(out['aux_score'], size)
    return resize.bilinear(out['score'], size), out

  def _head(self, name: str) -> Head:
    return Head(
      self.num_classes, self.dropout, self.norm, self.bn_momentum, self.dtype, self.axis_name, name=name
    )
