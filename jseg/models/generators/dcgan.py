"""A generator of images from noise: one linear layer, then transposed convolutions that double the sides.

Source: Souly, Spampinato, Shah, "Semi supervised semantic segmentation using generative adversarial network"
(ICCV 2017), section 3, says what kind it is; its widths could not be verified. These are of gengyanlei/ssgan,
an unofficial port: approximate, so no figure of the paper belongs to it. As DCGAN (Radford et al. 2016,
arXiv:1511.06434) it normalises batches and ends in tanh.
"""

import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks
from jseg.typing import Array, Dtype

STRIDE = 16  # sides of the image to those of the first map
_SHARES = (2, 3, 4)  # the first map's features over those of the maps after it


class Generator(nn.Module):
  """Images of one size from noise, and from image tags where they are given."""

  start: tuple[int, int] = (16, 16)  # rows and columns of the first map
  width: int = 768  # its features
  channels: int = 3
  bn_eps: float = 1e-5
  bn_momentum: float = 0.9
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, z: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """z [b n] -> image [b 16h 16w c] in -1..1 float32, and the maps linear, deconv1..4.

    Args:
      z: noise, and beside it the tags of the images to come, float32.
      train: batch statistics.
    """
    h, w = self.start
    kernel = self.param('kernel', nn.initializers.he_normal(), (z.shape[-1], self.width * h * w), jnp.float32)
    bias = self.param('bias', nn.initializers.zeros, (self.width * h * w,), jnp.float32)
    x = nn.relu(z.astype(self.dtype) @ kernel.astype(self.dtype) + bias.astype(self.dtype)[None])
    out = {'linear': x}
    x = jnp.moveaxis(x.reshape(-1, self.width, h, w), 1, -1)  # rows of the kernel lie as in the reference
    for i, features in enumerate([*(self.width // n for n in _SHARES), self.channels], start=1):
      x = blocks.ConvTranspose(features, (3, 3), 2, 1, 1, dtype=self.dtype, name=f'deconv{i}')(x)
      if i <= len(_SHARES):
        norm = blocks.Norm(
          'bn', self.bn_momentum, self.bn_eps, self.axis_name, self.dtype, name=f'deconv{i}_norm'
        )
        x = nn.relu(norm(x, train=train))
      else:
        x = jnp.tanh(x.astype(jnp.float32))
      out[f'deconv{i}'] = x
    return x, out
