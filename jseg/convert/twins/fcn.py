"""Torch twins of the FCNs on VGG16, CaffeNet and GoogLeNet."""

from typing import Any

import numpy as np

from jseg.convert.twins import classifiers, parts

_CROP = {32: 19, 16: 27, 8: 31}
_CROP_ALEXNET, _CROP_GOOGLENET = 18, 98


def upsampling(features: int, stride: int, side: int, deconv: str) -> Any:
  """A transposed convolution without bias: 'learned', or the frozen filter on every channel by itself."""
  import torch
  from torch import nn
  from torch.nn import functional

  class Frozen(nn.Module):
    def __init__(self):
      super().__init__()
      factor = (side + 1) // 2
      centre = factor - 1 if side % 2 else factor - 0.5
      tent = 1 - np.abs(np.arange(side) - centre) / factor
      kernel = np.tile(np.outer(tent, tent), (features, 1, 1, 1)).astype(np.float32)
      self.register_buffer('kernel', torch.from_numpy(kernel), persistent=False)

    def forward(self, x):
      return functional.conv_transpose2d(x, self.kernel, stride=stride, groups=features)

  if deconv == 'learned':
    return nn.ConvTranspose2d(features, features, side, stride, bias=False)
  return Frozen()


def crop(x: Any, offset: int, size: tuple[int, ...]) -> Any:
  """The part of x [b c h w] of `size` = (h', w') that begins at (offset, offset)."""
  return x[:, :, offset : offset + size[0], offset : offset + size[1]]


def fcn(
  channels: int,
  num_classes: int,
  stride: int = 8,
  at_once: bool = False,
  deconv: str = 'bilinear',
  dropout: float = 0.5,
  width: int = 64,
) -> Any:
  """The module of jseg.models.fcn."""
  from torch import nn

  steps = {'upscore2': 2} if stride <= 16 else {}
  steps |= {'upscore_pool4': 2} if stride == 8 else {}
  steps['upscore'] = stride

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      self.encoder = parts.vgg16(channels, width, first_padding=100)
      self.fc6 = nn.Conv2d(8 * width, 64 * width, 7)
      self.fc7 = nn.Conv2d(64 * width, 64 * width, 1)
      self.drop = nn.Dropout(dropout)
      self.score_fr = nn.Conv2d(64 * width, num_classes, 1)
      if stride <= 16:
        self.score_pool4 = nn.Conv2d(8 * width, num_classes, 1)
      if stride == 8:
        self.score_pool3 = nn.Conv2d(4 * width, num_classes, 1)
      for name, step in steps.items():
        self.add_module(name, upsampling(num_classes, step, 2 * step, deconv))

    def forward(self, image):
      (pool3, *_), (pool4, *_), (x, *_) = self.encoder(image)[2:]
      for layer in (self.fc6, self.fc7):
        x = self.drop(layer(x).relu_())
      x = self.score_fr(x)
      if stride <= 16:
        x = self.upscore2(x)
        x = x + crop(self.score_pool4(pool4 * (0.01 if at_once else 1.0)), 5, x.shape[2:])
      if stride == 8:
        x = self.upscore_pool4(x)
        x = x + crop(self.score_pool3(pool3 * (0.0001 if at_once else 1.0)), 9, x.shape[2:])
      return crop(self.upscore(x), _CROP[stride], image.shape[2:])

  return Net()


def fcn_alexnet(
  channels: int,
  num_classes: int,
  form: str = 'caffenet',
  deconv: str = 'bilinear',
  dropout: float = 0.5,
  width: int = 32,
) -> Any:
  """The module of jseg.models.fcn_alexnet."""
  from torch import nn

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      self.encoder = classifiers.alexnet(channels, width, form=form, first_padding=100)
      self.fc6 = nn.Conv2d(8 * width, 128 * width, 6)
      self.fc7 = nn.Conv2d(128 * width, 128 * width, 1)
      self.drop = nn.Dropout(dropout)
      self.score_fr = nn.Conv2d(128 * width, num_classes, 1)
      self.upscore = upsampling(num_classes, 32, 63, deconv)

    def forward(self, image):
      x = self.encoder(image)
      for layer in (self.fc6, self.fc7):
        x = self.drop(layer(x).relu_())
      return crop(self.upscore(self.score_fr(x)), _CROP_ALEXNET, image.shape[2:])

  return Net()


def fcn_googlenet(
  channels: int,
  num_classes: int,
  form: str = 'caffe',
  deconv: str = 'bilinear',
  width: int = 64,
  norm: str = 'bn',
  bn_momentum: float = 0.9,
) -> Any:
  """The module of jseg.models.fcn_googlenet."""
  from torch import nn

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      self.encoder = classifiers.googlenet(
        channels, width, form=form, kind=norm, momentum=bn_momentum, first_padding=100
      )
      self.score_fr = nn.Conv2d(16 * width, num_classes, 1)
      self.upscore = upsampling(num_classes, 32, 63, deconv)

    def forward(self, image):
      return crop(self.upscore(self.score_fr(self.encoder(image))), _CROP_GOOGLENET, image.shape[2:])

  return Net()
