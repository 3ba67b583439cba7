"""Torch twin of U-Net."""

from typing import Any

from jseg.convert.twins import parts


def _double_conv(cin: int, cout: int, padding: int, norm: str, bn_momentum: float) -> Any:
  """Two 3x3 convolutions, each with its norm and ReLU."""
  from torch import nn

  class DoubleConv(nn.Module):
    def __init__(self):
      super().__init__()
      self.conv1 = nn.Conv2d(cin, cout, 3, padding=padding, bias=norm == 'none')
      self.norm1 = parts.norm(norm, cout, 1e-5, bn_momentum)
      self.conv2 = nn.Conv2d(cout, cout, 3, padding=padding, bias=norm == 'none')
      self.norm2 = parts.norm(norm, cout, 1e-5, bn_momentum)

    def forward(self, x):
      return self.norm2(self.conv2(self.norm1(self.conv1(x)).relu_())).relu_()

  return DoubleConv()


def unet(
  channels: int,
  num_classes: int,
  width: int = 64,
  depth: int = 5,
  padding: str = 'valid',
  border: str = 'mirror',
  norm: str = 'none',
  bn_momentum: float = 0.9,
  dropout: float = 0.5,
) -> Any:
  """The module of jseg.models.unet: padded, or valid on a mirrored image."""
  import torch
  from torch import nn
  from torch.nn import functional

  valid = padding == 'valid'

  def double(cin: int, cout: int) -> Any:
    return _double_conv(cin, cout, 0 if valid else 1, norm, bn_momentum)

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      for level in range(depth):
        features = width * 2**level
        self.add_module(f'down{level}', double(features // 2 if level else channels, features))
        if level < depth - 1:
          self.add_module(f'up{level}_conv', nn.ConvTranspose2d(2 * features, features, 2, 2))
          self.add_module(f'up{level}', double(2 * features, features))
      self.drop = nn.Dropout(dropout)
      self.score = nn.Conv2d(width, num_classes, 1)

    def forward(self, image):
      h, w = image.shape[2:]
      x = self._mirrored(image) if valid and border == 'mirror' else image
      skips = []
      for level in range(depth):
        x = self.get_submodule(f'down{level}')(functional.max_pool2d(x, 2) if level else x)
        x = self.drop(x) if level >= depth - 2 else x
        skips.append(x)
      for level in range(depth - 2, -1, -1):
        x = self._join(skips[level], self.get_submodule(f'up{level}_conv')(x))
        x = self.get_submodule(f'up{level}')(x)
      x = self.score(x)
      return x[:, :, :h, :w] if border == 'mirror' else x

    def _mirrored(self, image):
      step, pads = 2 ** (depth - 1), []
      base, margin = 4 * (step - 1), 6 * step - 4
      for side in (image.shape[3], image.shape[2]):
        pads += [margin, margin + -(-(side + base) // step) * step - base - side]
      return functional.pad(image, pads, mode='reflect')

    def _join(self, skip, up):
      extra = [a - b for a, b in zip(skip.shape[2:], up.shape[2:], strict=True)]
      if valid:
        top, left = extra[0] // 2, extra[1] // 2
        skip = skip[:, :, top : top + up.shape[2], left : left + up.shape[3]]
      elif any(extra):
        (y, x) = extra
        up = functional.pad(up, (x // 2, x - x // 2, y // 2, y - y // 2))
      return torch.cat([skip, up], 1)

  return Net()
