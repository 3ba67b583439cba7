"""The feature pyramid: maps of one number of features at strides 4 to 64, from those of an encoder.

Source: Lin et al., "Feature pyramid networks for object detection" (arXiv:1612.03144), section 3 and figure
3, as Detectron's modeling/FPN.py and torchvision's ops/feature_pyramid_network.py have it: 1x1 laterals, the
coarser map enlarged by its nearest pixels and added, a 3x3 convolution on every sum, biases, nothing else.
"""

import functools
from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks
from jseg.ops import resize
from jseg.typing import Array, Dtype

# Uniform with variance 1 / fan_in, Caffe2's XavierFill.
xavier = nn.initializers.variance_scaling(1.0, 'fan_in', 'uniform')


class Pyramid(nn.Module):
  """P2 .. P6 from c2 .. c5."""

  features: int = 256
  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, maps: Sequence[Array]) -> tuple[Array, ...]:
    """Maps [b h w c], fine to coarse -> as many of [b h w features], and the last one's every other pixel.

    A coarser map is enlarged to just the size of the finer one, so that sides need not be multiples of 32.
    """
    conv = functools.partial(blocks.Conv, self.features, dtype=self.dtype, kernel_init=xavier)
    laterals = [conv((1, 1), name=f'lateral{i}')(x) for i, x in enumerate(maps, start=2)]
    for i in reversed(range(len(laterals) - 1)):
      laterals[i] = laterals[i] + resize.nearest(laterals[i + 1], laterals[i].shape[1:3])
    levels = [conv(padding=1, name=f'output{i}')(x) for i, x in enumerate(laterals, start=2)]
    return (*levels, levels[-1][:, ::2, ::2])
