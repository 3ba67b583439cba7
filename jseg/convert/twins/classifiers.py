"""Torch twins of the encoders AlexNet and GoogLeNet, image -> last map."""

from typing import Any

from jseg.convert.twins import parts

# Of every inception module, for width 64: the 1x1 | the 3x3 and its 1x1 | the 5x5 and its 1x1 | the pool's.
_INCEPTIONS = {
  '3a': (64, (96, 128), (16, 32), 32),
  '3b': (128, (128, 192), (32, 96), 64),
  '4a': (192, (96, 208), (16, 48), 64),
  '4b': (160, (112, 224), (24, 64), 64),
  '4c': (128, (128, 256), (24, 64), 64),
  '4d': (112, (144, 288), (32, 64), 64),
  '4e': (256, (160, 320), (32, 128), 128),
  '5a': (256, (160, 320), (32, 128), 128),
  '5b': (384, (192, 384), (48, 128), 128),
}


def alexnet(channels: int, width: int, *, form: str, first_padding: int) -> Any:
  """AlexNet's convolutions in groups; form 'caffenet' pools before it normalises, 'alexnet' after that."""
  from torch import nn

  features = [n * width for n in (3, 8, 12, 12, 8)]

  class Encoder(nn.Module):
    def __init__(self):
      super().__init__()
      self.conv1 = nn.Conv2d(channels, features[0], 11, 4, first_padding)
      self.conv2 = nn.Conv2d(features[0], features[1], 5, padding=2, groups=2)
      self.conv3 = nn.Conv2d(features[1], features[2], 3, padding=1)
      self.conv4 = nn.Conv2d(features[2], features[3], 3, padding=1, groups=2)
      self.conv5 = nn.Conv2d(features[3], features[4], 3, padding=1, groups=2)
      self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
      lrn = nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)
      order = (self.pool, lrn) if form == 'caffenet' else (lrn, self.pool)
      self.after = nn.Sequential(*order)

    def forward(self, x):
      x = self.after(self.conv1(x).relu_())
      x = self.after(self.conv2(x).relu_())
      x = self.conv4(self.conv3(x).relu_()).relu_()
      return self.pool(self.conv5(x).relu_())

  return Encoder()


def googlenet(channels: int, width: int, *, form: str, kind: str, momentum: float, first_padding: int) -> Any:
  """GoogLeNet; form 'caffe' normalises responses, 'torchvision' by `kind` after every convolution."""
  import torch
  from torch import nn
  from torch.nn import functional

  caffe = form == 'caffe'

  class Unit(nn.Module):
    def __init__(self, cin, cout, side, stride=1, padding=None):
      super().__init__()
      self.conv = nn.Conv2d(cin, cout, side, stride, side // 2 if padding is None else padding, bias=caffe)
      self.norm = parts.norm('none' if caffe else kind, cout, 1e-3, momentum)

    def forward(self, x):
      return self.norm(self.conv(x)).relu_()

  class Inception(nn.Module):
    def __init__(self, cin, one, three, five, project):
      super().__init__()
      self.conv1x1 = Unit(cin, one, 1)
      self.reduce3x3, self.conv3x3 = Unit(cin, three[0], 1), Unit(three[0], three[1], 3)
      self.reduce5x5, self.conv5x5 = Unit(cin, five[0], 1), Unit(five[0], five[1], 5 if caffe else 3)
      self.pool_proj = Unit(cin, project, 1)

    def forward(self, x):
      pooled = functional.max_pool2d(x, 3, 1, 1)
      branches = self.conv1x1(x), self.conv3x3(self.reduce3x3(x)), self.conv5x5(self.reduce5x5(x))
      return torch.cat([*branches, self.pool_proj(pooled)], 1)

  class Encoder(nn.Module):
    def __init__(self):
      super().__init__()
      self.lrn = nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0) if caffe else nn.Identity()
      self.conv1 = Unit(channels, width, 7, 2, first_padding)
      self.conv2 = Unit(width, width, 1)
      self.conv3 = Unit(width, 3 * width, 3)
      cin = 3 * width
      for name, (one, three, five, project) in _INCEPTIONS.items():
        three, five = [n * width // 64 for n in three], [n * width // 64 for n in five]
        one, project = one * width // 64, project * width // 64
        self.add_module(f'inception{name}', Inception(cin, one, three, five, project))
        cin = one + three[1] + five[1] + project

    def forward(self, x):
      x = self.lrn(functional.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True))
      x = self.lrn(self.conv3(self.conv2(x)))
      x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
      for name in _INCEPTIONS:
        x = self.get_submodule(f'inception{name}')(x)
        if name in ('3b', '4e'):
          x = functional.max_pool2d(x, 3 if caffe or name == '3b' else 2, 2, ceil_mode=True)
      return x

  return Encoder()
