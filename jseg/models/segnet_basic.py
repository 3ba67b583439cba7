"""SegNet-Basic: four 7x7 encoders, four decoders that unpool by the remembered places, a 1x1 classifier.

Source: Badrinarayanan, Kendall, Cipolla, "SegNet" (arXiv:1511.00561), section 3.2; the layers are those of
the released `segnet_basic_train.prototxt`: response normalisation of the input and biases, where the text
has contrast normalisation and none. Pools round up and unpooling goes to the size before the pool, so every
size passes. Departure: the released Caffe keeps no running statistics; here they are kept (`bn_momentum`),
and can be re-estimated after training as the authors do.
"""

import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks
from jseg.ops import normalise, pool
from jseg.typing import Array, Dtype

_DEPTH = 4


class Model(nn.Module):
  """SegNet-Basic."""

  num_classes: int
  width: int = 64  # features of every convolution
  norm: str = 'bn'  # as blocks.Norm
  bn_eps: float = 1e-5
  bn_momentum: float = 0.9
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c], any size -> logits [b h w k] float32 and the maps encode1..4, decode4..1."""
    out, pools = {}, []
    x = normalise.lrn(image, size=5, alpha=1e-4, beta=0.75)
    for i in range(1, _DEPTH + 1):
      x = self._conv_norm(x, f'encode{i}', train=train)
      out[f'encode{i}'] = x = nn.relu(x)
      size = x.shape[1:3]
      x, place = pool.max_pool_2x2(x, ceil_mode=True)
      pools.append((place, size))
    for i in range(_DEPTH, 0, -1):
      x = pool.unpool_2x2(x, *pools[i - 1])
      out[f'decode{i}'] = x = self._conv_norm(x, f'decode{i}', train=train)  # no ReLU in the decoder
    logits = blocks.Conv(self.num_classes, (1, 1), dtype=self.dtype, name='score')(x)
    return logits.astype(jnp.float32), out

  def _conv_norm(self, x: Array, name: str, *, train: bool) -> Array:
    x = blocks.Conv(self.width, (7, 7), padding=3, dtype=self.dtype, name=name)(x)
    return blocks.Norm(
      self.norm, self.bn_momentum, self.bn_eps, self.axis_name, self.dtype, name=f'{name}_norm'
    )(x, train=train)
