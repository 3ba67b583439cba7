"""Torch twins of SegNet and SegNet-Basic."""

from typing import Any

from jseg.convert.twins import parts


def segnet_basic(
  channels: int,
  num_classes: int,
  width: int = 64,
  norm: str = 'bn',
  bn_eps: float = 1e-5,
  bn_momentum: float = 0.9,
) -> Any:
  """The module of jseg.models.segnet_basic."""
  from torch import nn

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      self.lrn = nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)
      self.pool = nn.MaxPool2d(2, 2, ceil_mode=True, return_indices=True)
      self.unpool = nn.MaxUnpool2d(2, 2)
      for i in range(1, 5):
        self.add_module(f'encode{i}', nn.Conv2d(width if i > 1 else channels, width, 7, padding=3))
        self.add_module(f'decode{i}', nn.Conv2d(width, width, 7, padding=3))
        for part in ('encode', 'decode'):
          self.add_module(f'{part}{i}_norm', parts.norm(norm, width, bn_eps, bn_momentum))
      self.score = nn.Conv2d(width, num_classes, 1)

    def forward(self, image):
      x, pools = self.lrn(image), []
      for i in range(1, 5):
        x = self.get_submodule(f'encode{i}_norm')(self.get_submodule(f'encode{i}')(x)).relu_()
        size = x.shape[2:]
        x, index = self.pool(x)
        pools.append((index, size))
      for i in range(4, 0, -1):
        index, size = pools[i - 1]
        x = self.unpool(x, index, output_size=size)
        x = self.get_submodule(f'decode{i}_norm')(self.get_submodule(f'decode{i}')(x))
      return self.score(x)

  return Net()


def segnet(
  channels: int,
  num_classes: int,
  width: int = 64,
  norm: str = 'bn',
  bn_eps: float = 1e-5,
  bn_momentum: float = 0.9,
) -> Any:
  """The module of jseg.models.segnet."""
  from torch import nn
  from torch.nn import functional

  features = [width * min(2**i, 8) for i in range(5)]

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      self.encoder = parts.vgg16(channels, width, kind=norm, eps=bn_eps, momentum=bn_momentum)
      for i in range(5, 0, -1):
        for j in range(parts.VGG16[i - 1], 0, -1):
          if i == j == 1:
            break
          cout = features[i - 1 if j > 1 else i - 2]
          self.add_module(f'decode{i}_{j}', nn.Conv2d(features[i - 1], cout, 3, padding=1))
          self.add_module(f'decode_norm{i}_{j}', parts.norm(norm, cout, bn_eps, bn_momentum))
      self.score = nn.Conv2d(width, num_classes, 3, padding=1)

    def forward(self, image):
      stages = self.encoder(image)
      x = stages[-1][0]
      for i in range(5, 0, -1):
        _, places, before = stages[i - 1]
        x = functional.max_unpool2d(x, places, 2, 2, output_size=before.shape[2:])
        for j in range(parts.VGG16[i - 1], 0, -1):
          if i == j == 1:
            break
          x = self.get_submodule(f'decode_norm{i}_{j}')(self.get_submodule(f'decode{i}_{j}')(x)).relu_()
      return self.score(x)

  return Net()
