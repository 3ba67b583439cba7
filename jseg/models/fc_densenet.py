"""FC-DenseNet 56, 67 and 103, the "one hundred layers tiramisu".

Source: Jegou et al. (arXiv:1611.09326), section 3 and tables 1 and 2; the layers are those of the authors'
`FC-DenseNet.py`. Their normalisation uses batch statistics at test time too, over ten frames; norm='batch'
does so image by image, norm='bn' uses running averages, as the PyTorch reproductions do (bn_eps=1e-5).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks
from jseg.ops import pool
from jseg.typing import Array, Dtype

_he_uniform = nn.initializers.variance_scaling(2.0, 'fan_in', 'uniform')
_he_uniform_transposed = nn.initializers.variance_scaling(2.0, 'fan_in', 'uniform', in_axis=-1, out_axis=-2)


class Layer(nn.Module):
  """Normalisation, ReLU, convolution, dropout."""

  features: int
  side: int  # of the kernel
  dropout: float
  norm: str
  bn_eps: float
  bn_momentum: float
  dtype: Dtype
  axis_name: str | None

  @nn.compact
  def __call__(self, maps: Sequence[Array], *, train: bool) -> Array:
    """Maps [b h w .] of one size, taken side by side -> [b h w features]."""
    x = jnp.concatenate(maps, axis=-1)
    x = blocks.Norm(self.norm, self.bn_momentum, self.bn_eps, self.axis_name, self.dtype, name='norm')(
      x, train=train
    )
    x = blocks.Conv(
      self.features, (self.side, self.side), padding=self.side // 2, dtype=self.dtype,
      kernel_init=_he_uniform, name='conv',
    )(nn.relu(x))  # fmt: skip
    return blocks.Dropout(self.dropout, self.axis_name)(x, train=train)


class Model(nn.Module):
  """FC-DenseNet; as it stands, FC-DenseNet103."""

  num_classes: int
  growth: int = 16  # features of every layer in a dense block
  down: tuple[int, ...] = (4, 5, 7, 10, 12)  # layers of the blocks on the way down; mirrored on the way up
  bottom: int = 15  # layers of the block in between
  width: int = 48  # features of the first convolution
  dropout: float = 0.2  # after every convolution of dense blocks and transitions down
  norm: str = 'batch'  # as blocks.Norm
  bn_eps: float = 1e-4
  bn_momentum: float = 0.9
  remat: bool = False  # compute layers again in the backward pass: less memory, more time
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c] -> logits [b h w k] float32 and the maps down1.., bottom, up1.. (1: full size).

    The block at the bottom and those above it pass on only what they add, the last one all it has. Pools
    round down, and what a transposed convolution gives too much is cut at the end.

    Raises:
      ValueError: the image is too small for the pools.
    """
    h, w = image.shape[1:3]
    least = 2 ** len(self.down)
    if min(h, w) < least:
      raise ValueError(
        f'image of {h}x{w} pixels is too small for an FC-DenseNet with {len(self.down)} pools; '
        f'give at least {least}x{least}'
      )
    conv = blocks.Conv(self.width, padding=1, dtype=self.dtype, kernel_init=_he_uniform, name='first')
    x, out = conv(image), {}
    for i, count in enumerate(self.down, start=1):
      _, out[f'down{i}'] = self._dense(x, count, f'down{i}', train=train)
      x = self._layer([out[f'down{i}']], out[f'down{i}'].shape[-1], 1, f'transition{i}', train=train)
      x = pool.max_pool(x)
    out['bottom'] = x = self._dense(x, self.bottom, 'bottom', train=train)[0]
    for i in range(len(self.down), 0, -1):
      skip = out[f'down{i}']
      x = blocks.ConvTranspose(
        x.shape[-1], (3, 3), 2, dtype=self.dtype, kernel_init=_he_uniform_transposed, name=f'up{i}_conv'
      )(x)[:, : skip.shape[1], : skip.shape[2]]
      added, whole = self._dense(jnp.concatenate([x, skip], axis=-1), self.down[i - 1], f'up{i}', train=train)
      out[f'up{i}'] = x = added if i > 1 else whole
    logits = blocks.Conv(self.num_classes, (1, 1), dtype=self.dtype, kernel_init=_he_uniform, name='score')(x)
    return logits.astype(jnp.float32), out

  def _layer(self, maps: Sequence[Array], features: int, side: int, name: str, *, train: bool) -> jax.Array:
    layer = Layer(
      features, side, self.dropout, self.norm, self.bn_eps, self.bn_momentum, self.dtype, self.axis_name,
      name=name,
    )  # fmt: skip
    # Joined in the layer, where `remat` drops the joined map: kept, those of a block grow with its square.
    return blocks.run(layer, maps, train=train, remat=self.remat, axis_name=self.axis_name)

  def _dense(self, x: Array, count: int, name: str, *, train: bool) -> tuple[Array, Array]:
    """What the layers of a dense block add, and that together with what came in."""
    added = []
    for j in range(1, count + 1):
      added.append(self._layer([x, *added], self.growth, 3, f'{name}_{j}', train=train))
    return jnp.concatenate(added, axis=-1), jnp.concatenate([x, *added], axis=-1)
