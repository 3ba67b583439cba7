"""FCN-Basic: the encoder of SegNet-Basic under the decoder of FCN, and the other rows of that comparison.

Source: Badrinarayanan, Kendall, Cipolla, "SegNet" (arXiv:1511.00561), section 3.2 and table 1; no layers were
released, and the decoder's form is as remembered from the text: the table's parameter counts alone test it.
1x1 convolutions bring every pooled map to as many channels as there are classes, 8x8 transposed
convolutions double the deepest one's size four times, and to each result the pooled map of its size is added.
Options: FCN-Basic-NoAddition is addition=False, FCN-Basic-NoDimReduction is reduction=False (64 maps all the
way, then the 1x1 classifier), Bilinear-Interpolation is upsample='bilinear', addition=False.
Where the text is silent: the transposed convolutions have no biases, as FCN's, and begin as the doubling
bilinear filter in the middle of the 8x8 kernel; what ceil-mode pools rounded up is cut at the lower and right
ends.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks, fcn, segnet_basic
from jseg.ops import resize
from jseg.typing import Array, Dtype

_UPSAMPLE = ('learned', 'bilinear')
_KERNEL, _BILINEAR = 8, 4  # sides of the learned filter and of the bilinear one


def _doubling(key: jax.Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> Array:
  """A kernel [k k c c] that doubles every channel by itself: the bilinear one amid zeros."""
  small = fcn.bilinear_diagonal(key, (_BILINEAR, _BILINEAR, *shape[2:]), dtype)
  margin = ((_KERNEL - _BILINEAR) // 2,) * 2
  return jnp.pad(small, (margin, margin, (0, 0), (0, 0)))


class Model(nn.Module):
  """FCN-Basic."""

  num_classes: int
  width: int = 64  # features of every convolution
  upsample: str = 'learned'  # learned: 8x8 kernels over all channels | bilinear: fixed, no parameters
  addition: bool = True  # of the encoder's pooled maps
  reduction: bool = True  # of all maps to as many channels as there are classes, before the decoder
  norm: str = 'bn'  # as blocks.Norm
  bn_eps: float = 1e-5
  bn_momentum: float = 0.9
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c], any size -> logits [b h w k] float32 and the maps encode1..4, decode4..1.

    Raises:
      ValueError: the upsampling is unknown.
    """
    if self.upsample not in _UPSAMPLE:
      raise ValueError(
        f"FCN-Basic's upsample '{self.upsample}' is unknown; there are: {', '.join(_UPSAMPLE)}"
      )
    stages = segnet_basic.encode(image, functools.partial(self._conv_norm, train=train))
    out = {f'encode{i}': stage.map for i, stage in enumerate(stages, start=1)}
    x = self._reduced(stages[-1].pooled, len(stages))
    for i in range(len(stages), 0, -1):
      h, w = stages[i - 1].map.shape[1:3]
      x = self._doubled(x, f'upsample{i}')[:, :h, :w]
      if self.addition and i > 1:
        x = x + self._reduced(stages[i - 2].pooled, i - 1)
      out[f'decode{i}'] = x
    if not self.reduction:
      x = blocks.Conv(self.num_classes, (1, 1), dtype=self.dtype, name='score')(x)
    return x.astype(jnp.float32), out

  def _conv_norm(self, x: Array, name: str, *, train: bool) -> Array:
    x = blocks.Conv(self.width, (7, 7), padding=3, dtype=self.dtype, name=name)(x)
    return blocks.Norm(
      self.norm, self.bn_momentum, self.bn_eps, self.axis_name, self.dtype, name=f'{name}_norm'
    )(x, train=train)

  def _reduced(self, x: Array, stage: int) -> Array:
    if not self.reduction:
      return x
    return blocks.Conv(self.num_classes, (1, 1), dtype=self.dtype, name=f'reduce{stage}')(x)

  def _doubled(self, x: Array, name: str) -> Array:
    if self.upsample == 'bilinear':
      return resize.bilinear_upsample(x, stride=2, kernel_size=_BILINEAR)[:, 1:-1, 1:-1]
    return blocks.ConvTranspose(
      x.shape[-1], (_KERNEL, _KERNEL), 2, _KERNEL // 2 - 1, use_bias=False, dtype=self.dtype,
      kernel_init=_doubling, name=name,
    )(x)  # fmt: skip
