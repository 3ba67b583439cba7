"""SegNet: VGG16's convolutions as encoder, their mirror image as decoder, pooling places in between.

Source: Badrinarayanan, Kendall, Cipolla, "SegNet" (arXiv:1511.00561), section 3 and figure 2; the layers are
those of the released `segnet_train.prototxt`: biases everywhere, the last convolution bare. Pools round up
and unpooling goes to the size before the pool, so every size passes. Departure: the released Caffe keeps no
running statistics; here they are kept (`bn_momentum`), and can be re-estimated after training as the authors
do.
Bayesian SegNet (Kendall, Badrinarayanan, Cipolla, arXiv:1511.02680) is dropout=0.5: after pools 3 to 5 and
decoder stages 5 to 3, the paper's central encoder-decoder variant (`bayesian_segnet_train.prototxt`).
The port meetshah1995/pytorch-semseg, which leaves the paper, is score_norm=True, ceil_mode=False.
"""

import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks
from jseg.models.encoders import vgg
from jseg.ops import pool
from jseg.typing import Array, Dtype


class Model(nn.Module):
  """SegNet."""

  num_classes: int
  width: int = 64  # features of the first stage; the others have 2, 4, 8 and 8 times as many
  dropout: float = 0.0  # after the three deepest pools and decoder stages
  ceil_mode: bool = True  # pools round up
  score_norm: bool = False  # normalisation and ReLU after the last convolution too
  norm: str = 'bn'  # as blocks.Norm
  bn_eps: float = 1e-5
  bn_momentum: float = 0.9
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c], any size -> logits [b h w k] float32 and the maps pool1..5, decode5..1.

    Raises:
      ValueError: pools that round down, and a side of less than 32 pixels.
    """
    encoder = vgg.Encoder(
      16, self.width, self.norm, self.bn_eps, self.bn_momentum,
      ceil_mode=self.ceil_mode, dropout=self.dropout, dtype=self.dtype, axis_name=self.axis_name,
      name='encoder',
    )  # fmt: skip
    features, stages = encoder(image, train=train)
    out = {f'pool{i}': c for i, c in enumerate(features, start=1)}
    x = features[-1]
    for i in range(5, 0, -1):
      _, h, w, _ = stages[f'stage{i}'].shape
      x = pool.unpool_2x2(x, stages[f'place{i}'], (h, w))
      for j in range(vgg.STAGES[16][i - 1], 0, -1):
        if i == j == 1:
          break
        # The last convolution of a stage already has the features of the next shallower one.
        channels = encoder.channels[i - 1 if j > 1 else i - 2]
        x = blocks.Conv(channels, padding=1, dtype=self.dtype, name=f'decode{i}_{j}')(x)
        x = nn.relu(self._norm(x, f'decode_norm{i}_{j}', train=train))
      if i > 2:
        x = blocks.Dropout(self.dropout, self.axis_name)(x, train=train)
      out[f'decode{i}'] = x
    x = blocks.Conv(self.num_classes, padding=1, dtype=self.dtype, name='score')(x)
    if self.score_norm:
      x = nn.relu(self._norm(x, 'score_norm', train=train))
    return x.astype(jnp.float32), out

  def _norm(self, x: Array, name: str, *, train: bool) -> Array:
    return blocks.Norm(self.norm, self.bn_momentum, self.bn_eps, self.axis_name, self.dtype, name=name)(
      x, train=train
    )
