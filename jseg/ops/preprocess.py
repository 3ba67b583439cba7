"""From stored pixels to what a network was trained on."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float, UInt8

from jseg.typing import Array

# Means in BGR: Caffe's of ImageNet, shelhamer/fcn.berkeleyvision.org voc_layers.py; Detectron's, PIXEL_MEANS
# in detectron/core/config.py; of NYUDv2's HHA, as angle, height, disparity: nyud_layers.py of the first.
_CAFFE_MEAN = (104.00699, 116.66877, 122.67892)
_DETECTRON_MEAN = (102.9801, 115.9465, 122.7717)
_HHA_MEAN = (132.431, 94.076, 118.477)
# torchvision's mean and deviation (RGB, of images scaled to [0, 1]).
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _less(mean: tuple[float, ...]) -> Callable[[Array], jax.Array]:
  """The rule that turns the channels round and takes off a mean, which is in the turned order."""
  return lambda rgb: rgb[..., ::-1] - jnp.asarray(mean)[None, None, None]


def _imagenet(rgb: Array) -> jax.Array:
  mean, std = (jnp.asarray(x)[None, None, None] for x in (_IMAGENET_MEAN, _IMAGENET_STD))
  return (rgb / 255 - mean) / std


RULES = {
  'unit': lambda rgb: rgb / 127.5 - 1,  # RGB in [-1, 1]
  'share': lambda rgb: rgb / 255,  # RGB in [0, 1]: FC-DenseNet, LinkNet
  'imagenet': _imagenet,  # RGB, torchvision's weights
  'caffe': _less(_CAFFE_MEAN),  # BGR 0..255 less the mean: FCN and Caffe's VGG16
  'detectron': _less(_DETECTRON_MEAN),  # BGR 0..255 less another mean: Mask R-CNN
  'hha': _less(_HHA_MEAN),  # angle, height, disparity 0..255 less the mean: FCN on jseg.data.depths.hha
  'bgr': lambda rgb: rgb[..., ::-1],  # BGR 0..255 as it is: SegNet's prototxts
}


def preprocess(image: UInt8[Array, 'b h w 3'], rule: str) -> Float[Array, 'b h w 3']:
  """The float32 input of a network from 8-bit RGB, by the rule's name.

  Raises:
    ValueError: no such rule.
  """
  if rule not in RULES:
    raise ValueError(f"preprocess '{rule}' is unknown; there are: {', '.join(RULES)}")
  return RULES[rule](image.astype(jnp.float32))
