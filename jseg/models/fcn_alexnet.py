"""FCN-AlexNet: the fully convolutional CaffeNet, scored at stride 32.

Source: Long, Shelhamer, Darrell (CVPR 2015; PAMI 2017, arXiv:1605.06211), sections 4.1 and 4.2; the layers
are those of the released `voc-fcn-alexnet/net.py`: the first convolution pads by 100, upsampling is the
bilinear filter of side 63, and a fixed offset crops what both add. The filter is frozen as in the released
code; deconv='learned' learns it.
Departure: a frozen filter is no parameter here, the released model stores it.
"""

import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks, fcn
from jseg.models.encoders import alexnet
from jseg.typing import Array, Dtype

# Where the logits begin in the upsampled map, pixels (the prototxt's crop layer).
_CROP = 18


class Model(nn.Module):
  """FCN on CaffeNet."""

  num_classes: int
  form: str = 'caffenet'  # of the encoder; 'alexnet' only exchanges pool and normalisation
  deconv: str = 'bilinear'  # bilinear: frozen, no parameters | learned: a full kernel
  dropout: float = 0.5  # after fc6 and fc7
  width: int = 32  # the encoder's unit; fc6 and fc7 have 128 times as many features
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c], any size -> logits [b h w k] float32, and the maps by the released layers' names.

    The names are conv3, conv4, pool1, pool2 (normalised), pool5, fc6, fc7, score_fr, upscore.

    Raises:
      ValueError: an option is unknown.
    """
    if self.form not in ('caffenet', 'alexnet'):
      raise ValueError(f"FCN-AlexNet of form '{self.form}' is unknown; there are: caffenet, alexnet")
    features, out = alexnet.Encoder(
      self.form, self.width, first_padding=100, dtype=self.dtype, name='encoder'
    )(image, train=train)
    out |= {f'pool{i}': c for i, c in zip((1, 2, 5), features, strict=True)}
    x = features[-1]
    for name, kernel in (('fc6', 6), ('fc7', 1)):
      out[name] = x = nn.relu(blocks.Conv(128 * self.width, (kernel, kernel), dtype=self.dtype, name=name)(x))
      x = blocks.Dropout(self.dropout, self.axis_name)(x, train=train)
    out['score_fr'] = x = fcn.score(x, self.num_classes, self.dtype, 'score_fr')
    out['upscore'] = x = fcn.upsample(x, 32, 63, self.deconv, 'upscore')
    return fcn.crop(x, _CROP, image.shape[1:3]), out
