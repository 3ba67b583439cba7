"""Torch twin of the FC-DenseNets."""

from typing import Any

from jseg.convert.twins import parts


def _layer(cin: int, cout: int, side: int, dropout: float, norm: str, eps: float, momentum: float) -> Any:
  """Normalisation, ReLU, convolution, dropout."""
  from torch import nn

  class Layer(nn.Module):
    def __init__(self):
      super().__init__()
      self.norm = parts.norm(norm, cin, eps, momentum)
      self.conv = nn.Conv2d(cin, cout, side, padding=side // 2)
      self.drop = nn.Dropout(dropout)

    def forward(self, x):
      return self.drop(self.conv(self.norm(x).relu()))

  return Layer()


def fc_densenet(
  channels: int,
  num_classes: int,
  growth: int = 16,
  down: tuple[int, ...] = (4, 5, 7, 10, 12),
  bottom: int = 15,
  width: int = 48,
  dropout: float = 0.2,
  norm: str = 'batch',
  bn_eps: float = 1e-4,
  bn_momentum: float = 0.9,
) -> Any:
  """The module of jseg.models.fc_densenet."""
  import torch
  from torch import nn
  from torch.nn import functional

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      self.first = nn.Conv2d(channels, width, 3, padding=1)
      features, skips = width, []
      for i, count in enumerate(down, start=1):
        features = self._add(f'down{i}', features, count)
        skips.append(features)
        self.add_module(f'transition{i}', self._layer(features, features, 1))
      self._add('bottom', features, bottom)
      added = growth * bottom
      for i in range(len(down), 0, -1):
        self.add_module(f'up{i}_conv', nn.ConvTranspose2d(added, added, 3, 2))
        features = self._add(f'up{i}', added + skips[i - 1], down[i - 1])
        added = growth * down[i - 1]
      self.score = nn.Conv2d(features, num_classes, 1)

    def _layer(self, cin, cout, side):
      return _layer(cin, cout, side, dropout, norm, bn_eps, bn_momentum)

    def _add(self, name, features, count):
      for j in range(count):
        self.add_module(f'{name}_{j + 1}', self._layer(features + j * growth, growth, 3))
      return features + count * growth

    def _dense(self, x, name, count):
      whole, added = x, []
      for j in range(1, count + 1):
        added.append(self.get_submodule(f'{name}_{j}')(whole))
        whole = torch.cat([whole, added[-1]], 1)
      return torch.cat(added, 1), whole

    def forward(self, image):
      x, skips = self.first(image), []
      for i, count in enumerate(down, start=1):
        skips.append(self._dense(x, f'down{i}', count)[1])
        x = functional.max_pool2d(self.get_submodule(f'transition{i}')(skips[-1]), 2)
      x, _ = self._dense(x, 'bottom', bottom)
      for i in range(len(down), 0, -1):
        skip = skips[i - 1]
        x = self.get_submodule(f'up{i}_conv')(x)[:, :, : skip.shape[2], : skip.shape[3]]
        added, whole = self._dense(torch.cat([x, skip], 1), f'up{i}', down[i - 1])
        x = added if i > 1 else whole
      return self.score(x)

  return Net()
