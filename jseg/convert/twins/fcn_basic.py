"""Torch twin of FCN-Basic."""

from typing import Any

from jseg.convert.twins import fcn, parts


def fcn_basic(
  channels: int,
  num_classes: int,
  width: int = 64,
  upsample: str = 'learned',
  addition: bool = True,
  reduction: bool = True,
  norm: str = 'bn',
  bn_eps: float = 1e-5,
  bn_momentum: float = 0.9,
) -> Any:
  """The module of jseg.models.fcn_basic."""
  from torch import nn

  features = num_classes if reduction else width

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      self.lrn = nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)
      self.pool = nn.MaxPool2d(2, 2, ceil_mode=True)
      for i in range(1, 5):
        self.add_module(f'encode{i}', nn.Conv2d(width if i > 1 else channels, width, 7, padding=3))
        self.add_module(f'encode{i}_norm', parts.norm(norm, width, bn_eps, bn_momentum))
        if reduction and (addition or i == 4):
          self.add_module(f'reduce{i}', nn.Conv2d(width, num_classes, 1))
        if upsample == 'learned':
          layer = nn.ConvTranspose2d(features, features, 8, 2, 3, bias=False)
          self.add_module(f'upsample{i}', layer)
      self.doubled = fcn.upsampling(features, 2, 4, 'bilinear')
      if not reduction:
        self.score = nn.Conv2d(width, num_classes, 1)

    def forward(self, image):
      x, sizes, pools = self.lrn(image), [], []
      for i in range(1, 5):
        x = self.get_submodule(f'encode{i}_norm')(self.get_submodule(f'encode{i}')(x)).relu_()
        sizes.append(x.shape[2:])
        pools.append(x := self.pool(x))
      x = self._reduced(x, 4)
      for i in range(4, 0, -1):
        up = self.get_submodule(f'upsample{i}')(x) if upsample == 'learned' else self.doubled(x)[..., 1:, 1:]
        x = fcn.crop(up, 0, sizes[i - 1])
        if addition and i > 1:
          x = x + self._reduced(pools[i - 2], i - 1)
      return x if reduction else self.score(x)

    def _reduced(self, x, i):
      return self.get_submodule(f'reduce{i}')(x) if reduction else x

  return Net()
