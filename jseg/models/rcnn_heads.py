"""The heads of Mask R-CNN: region proposals, boxes, masks, keypoints.

Source: He et al., "Mask R-CNN" (arXiv:1703.06870), figure 4 and section 5; initialisers of Detectron
(modeling/{FPN,fast_rcnn_heads,mask_rcnn_heads,keypoint_rcnn_heads}.py).
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks, fpn
from jseg.ops import resize
from jseg.typing import Array, Dtype

# N(0, sqrt(2 / fan_out)), Caffe2's MSRAFill.
_msra = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')


class RegionProposals(nn.Module):
  """A 3x3 convolution and, 1x1 each, objectness and box deltas of every anchor; shared by all levels."""

  num_anchors: int  # at each place
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> tuple[jax.Array, jax.Array]:
    """[b h w c] -> objectness [b h*w*a] before the sigmoid and deltas [b h*w*a 4], both float32.

    The order is that of ops.anchors.level: by row, column, anchor.
    """
    conv = functools.partial(blocks.Conv, dtype=self.dtype, kernel_init=nn.initializers.normal(0.01))
    x = nn.relu(conv(x.shape[-1], padding=1, name='conv')(x))
    objectness = conv(self.num_anchors, (1, 1), name='objectness')(x)
    deltas = conv(4 * self.num_anchors, (1, 1), name='deltas')(x)
    b = x.shape[0]
    return objectness.reshape(b, -1).astype(jnp.float32), deltas.reshape(b, -1, 4).astype(jnp.float32)


class BoxScores(nn.Module):
  """Class scores and box deltas of every class from one vector for each region."""

  num_classes: int
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> tuple[jax.Array, jax.Array]:
    """[n 1 1 c] -> logits [n k] and deltas [n k 4], both float32."""
    conv = functools.partial(blocks.Conv, kernel_size=(1, 1), dtype=self.dtype)
    normal = nn.initializers.normal
    logits = conv(self.num_classes, kernel_init=normal(0.01), name='score')(x)
    deltas = conv(4 * self.num_classes, kernel_init=normal(0.001), name='deltas')(x)
    n = x.shape[0]
    return logits.reshape(n, -1).astype(jnp.float32), deltas.reshape(n, -1, 4).astype(jnp.float32)


class BoxHead(nn.Module):
  """Two fully connected layers on the whole region, the head beside the pyramid."""

  features: int = 1024
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[n s s c] -> [n 1 1 features]; fc6 sees the region by row, column, channel."""
    x = x.reshape(x.shape[0], 1, 1, -1)
    for name in ('fc6', 'fc7'):
      layer = blocks.Conv(self.features, (1, 1), dtype=self.dtype, kernel_init=fpn.xavier, name=name)
      x = nn.relu(layer(x))
    return x


class MaskHead(nn.Module):
  """3x3 convolutions, a transposed one that doubles the side, and a mask for every class.

  None of the 3x3 beside C4, whose last stage takes their place; four beside the pyramid.
  """

  channels: int  # masks: one a class, or one in all
  features: int = 256
  convs: int = 4
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> jax.Array:
    """[n s s c] -> mask logits [n 2s 2s channels] float32."""
    for i in range(1, self.convs + 1):
      conv = blocks.Conv(self.features, padding=1, dtype=self.dtype, kernel_init=_msra, name=f'conv{i}')
      x = nn.relu(conv(x))
    up = blocks.ConvTranspose(self.features, dtype=self.dtype, kernel_init=_msra, name='up')
    score = blocks.Conv(self.channels, (1, 1), dtype=self.dtype, kernel_init=_msra, name='score')
    return score(nn.relu(up(x))).astype(jnp.float32)


class KeypointHead(nn.Module):
  """Eight 3x3 convolutions, a transposed one that doubles the side, and bilinear doubling."""

  num_keypoints: int
  features: int = 512
  convs: int = 8
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> jax.Array:
    """[n s s c] -> logits [n 4s 4s p] float32, of each keypoint over the places of the region."""
    for i in range(1, self.convs + 1):
      conv = blocks.Conv(self.features, padding=1, dtype=self.dtype, kernel_init=_msra, name=f'conv{i}')
      x = nn.relu(conv(x))
    up = blocks.ConvTranspose(
      self.num_keypoints, (4, 4), padding=1, dtype=self.dtype, kernel_init=_msra, name='score'
    )
    x = up(x).astype(jnp.float32)
    return resize.bilinear(x, [2 * side for side in x.shape[1:3]])
