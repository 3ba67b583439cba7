"""Torch twin of RefineNet."""

from typing import Any

from jseg.convert.twins import parts


def _conv(cin: int, cout: int, bias: bool = False) -> Any:
  from torch import nn

  return nn.Conv2d(cin, cout, 3, padding=1, bias=bias)


def _residual_unit(features: int) -> Any:
  from torch import nn

  class ResidualUnit(nn.Module):
    def __init__(self):
      super().__init__()
      self.conv1 = _conv(features, features, True)
      self.conv2 = _conv(features, features)

    def forward(self, x):
      return x + self.conv2(self.conv1(x.relu()).relu_())

  return ResidualUnit()


def _chained_pooling(features: int, stages: int, order: str) -> Any:
  from torch import nn

  class ChainedPooling(nn.Module):
    def __init__(self):
      super().__init__()
      self.pool = nn.MaxPool2d(5, 1, 2)
      for i in range(1, stages + 1):
        self.add_module(f'conv{i}', _conv(features, features))

    def forward(self, x):
      total = x
      for i in range(1, stages + 1):
        conv = self.get_submodule(f'conv{i}')
        x = conv(self.pool(x)) if order == 'pool_conv' else self.pool(conv(x))
        total = total + x
      return total

  return ChainedPooling()


def _refine(cin: int, below: int, features: int, stages: int, order: str) -> Any:
  """One block: adaptation, fusion with the block below (of `below` features, 0: none), CRP, RCUs."""
  from torch import nn
  from torch.nn import functional

  class Refine(nn.Module):
    def __init__(self):
      super().__init__()
      self.adapt = _conv(cin, features)
      for name in ('rcu_in1', 'rcu_in2', 'rcu_out1', 'rcu_out2', 'rcu_out3'):
        self.add_module(name, _residual_unit(features))
      if below:
        self.fuse, self.fuse_below = _conv(features, features), _conv(below, features)
      self.crp = _chained_pooling(features, stages, order)

    def forward(self, x, lower):
      x = self.rcu_in2(self.rcu_in1(self.adapt(x)))
      if lower is not None:
        lower = self.fuse_below(lower)
        up = functional.interpolate(lower, x.shape[2:], mode='bilinear', align_corners=True)
        x = self.fuse(x) + up
      x = self.crp(x.relu())
      return self.rcu_out3(self.rcu_out2(self.rcu_out1(x)))

  return Refine()


def refinenet(
  channels: int,
  num_classes: int,
  depth: int = 101,
  width: int = 64,
  crp_stages: int = 4,
  crp_order: str = 'pool_conv',
  norm: str = 'frozen',
  bn_momentum: float = 0.9,
  dropout: float = 0.5,
) -> Any:
  """RefineNet (arXiv:1611.06612) as released: image -> the maps 'logits' and 'score' (a quarter)."""
  from torch import nn
  from torch.nn import functional

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      self.encoder = parts.resnet(channels, depth, width, kind=norm, momentum=bn_momentum)
      below = 0
      for i in range(4, 0, -1):
        features = width * (8 if i == 4 else 4)
        block = _refine(4 * width * 2 ** (i - 1), below, features, crp_stages, crp_order)
        self.add_module(f'refine{i}', block)
        below = features
      self.drop = nn.Dropout(dropout)
      self.score = _conv(below, num_classes, True)

    def forward(self, image):
      maps, x = self.encoder(image), None
      for i in range(4, 0, -1):
        x = self.get_submodule(f'refine{i}')(self.drop(maps[i]) if i >= 3 else maps[i], x)
      score = self.score(self.drop(x))
      logits = functional.interpolate(score, image.shape[2:], mode='bilinear', align_corners=True)
      return {'logits': logits, 'score': score}

  return Net()
