"""SegNet-Basic: four 7x7 encoders, four decoders that unpool by the remembered places, a 1x1 classifier.

Source: Badrinarayanan, Kendall, Cipolla, "SegNet" (arXiv:1511.00561), section 3.2; the layers are those of
the released `segnet_basic_train.prototxt`: response normalisation of the input and biases, where the text
has contrast normalisation and none. Pools round up and unpooling goes to the size before the pool, so every
size passes. Departure: the released Caffe keeps no running statistics; here they are kept (`bn_momentum`),
and can be re-estimated after training as the authors do.
Options of the same section and table 1, of which no layers were released: SegNet-Basic-SingleChannelDecoder
is filters='single', SegNet-Basic-EncoderAddition is addition=True; what is added are the encoders' maps of
the decoders' sizes, those before the pools. The FCN-Basic rows are models.fcn_basic.
Bayesian SegNet-Basic (Kendall, Badrinarayanan, Cipolla, arXiv:1511.02680) is dropout=0.5: after pools 3 and 4
and decoders 4 and 3 (`bayesian_segnet_basic_train.prototxt`).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks
from jseg.ops import normalise, pool
from jseg.typing import Array, Dtype

_DEPTH = 4
_FIRST_DROPPED = 3  # the shallowest stage with dropout, in encoder and decoder
_FILTERS = ('multi', 'single')


class Stage(NamedTuple):
  """One encoder: its map [b h w c] before the pool, the pooled one, and the maxima's places."""

  map: Array
  pooled: Array
  place: Array


def encode(
  image: Array, conv_norm: Callable[[Array, str], Array], drop: Callable[[Array], Array] | None = None
) -> tuple[Stage, ...]:
  """The four encoders on image [b h w c], any size: their stages, shallow to deep.

  Args:
    image: raw values, as its response normalisation expects.
    conv_norm: (map, name) -> the 7x7 convolution of that name and its normalisation.
    drop: dropout for the two deepest pools.
  """
  stages = []
  x = normalise.lrn(image, size=5, alpha=1e-4, beta=0.75)
  for i in range(1, _DEPTH + 1):
    before = nn.relu(conv_norm(x, f'encode{i}'))
    x, place = pool.max_pool_2x2(before, ceil_mode=True)
    x = drop(x) if drop is not None and i >= _FIRST_DROPPED else x
    stages.append(Stage(before, x, place))
  return tuple(stages)


class Model(nn.Module):
  """SegNet-Basic."""

  num_classes: int
  width: int = 64  # features of every convolution
  filters: str = 'multi'  # multi | single: a decoder's filters see all maps, or one each
  addition: bool = False  # to every decoder's output, of its encoder's map
  dropout: float = 0.0  # after the two deepest pools and decoders
  norm: str = 'bn'  # as blocks.Norm
  bn_eps: float = 1e-5
  bn_momentum: float = 0.9
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c], any size -> logits [b h w k] float32 and the maps encode1..4, decode4..1.

    Raises:
      ValueError: the filters are unknown.
    """
    if self.filters not in _FILTERS:
      raise ValueError(
        f"SegNet-Basic's filters '{self.filters}' are unknown; there are: {', '.join(_FILTERS)}"
      )
    conv_norm = functools.partial(self._conv_norm, train=train)

    def drop(x: Array) -> Array:
      return blocks.Dropout(self.dropout, self.axis_name)(x, train=train)

    stages = encode(image, conv_norm, drop)
    out = {f'encode{i}': stage.map for i, stage in enumerate(stages, start=1)}
    x = stages[-1].pooled
    for i, stage in zip(range(_DEPTH, 0, -1), reversed(stages), strict=True):
      x = pool.unpool_2x2(x, stage.place, stage.map.shape[1:3])
      x = conv_norm(x, f'decode{i}', groups=self.width if self.filters == 'single' else 1)
      x = x + stage.map if self.addition else x  # no ReLU in the decoder
      out[f'decode{i}'] = x = drop(x) if i >= _FIRST_DROPPED else x
    logits = blocks.Conv(self.num_classes, (1, 1), dtype=self.dtype, name='score')(x)
    return logits.astype(jnp.float32), out

  def _conv_norm(self, x: Array, name: str, *, groups: int = 1, train: bool) -> Array:
    x = blocks.Conv(self.width, (7, 7), padding=3, groups=groups, dtype=self.dtype, name=name)(x)
    return blocks.Norm(
      self.norm, self.bn_momentum, self.bn_eps, self.axis_name, self.dtype, name=f'{name}_norm'
    )(x, train=train)
