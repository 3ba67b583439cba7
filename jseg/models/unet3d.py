"""3-D U-Net: a U-Net over volumes.

Source: Cicek et al., "3D U-Net" (arXiv:1606.06650), section 2 and figure 2. As it stands, Model is the
paper's: valid convolutions, features doubled before each pool, normalisation before each ReLU by the current
statistics at test too (norm='bn': by the running ones), transposed convolutions that keep the number of
features and have no bias, as the published parameter count shows. As in U-Net, the volume is mirrored at its
border, so that the logits cover the volume itself; border='none' leaves that out, 132x132x116 -> 44x44x28.

With padding='same', upsample='nearest', conv_bias=False it is wolny/pytorch-3dunet, which is not the paper's:
its layer order 'cbr' is norm='bn', its 'gcr' norm='gn' and norm_first=True.

No dataset here has volumes and no task trains on them yet; the network stands by itself.
"""

import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks, unet
from jseg.ops import pool, resize
from jseg.typing import Array, Dtype


class DoubleConv(nn.Module):
  """Two 3x3x3 convolutions with normalisation and ReLU."""

  features: tuple[int, int]
  padding: int
  conv_bias: bool
  norm: str
  norm_first: bool
  bn_momentum: float
  dtype: Dtype
  axis_name: str | None

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """[b d h w c] -> [b d' h' w' features[1]], d' = d - 4 without padding."""
    for i, features in enumerate(self.features, start=1):
      conv = blocks.Conv(
        features, (3, 3, 3), padding=self.padding, use_bias=self.conv_bias, dtype=self.dtype, name=f'conv{i}'
      )
      norm = blocks.Norm(
        self.norm, self.bn_momentum, axis_name=self.axis_name, dtype=self.dtype, name=f'norm{i}'
      )
      x = conv(norm(x, train=train)) if self.norm_first else norm(conv(x), train=train)
      x = nn.relu(x)
    return x


class Model(nn.Module):
  """3-D U-Net."""

  num_classes: int
  width: int = 32  # features of the first convolution; every second one of the contracting path doubles them
  depth: int = 4  # levels, the bottom one included
  padding: str = 'valid'  # valid | same: what the 3x3x3 convolutions do at their border
  border: str = 'mirror'  # valid only. mirror: logits at the volume's size | none: the smaller map as it is
  upsample: str = 'deconv'  # deconv: 2x2x2 transposed | nearest: repeated to the skip's size (padding='same')
  conv_bias: bool = True  # of the 3x3x3 convolutions
  norm: str = 'batch'  # as blocks.Norm
  norm_first: bool = False  # normalise before each convolution, not after it
  bn_momentum: float = 0.9
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b d h w c] -> logits [b d h w k] float32 and the maps down0.., up0.. by level.

    Any size is taken with border='mirror'. With border='none' the logits are [b d' h' w' k], d' as
    `unet.output_side`.

    Raises:
      ValueError: an option is unknown, or the image no volume or too small for it.
    """
    self._check(image.shape)
    _, d, h, w, _ = image.shape
    x, out = image, {}
    if self.padding == 'valid' and self.border == 'mirror':
      sides, margin = zip(*(unet.tile(side, self.depth) for side in (d, h, w)), strict=True)
      x = unet.mirror(x, margin[0], tuple(side + 2 * margin[0] for side in sides))
    for level in range(self.depth):
      if level > 0:
        x = pool.max_pool3d(x)
      features = self.width * 2**level
      out[f'down{level}'] = x = self._double_conv((features, 2 * features), f'down{level}')(x, train=train)
    for level in range(self.depth - 2, -1, -1):
      skip = out[f'down{level}']
      if self.upsample == 'nearest':
        x = resize.nearest(x, skip.shape[1:4])
      else:
        x = blocks.ConvTranspose(
          x.shape[-1], (2, 2, 2), use_bias=False, dtype=self.dtype, name=f'up{level}_conv'
        )(x)
      x = unet.join(skip, x, crop=self.padding == 'valid')
      features = skip.shape[-1]
      out[f'up{level}'] = x = self._double_conv((features, features), f'up{level}')(x, train=train)
    logits = blocks.Conv(self.num_classes, (1, 1, 1), dtype=self.dtype, name='score')(x)
    if self.border == 'mirror':
      logits = logits[:, :d, :h, :w]
    return logits.astype(jnp.float32), out

  def _double_conv(self, features: tuple[int, int], name: str) -> DoubleConv:
    padding = int(self.padding == 'same')
    return DoubleConv(
      features, padding, self.conv_bias, self.norm, self.norm_first, self.bn_momentum, self.dtype,
      self.axis_name, name=name,
    )  # fmt: skip

  def _check(self, shape: tuple[int, ...]) -> None:
    """Raises the ValueErrors of __call__."""
    for name, value, known in (
      ('padding', self.padding, ('valid', 'same')),
      ('border', self.border, ('mirror', 'none')),
      ('upsample', self.upsample, ('deconv', 'nearest')),
    ):
      if value not in known:
        raise ValueError(f"3-D U-Net's {name} '{value}' is unknown; there are: {', '.join(known)}")
    if self.upsample == 'nearest' and self.padding == 'valid':
      raise ValueError(
        "upsample='nearest' goes to the size of the skip, valid ones differ; set padding='same'"
      )
    if len(shape) != 5:
      raise ValueError(f'3-D U-Net takes volumes [b d h w c], this image has the shape {list(shape)}')
    least = 1
    if self.padding == 'same':
      least = 2 ** (self.depth - 1)
    elif self.border == 'none':
      least = next(n for n in range(5, 2**30) if unet.output_side(n, self.depth) > 0)
    if min(shape[1:4]) < least:
      raise ValueError(
        f'image of {"x".join(map(str, shape[1:4]))} voxels is too small for a 3-D U-Net of depth '
        f"{self.depth} with padding='{self.padding}'; give at least {least}x{least}x{least}"
      )
