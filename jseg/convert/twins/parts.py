"""What several twins are made of, by our layers' names: normalisation, VGG16 and ResNet, a head."""

from typing import Any

VGG16 = (2, 2, 3, 3, 3)
RESNETS = {
  18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3),
  269: (3, 30, 48, 8),
}  # fmt: skip


def norm(kind: str, features: int, eps: float = 1e-5, momentum: float = 0.9) -> Any:
  """BatchNorm by the names of blocks.Norm; torch counts the momentum from the other end.

  'batch' takes the statistics of the whole batch at test, ours those of every image.

  Raises:
    ValueError: an unknown kind.
  """
  from torch import nn

  class Frozen(nn.BatchNorm2d):
    def train(self, mode=True):
      return super().train(False)

  if kind == 'none':
    return nn.Identity()
  if kind not in ('bn', 'batch', 'frozen'):
    raise ValueError(f"norm '{kind}' has no torch twin; there are: bn, batch, frozen, none")
  make = Frozen if kind == 'frozen' else nn.BatchNorm2d
  return make(features, eps, 1 - momentum, track_running_stats=kind != 'batch')


def vgg16(
  channels: int,
  width: int,
  *,
  kind: str = 'none',
  eps: float = 1e-5,
  momentum: float = 0.9,
  first_padding: int = 1,
  dropout: float = 0.0,
) -> Any:
  """VGG16's convolutions: image -> five (pooled map, flat places of the maxima, map before the pool).

  `dropout` is after the last three pools.
  """
  from torch import nn
  from torch.nn import functional

  class Encoder(nn.Module):
    def __init__(self):
      super().__init__()
      cin = channels
      for i, count in enumerate(VGG16, start=1):
        for j in range(1, count + 1):
          cout = width * min(2 ** (i - 1), 8)
          padding = first_padding if i == j == 1 else 1
          self.add_module(f'conv{i}_{j}', nn.Conv2d(cin, cout, 3, padding=padding))
          self.add_module(f'norm{i}_{j}', norm(kind, cout, eps, momentum))
          cin = cout
      self.drop = nn.Dropout(dropout)

    def forward(self, x):
      found = []
      for i, count in enumerate(VGG16, start=1):
        for j in range(1, count + 1):
          x = self.get_submodule(f'norm{i}_{j}')(self.get_submodule(f'conv{i}_{j}')(x)).relu_()
        before = x
        x, places = functional.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
        x = self.drop(x) if i > 2 else x
        found.append((x, places, before))
      return found

  return Encoder()


def _block(
  cin: int, features: int, bottleneck: bool, stride: int, dilation: int, strided: str, kind: str,
  momentum: float,
) -> Any:  # fmt: skip
  """A residual block."""
  from torch import nn

  sides = (1, 3, 1) if bottleneck else (3, 3)
  last = features * (4 if bottleneck else 1)

  class Block(nn.Module):
    def __init__(self):
      super().__init__()
      before, striding = cin, sides.index(3) if strided == '3x3' else 0
      for i, side in enumerate(sides):
        after = last if i == len(sides) - 1 else features
        step, spread = stride if i == striding else 1, dilation if side == 3 else 1
        conv = nn.Conv2d(before, after, side, step, spread * (side // 2), spread, bias=False)
        self.add_module(f'conv{i + 1}', conv)
        self.add_module(f'norm{i + 1}', norm(kind, after, momentum=momentum))
        before = after
      if stride > 1 or cin != last:
        self.shortcut = nn.Conv2d(cin, last, 1, stride, bias=False)
        self.shortcut_norm = norm(kind, last, momentum=momentum)

    def forward(self, x):
      beside = self.shortcut_norm(self.shortcut(x)) if hasattr(self, 'shortcut') else x
      for i in range(1, len(sides) + 1):
        x = self.get_submodule(f'norm{i}')(self.get_submodule(f'conv{i}')(x))
        x = x.relu_() if i < len(sides) else x
      return x.add_(beside).relu_()

  return Block()


def resnet(
  channels: int,
  depth: int,
  width: int,
  *,
  kind: str = 'bn',
  momentum: float = 0.9,
  deep: bool = False,
  strided: str = '3x3',
  output_stride: int = 32,
  contract_dilation: bool = False,
) -> Any:
  """A ResNet: image -> its map after the stem's pool, and those of the four stages.

  Args:
    channels: of the image.
    depth: a key of RESNETS.
    width: features of the stem.
    kind: of the normalisation.
    momentum: of the normalisation, as ours.
    deep: a stem of three 3x3 convolutions, the last twice as wide.
    strided: '3x3' or '1x1', the convolution of a bottleneck that has the stride.
    output_stride: later stages dilate instead, twice as far each.
    contract_dilation: the first block of such a stage dilates as far as the stage before it.
  """
  from torch import nn
  from torch.nn import functional

  bottleneck = depth >= 50

  class Encoder(nn.Module):
    def __init__(self):
      super().__init__()
      stem = [(3, width, 2), (3, width, 1), (3, 2 * width, 1)] if deep else [(7, width, 2)]
      cin, dilation = channels, 1
      for i, (side, cout, stride) in enumerate(stem, start=1):
        self.add_module(f'conv{i}', nn.Conv2d(cin, cout, side, stride, side // 2, bias=False))
        self.add_module(f'norm{i}', norm(kind, cout, momentum=momentum))
        cin = cout
      for i, count in enumerate(RESNETS[depth]):
        stride = 1 if i == 0 or 4 * 2**i > output_stride else 2
        before, dilation = dilation, dilation * (2 if i > 0 and stride == 1 else 1)
        for j in range(count):
          features, step = width * 2**i, stride if j == 0 else 1
          spread = before if j == 0 and contract_dilation else dilation
          block = _block(cin, features, bottleneck, step, spread, strided, kind, momentum)
          self.add_module(f'stage{i + 1}_{j + 1}', block)
          cin = features * (4 if bottleneck else 1)

    def forward(self, x):
      for i in range(1, 4 if deep else 2):
        x = self.get_submodule(f'norm{i}')(self.get_submodule(f'conv{i}')(x)).relu_()
      maps = [functional.max_pool2d(x, 3, 2, 1)]
      for i, count in enumerate(RESNETS[depth], start=1):
        x = maps[-1]
        for j in range(1, count + 1):
          x = self.get_submodule(f'stage{i}_{j}')(x)
        maps.append(x)
      return maps

  return Encoder()


def head(
  cin: int,
  features: int,
  num_classes: int,
  dropout: float,
  norm_kind: str,
  momentum: float,
  *,
  maps: bool = False,
) -> Any:
  """A 3x3 convolution with normalisation, ReLU and dropout (of whole maps), and the scores from it."""
  from torch import nn

  class Head(nn.Module):
    def __init__(self):
      super().__init__()
      self.conv = nn.Conv2d(cin, features, 3, padding=1, bias=False)
      self.norm = norm(norm_kind, features, momentum=momentum)
      self.drop = nn.Dropout2d(dropout) if maps else nn.Dropout(dropout)
      self.score = nn.Conv2d(features, num_classes, 1)

    def forward(self, x):
      return self.score(self.drop(self.norm(self.conv(x)).relu_()))

  return Head()
