"""FCN-GoogLeNet: class scores on GoogLeNet's last map, upsampled 32 times.

Source: Long, Shelhamer, Darrell (CVPR 2015; PAMI 2017, arXiv:1605.06211), section 4.1 and table 1: the final
average pooling is taken away, the classifier becomes a 1x1 convolution. The authors released no code of it;
padding of 100, the frozen bilinear filter of side 63 and the crop are chosen as in their FCN-AlexNet. No
dropout: the paper names none for this network.
"""

import jax.numpy as jnp
from flax import linen as nn

from jseg.models import fcn
from jseg.models.encoders import googlenet
from jseg.typing import Array, Dtype

# Where the logits begin in the upsampled map, pixels: cell i of the last map has its centre at image pixel
# 32 i - 67, and at 32 i + 31 of the upsampled map.
_CROP = 98


class Model(nn.Module):
  """FCN on GoogLeNet."""

  num_classes: int
  form: str = 'caffe'  # of the encoder: caffe | torchvision
  deconv: str = 'bilinear'  # bilinear: frozen, no parameters | learned: a full kernel
  width: int = 64  # features of the first convolution, a multiple of 8
  norm: str = 'bn'  # as blocks.Norm, of form 'torchvision'
  bn_momentum: float = 0.9
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c], any size -> logits [b h w k] float32, and maps.

    The maps are the encoder's (pool1..4, inception3a..5b), score_fr and upscore.

    Raises:
      ValueError: an option is unknown.
    """
    features, out = googlenet.Encoder(
      self.form, self.width, self.norm, self.bn_momentum, 100, self.dtype, self.axis_name, name='encoder'
    )(image, train=train)
    out['score_fr'] = x = fcn.score(features[-1], self.num_classes, self.dtype, 'score_fr')
    out['upscore'] = x = fcn.upsample(x, 32, 63, self.deconv, 'upscore')
    return fcn.crop(x, _CROP, image.shape[1:3]), out
