"""Torch twin of ENet."""

from typing import Any

from jseg.convert.twins import parts

_EPS = 1e-3
_SECTION = (
  ('regular', 1), ('regular', 2), ('asymmetric', 1), ('regular', 4),
  ('regular', 1), ('regular', 8), ('asymmetric', 1), ('regular', 16),
)  # fmt: skip


def _bottleneck(
  cin: int, cout: int, kind: str, dilation: int, dropout: float, prelu: bool, norm: str, momentum: float
) -> Any:
  """A bottleneck: (x, places) -> (y, places of a 'down'); see jseg.models.enet.Bottleneck."""
  from torch import nn
  from torch.nn import functional

  m, side = cout // 4, 2 if kind == 'down' else 1

  def normed(features: int) -> Any:
    return parts.norm(norm, features, _EPS, momentum)

  def active(features: int) -> Any:
    return nn.PReLU(features) if prelu else nn.ReLU(inplace=True)

  class Bottleneck(nn.Module):
    def __init__(self):
      super().__init__()
      self.project = nn.Conv2d(cin, m, side, side, bias=False)
      self.norm1, self.act1 = normed(m), active(m)
      if kind == 'asymmetric':
        self.conv1x5 = nn.Conv2d(m, m, (1, 5), padding=(0, 2), bias=False)
        self.conv5x1 = nn.Conv2d(m, m, (5, 1), padding=(2, 0))
      elif kind == 'up':
        self.conv = nn.ConvTranspose2d(m, m, 3, 2, 1, 1)
        self.shortcut = nn.Conv2d(cin, cout, 1, bias=False)
        self.shortcut_norm = normed(cout)
      else:
        self.conv = nn.Conv2d(m, m, 3, padding=dilation, dilation=dilation)
      self.norm2, self.act2 = normed(m), active(m)
      self.expand = nn.Conv2d(m, cout, 1, bias=False)
      self.norm3, self.drop, self.act3 = normed(cout), nn.Dropout2d(dropout), active(cout)

    def forward(self, x, places=None):
      y, found = self.act1(self.norm1(self.project(x))), None
      y = self.conv5x1(self.conv1x5(y)) if kind == 'asymmetric' else self.conv(y)
      y = self.drop(self.norm3(self.expand(self.act2(self.norm2(y)))))
      if kind == 'down':
        x, found = functional.max_pool2d(x, 2, return_indices=True)
        x = functional.pad(x, (0, 0, 0, 0, 0, cout - cin))
      elif kind == 'up':
        x = self.shortcut_norm(self.shortcut(x))
        x = functional.max_unpool2d(x, places, 2, output_size=y.shape[2:])
      return self.act3(x + y), found

  return Bottleneck()


def enet(
  channels: int,
  num_classes: int,
  width: int = 16,
  dropout: tuple[float, float] = (0.01, 0.1),
  norm: str = 'bn',
  bn_momentum: float = 0.9,
) -> Any:
  """The module of jseg.models.enet."""
  import torch
  from torch import nn
  from torch.nn import functional

  early, late = dropout
  plan = [('stage1_0', 4, 'down', 1, early, True)]
  plan += [(f'stage1_{i}', 4, 'regular', 1, early, True) for i in range(1, 5)]
  plan.append(('stage2_0', 8, 'down', 1, late, True))
  for stage in (2, 3):
    plan += [(f'stage{stage}_{i}', 8, *kind, late, True) for i, kind in enumerate(_SECTION, start=1)]
  plan += [('stage4_0', 4, 'up', 1, 0.0, False), ('stage4_1', 4, 'regular', 1, 0.0, False)]
  plan += [('stage4_2', 4, 'regular', 1, 0.0, False), ('stage5_0', 1, 'up', 1, 0.0, False)]
  plan.append(('stage5_1', 1, 'regular', 1, 0.0, False))

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      self.first = nn.Conv2d(channels, width - channels, 3, 2, 1)
      self.first_norm, self.first_act = parts.norm(norm, width, _EPS, bn_momentum), nn.PReLU(width)
      cin = width
      for name, times, kind, dilation, rate, prelu in plan:
        block = _bottleneck(cin, times * width, kind, dilation, rate, prelu, norm, bn_momentum)
        self.add_module(name, block)
        cin = times * width
      self.score = nn.ConvTranspose2d(width, num_classes, 2, 2)

    def forward(self, image):
      h, w = image.shape[2:]
      image = functional.pad(image, (0, -w % 8, 0, -h % 8))
      x = torch.cat([self.first(image), functional.max_pool2d(image, 2)], 1)
      x, places = self.first_act(self.first_norm(x)), []
      for name, _, kind, *_ in plan:
        x, found = self.get_submodule(name)(x, places.pop() if kind == 'up' else None)
        places += [found] if kind == 'down' else []
      return self.score(x)[:, :, :h, :w]

  return Net()
