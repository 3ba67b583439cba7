"""Torch twin of DeconvNet."""

from typing import Any

from jseg.convert.twins import parts


def deconvnet(
  channels: int,
  num_classes: int,
  width: int = 64,
  norm: str = 'bn',
  bn_eps: float = 1e-5,
  bn_momentum: float = 0.9,
) -> Any:
  """The module of jseg.models.deconvnet."""
  from torch import nn
  from torch.nn import functional

  c1, c2, c3, c4, c5 = (width * n for n in (1, 2, 4, 8, 8))
  # Features of the deconvolutions of every stage, deepest first.
  stages = {5: (c5, c5, c4), 4: (c4, c4, c3), 3: (c3, c3, c2), 2: (c2, c1), 1: (c1, c1)}

  def deconv(cin: int, cout: int, side: int, padding: int) -> Any:
    return nn.ConvTranspose2d(cin, cout, side, padding=padding)

  class Decoder(nn.Module):
    def __init__(self):
      super().__init__()
      layers = {'fc6_deconv': deconv(64 * width, c5, 7, 0)}
      cin = c5
      for i, channels in stages.items():
        for j, cout in enumerate(channels, start=1):
          layers[f'deconv{i}_{j}'] = deconv(cin, cout, 3, 1)
          cin = cout
      for name, layer in layers.items():
        self.add_module(name, layer)
        self.add_module(f'{name}_norm', parts.norm(norm, layer.out_channels, bn_eps, bn_momentum))

    def forward(self, x, encoded):
      x = self._layer(x, 'fc6_deconv')
      for i, channels in stages.items():
        _, places, before = encoded[i - 1]
        x = functional.max_unpool2d(x, places, 2, 2, output_size=before.shape[2:])
        for j in range(1, len(channels) + 1):
          x = self._layer(x, f'deconv{i}_{j}')
      return x

    def _layer(self, x, name):
      return self.get_submodule(f'{name}_norm')(self.get_submodule(name)(x)).relu_()

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      self.encoder = parts.vgg16(channels, width, kind=norm, eps=bn_eps, momentum=bn_momentum)
      self.fc6, self.fc7 = nn.Conv2d(c5, 64 * width, 7), nn.Conv2d(64 * width, 64 * width, 1)
      self.fc6_norm = parts.norm(norm, 64 * width, bn_eps, bn_momentum)
      self.fc7_norm = parts.norm(norm, 64 * width, bn_eps, bn_momentum)
      self.decoder = Decoder()
      self.score = nn.Conv2d(c1, num_classes, 1)

    def forward(self, image):
      h, w = image.shape[2:]
      encoded = self.encoder(functional.pad(image, (0, max(0, 193 - w), 0, max(0, 193 - h))))
      x = self.fc6_norm(self.fc6(encoded[-1][0])).relu_()
      x = self.fc7_norm(self.fc7(x)).relu_()
      return self.score(self.decoder(x, encoded))[:, :, :h, :w]

  return Net()
