"""Torch twin of LinkNet."""

from typing import Any

from jseg.convert.twins import parts


def _decoder(cin: int, cout: int, stride: int, bias: bool, norm: str, eps: float, momentum: float) -> Any:
  """1x1 to a quarter, a 3x3 transposed convolution, 1x1; each with normalisation and ReLU."""
  from torch import nn

  m = cin // 4

  class Decoder(nn.Module):
    def __init__(self):
      super().__init__()
      self.conv1 = nn.Conv2d(cin, m, 1, bias=bias)
      self.conv2 = nn.ConvTranspose2d(m, m, 3, stride, 1, stride - 1, bias=bias)
      self.conv3 = nn.Conv2d(m, cout, 1, bias=bias)
      for i, features in enumerate((m, m, cout), start=1):
        self.add_module(f'norm{i}', parts.norm(norm, features, eps, momentum))

    def forward(self, x):
      for i in (1, 2, 3):
        x = self.get_submodule(f'norm{i}')(self.get_submodule(f'conv{i}')(x)).relu_()
      return x

  return Decoder()


def linknet(
  channels: int,
  num_classes: int,
  width: int = 64,
  sum_relu: bool = True,
  decoder_bias: bool = True,
  decoder_eps: float = 1e-3,
  norm: str = 'bn',
  bn_momentum: float = 0.9,
) -> Any:
  """The module of jseg.models.linknet."""
  from torch import nn
  from torch.nn import functional

  half = width // 2

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      self.encoder = parts.resnet(channels, 18, width, kind=norm, momentum=bn_momentum)
      features = (width, *(width * 2**i for i in range(4)))
      for i in range(4, 0, -1):
        decoder = _decoder(
          features[i], features[i - 1], 2 if i > 1 else 1, decoder_bias, norm, decoder_eps, bn_momentum
        )
        self.add_module(f'decode{i}', decoder)
      self.head1 = nn.ConvTranspose2d(width, half, 3, 2, 1, 1)
      self.head_norm1 = parts.norm(norm, half, 1e-5, bn_momentum)
      self.head2 = nn.Conv2d(half, half, 3, padding=1)
      self.head_norm2 = parts.norm(norm, half, decoder_eps, bn_momentum)
      self.score = nn.ConvTranspose2d(half, num_classes, 2, 2)

    def forward(self, image):
      h, w = image.shape[2:]
      maps = self.encoder(functional.pad(image, (0, -w % 32, 0, -h % 32)))
      x = maps[4]
      for i in range(4, 0, -1):
        x = self.get_submodule(f'decode{i}')(x) + maps[i - 1]
        x = x.relu_() if sum_relu else x
      x = self.head_norm1(self.head1(x)).relu_()
      x = self.head_norm2(self.head2(x)).relu_()
      return self.score(x)[:, :, :h, :w]

  return Net()
