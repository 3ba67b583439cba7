"""AlexNet in its three forms, as encoder and as ImageNet classifier.

Source: Krizhevsky, Sutskever, Hinton (NIPS 2012). Form 'alexnet' is Caffe's bvlc_alexnet: convolutions in
two groups, and in the first two stages ReLU, local response normalisation, pool. 'caffenet' is Caffe's
bvlc_reference_caffenet, which FCN-AlexNet begins with: it pools before it normalises. 'torchvision' is the
network of Krizhevsky's "One weird trick" (arXiv:1404.5997) as torchvision has it: other widths, no groups, no
normalisation, pools that round down, dropout before the fully connected layers in place of after them.
"""

from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks
from jseg.ops import normalise, pool
from jseg.typing import Array, Dtype


class Form(NamedTuple):
  """What the forms differ in, for the five convolutions."""

  features: tuple[int, ...]  # in units of `width`
  groups: tuple[int, ...]
  padding: int  # of the first one
  ceil_mode: bool
  order: tuple[str, ...]  # what follows the first two


FORMS = {
  'caffenet': Form((3, 8, 12, 12, 8), (1, 2, 1, 2, 2), 0, True, ('pool', 'lrn')),
  'alexnet': Form((3, 8, 12, 12, 8), (1, 2, 1, 2, 2), 0, True, ('lrn', 'pool')),
  'torchvision': Form((2, 6, 12, 8, 8), (1, 1, 1, 1, 1), 2, False, ('pool',)),
}
_SIDES, _STRIDES, _PADDINGS = (11, 5, 3, 3, 3), (4, 1, 1, 1, 1), (0, 2, 1, 1, 1)


class Encoder(nn.Module):
  """The five convolutions and three pools."""

  form: str = 'caffenet'  # a key of FORMS
  width: int = 32  # the unit of all features, even
  first_padding: int | None = None  # of the very first convolution; None: the form's; FCN pads by 100
  dtype: Dtype = jnp.float32

  strides = (8, 16, 32)

  @property
  def channels(self) -> tuple[int, ...]:
    """Features of c1 .. c3."""
    features = FORMS[self.form].features
    return tuple(features[i] * self.width for i in (0, 1, 4))

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[tuple[Array, ...], dict[str, Array]]:
    """image [b h w c] -> the maps (c1, c2, c3) after the pools, at strides 8, 16, 32, and {'conv3', 'conv4'}.

    c1 and c2 are what the next convolution sees: normalised where the form does. The dict has the maps of
    stride 16 between c2 and c3.

    Raises:
      ValueError: the form is unknown, or the image too small for the pools.
    """
    del train
    if self.form not in FORMS:
      raise ValueError(f"AlexNet of form '{self.form}' is unknown; there are: {', '.join(FORMS)}")
    form = FORMS[self.form]
    first = form.padding if self.first_padding is None else self.first_padding
    least = 4 * (7 if form.ceil_mode else 14) + _SIDES[0] - 2 * first
    if min(image.shape[1:3]) < least:
      raise ValueError(
        f'image of {image.shape[1]}x{image.shape[2]} pixels is too small for three pools; '
        f'give at least {least} on each side'
      )
    features, out = [], {}
    x = image
    for i, name in enumerate(('conv1', 'conv2', 'conv3', 'conv4', 'conv5')):
      x = blocks.Conv(
        form.features[i] * self.width, (_SIDES[i], _SIDES[i]), _STRIDES[i], _PADDINGS[i] if i else first,
        groups=form.groups[i], dtype=self.dtype, name=name,
      )(x)  # fmt: skip
      x = nn.relu(x)
      if i in (2, 3):
        out[name] = x
        continue
      for step in form.order if i < 2 else ('pool',):
        if step == 'pool':
          x = pool.max_pool(x, kernel=3, stride=2, ceil_mode=form.ceil_mode)
        else:
          x = normalise.lrn(x)
      features.append(x)
    return tuple(features), out


class Classifier(nn.Module):
  """The classification network: encoder, average pooling to 6x6, three fully connected layers.

  fc6 is a 6x6 convolution and fc7 a 1x1 one, so that their parameters are those of FCN's layers. Caffe's
  forms take 227x227, where the average changes nothing; it is torchvision's way to take other sizes.
  """

  num_classes: int = 1000
  form: str = 'caffenet'
  width: int = 32
  dropout: float = 0.5
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c] -> logits [b k] float32 and the maps pool1, pool2, pool5, conv3, conv4, avgpool."""
    features, out = Encoder(self.form, self.width, dtype=self.dtype, name='encoder')(image, train=train)
    out |= {f'pool{i}': c for i, c in zip((1, 2, 5), features, strict=True)}
    out['avgpool'] = x = pool.adaptive_avg_pool(features[-1], (6, 6))
    for name, kernel in (('fc6', 6), ('fc7', 1)):
      if self.form == 'torchvision':
        x = blocks.Dropout(self.dropout, self.axis_name)(x, train=train)
      x = nn.relu(blocks.Conv(128 * self.width, (kernel, kernel), dtype=self.dtype, name=name)(x))
      if self.form != 'torchvision':
        x = blocks.Dropout(self.dropout, self.axis_name)(x, train=train)
    x = blocks.Conv(self.num_classes, (1, 1), dtype=self.dtype, name='fc8')(x)
    return x[:, 0, 0].astype(jnp.float32), out
