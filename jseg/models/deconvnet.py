"""DeconvNet: VGG16 down to one vector for each 7x7 window, and its mirror image of unpooling, deconvolution.

Source: Noh, Hong, Han, "Learning deconvolution network for semantic segmentation" (arXiv:1505.04366), section
3 and figure 2; the layers are those of the released `DeconvNet_inference_deploy.prototxt`: biases everywhere,
batch normalisation and ReLU after every convolution and deconvolution but the last 1x1.
The paper's net sees 224x224, where fc6 and fc7 are single vectors. Larger images make maps of them: pools
round up and unpooling goes to the size before the pool. Departures: the paper runs the net on object
proposals and merges them, here it sees the image; the authors' normalisation keeps no running statistics in
training, here they are kept (`bn_momentum`).
The released filler of what VGG16 does not have, N(0, 0.01), fits the authors' two stages on a trained VGG16.
From nothing it is slow: under a score near zero all its features begin with one gradient, and the classes are
learned one after another; filler='he' avoids that.
"""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks
from jseg.models.encoders import vgg
from jseg.ops import pool
from jseg.typing import Array, Dtype

# Side of fc6's window on the last pool, and the smallest side of an image whose pools leave such a window.
_WINDOW = 7
_SMALLEST = 32 * (_WINDOW - 1) + 1

FILLERS = {'gaussian': nn.initializers.normal(0.01), 'he': blocks.he_normal}


class Decoder(nn.Module):
  """The deconvolution half: fc6's window backwards, then unpooling and 3x3 deconvolutions, stage by stage."""

  first: int  # features of fc6_deconv: the last pool's, whose places they meet
  stages: tuple[tuple[int, ...], ...]  # features of the deconvolutions, deepest stage first
  window: int = _WINDOW  # side of fc6
  filler: str = 'gaussian'  # a key of FILLERS
  norm: str = 'bn'  # as blocks.Norm
  bn_eps: float = 1e-5
  bn_momentum: float = 0.9
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: Array, encoded: Mapping[str, Array], *, train: bool
  ) -> tuple[Array, dict[str, Array]]:
    """[b h w c] -> the image's size and a dict of every stage's end, `deconv{i}`.

    Args:
      x: what fc6 and fc7 made of the last pool: `window` - 1 rows and columns fewer than it has.
      encoded: the encoder's dict of `stage{i}` and `place{i}`, as vgg.Encoder gives it.
      train: batch statistics.
    """
    x = self._deconv(x, self.first, self.window, 0, 'fc6_deconv', train=train)
    out = {'fc6_deconv': x}
    for i, channels in zip(range(len(self.stages), 0, -1), self.stages, strict=True):
      _, h, w, _ = encoded[f'stage{i}'].shape
      x = pool.unpool_2x2(x, encoded[f'place{i}'], (h, w))
      for j, features in enumerate(channels, start=1):
        x = self._deconv(x, features, 3, 1, f'deconv{i}_{j}', train=train)
      out[f'deconv{i}'] = x
    return x, out

  def _deconv(self, x: Array, features: int, side: int, padding: int, name: str, *, train: bool) -> Array:
    x = blocks.ConvTranspose(
      features, (side, side), 1, padding, dtype=self.dtype, kernel_init=FILLERS[self.filler], name=name
    )(x)
    norm = blocks.Norm(
      self.norm, self.bn_momentum, self.bn_eps, self.axis_name, self.dtype, name=f'{name}_norm'
    )
    return nn.relu(norm(x, train=train))


class Model(nn.Module):
  """DeconvNet."""

  num_classes: int
  width: int = 64  # VGG's first stage; fc6 and fc7 have 64 times as many features
  filler: str = 'gaussian'  # gaussian | he: the first kernels of the decoder and the score
  norm: str = 'bn'  # as blocks.Norm
  bn_eps: float = 1e-5
  bn_momentum: float = 0.9
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c], any size -> logits [b h w k] float32 and the maps pool1..5, fc6, fc7, deconv5..1.

    Sides of less than 193 pixels leave fc6 no window; they are filled up with zeros at their ends, and the
    logits cut.

    Raises:
      ValueError: the filler is unknown.
    """
    if self.filler not in FILLERS:
      raise ValueError(f"DeconvNet's filler '{self.filler}' is unknown; there are: {', '.join(FILLERS)}")
    h, w = image.shape[1:3]
    ends = [(0, max(0, _SMALLEST - side)) for side in (h, w)]
    image = jnp.pad(jnp.asarray(image), ((0, 0), *ends, (0, 0)))
    encoder = vgg.Encoder(
      16, self.width, self.norm, self.bn_eps, self.bn_momentum,
      ceil_mode=True, dtype=self.dtype, axis_name=self.axis_name, name='encoder',
    )  # fmt: skip
    features, encoded = encoder(image, train=train)
    out = {f'pool{i}': c for i, c in enumerate(features, start=1)}
    x = features[-1]
    for name, side in (('fc6', _WINDOW), ('fc7', 1)):
      x = blocks.Conv(64 * self.width, (side, side), dtype=self.dtype, name=name)(x)
      x = blocks.Norm(
        self.norm, self.bn_momentum, self.bn_eps, self.axis_name, self.dtype, name=f'{name}_norm'
      )(x, train=train)
      out[name] = x = nn.relu(x)
    c1, c2, c3, c4, c5 = encoder.channels
    x, decoded = Decoder(
      c5, ((c5, c5, c4), (c4, c4, c3), (c3, c3, c2), (c2, c1), (c1, c1)), _WINDOW,
      self.filler, self.norm, self.bn_eps, self.bn_momentum, self.dtype, self.axis_name, name='decoder',
    )(x, encoded, train=train)  # fmt: skip
    logits = blocks.Conv(
      self.num_classes, (1, 1), dtype=self.dtype, kernel_init=FILLERS[self.filler], name='score'
    )(x)  # fmt: skip
    return logits.astype(jnp.float32)[:, :h, :w], {**out, **decoded}
