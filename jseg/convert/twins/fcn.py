"""Torch twin of the FCNs on VGG16."""

from typing import Any

import numpy as np

from jseg.convert.twins import parts

_CROP = {32: 19, 16: 27, 8: 31}


def _bilinear(size: int, features: int) -> np.ndarray:
  """The frozen filter of every channel, float32 [features 1 size size]."""
  factor = (size + 1) // 2
  centre = factor - 1 if size % 2 else factor - 0.5
  tent = 1 - np.abs(np.arange(size) - centre) / factor
  return np.tile(np.outer(tent, tent), (features, 1, 1, 1)).astype(np.float32)


def fcn(
  channels: int,
  num_classes: int,
  stride: int = 8,
  at_once: bool = False,
  deconv: str = 'bilinear',
  dropout: float = 0.5,
  width: int = 64,
) -> Any:
  """The module of jseg.models.fcn; frozen filters run on every channel by itself."""
  import torch
  from torch import nn
  from torch.nn import functional

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
        if deconv == 'learned':
          layer = nn.ConvTranspose2d(num_classes, num_classes, 2 * step, step, bias=False)
          self.add_module(name, layer)
        else:
          self.register_buffer(name, torch.from_numpy(_bilinear(2 * step, num_classes)), persistent=False)

    def forward(self, image):
      (pool3, *_), (pool4, *_), (x, *_) = self.encoder(image)[2:]
      for layer in (self.fc6, self.fc7):
        x = self.drop(layer(x).relu_())
      x = self.score_fr(x)
      if stride <= 16:
        x = self._up(x, 'upscore2')
        x = x + _crop(self.score_pool4(pool4 * (0.01 if at_once else 1.0)), 5, x.shape[2:])
      if stride == 8:
        x = self._up(x, 'upscore_pool4')
        x = x + _crop(self.score_pool3(pool3 * (0.0001 if at_once else 1.0)), 9, x.shape[2:])
      return _crop(self._up(x, 'upscore'), _CROP[stride], image.shape[2:])

    def _up(self, x, name):
      if deconv == 'learned':
        return self.get_submodule(name)(x)
      return functional.conv_transpose2d(x, self.get_buffer(name), stride=steps[name], groups=num_classes)

  return Net()


def _crop(x: Any, offset: int, size: tuple[int, ...]) -> Any:
  return x[:, :, offset : offset + size[0], offset : offset + size[1]]
