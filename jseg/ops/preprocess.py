"""From stored pixels to what a network was trained on."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, UInt8

from jseg.typing import Array

# Caffe's ImageNet mean (BGR), shelhamer/fcn.berkeleyvision.org voc_layers.py; Detectron's (BGR), PIXEL_MEANS
# of detectron/core/config.py; torchvision's mean and deviation (RGB, of images scaled to [0, 1]).
_CAFFE_MEAN = (104.00699, 116.66877, 122.67892)
_DETECTRON_MEAN = (102.9801, 115.9465, 122.7717)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _caffe(rgb: Array) -> jax.Array:
  return rgb[..., ::-1] - jnp.asarray(_CAFFE_MEAN)[None, None, None]


def _detectron(rgb: Array) -> jax.Array:
  return rgb[..., ::-1] - jnp.asarray(_DETECTRON_MEAN)[None, None, None]


def _imagenet(rgb: Array) -> jax.Array:
  mean, std = (jnp.asarray(x)[None, None, None] for x in (_IMAGENET_MEAN, _IMAGENET_STD))
  return (rgb / 255 - mean) / std


RULES = {
  'unit': lambda rgb: rgb / 127.5 - 1,  # RGB in [-1, 1]
  'share': lambda rgb: rgb / 255,  # RGB in [0, 1]: FC-DenseNet, LinkNet
  'imagenet': _imagenet,  # RGB, torchvision's weights
  'caffe': _caffe,  # BGR 0..255 less the mean: FCN and Caffe's VGG16
  'detectron': _detectron,  # BGR 0..255 less another mean: Mask R-CNN
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
