"""Torch twin of G-FRNet."""

from typing import Any

from jseg.convert.twins import parts


def gfrnet(
  channels: int,
  num_classes: int,
  gate: str = 'product',
  dropout: float = 0.5,
  width: int = 64,
  norm: str = 'bn',
  bn_eps: float = 1e-5,
  bn_momentum: float = 0.9,
) -> Any:
  """The module of jseg.models.gfrnet: the maps 'logits' and, coarsest first, 'pred_1' .. 'pred_5'."""
  import torch
  from torch import nn
  from torch.nn import functional

  stages = [width * n for n in (1, 2, 4, 8, 8)]

  def resized(x: Any, size: tuple[int, ...]) -> Any:
    return functional.interpolate(x, size, mode='bilinear', align_corners=True)

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      self.encoder = parts.vgg16(
        channels, width, kind=norm, eps=bn_eps, momentum=bn_momentum, dropout=dropout
      )
      self._add('conv6', 8 * width, 16 * width, 'conv6_norm')
      self._add('conv7', 16 * width, 16 * width, 'conv7_norm')
      self.drop = nn.Dropout(dropout)
      self._add('pred_1', 16 * width, num_classes)
      self._add('pool5_feature', 8 * width, num_classes)
      for i, features in enumerate(stages, start=1):
        self._add(f'feature{i}', features, num_classes, f'feature{i}_norm')
        self.add_module(f'gate{i}_norm', parts.norm(norm, num_classes, bn_eps, bn_momentum))
        self._add(f'pred_{7 - i}' if i > 1 else 'score', 2 * num_classes, num_classes)

    def _add(self, name, cin, cout, norm_name=''):
      self.add_module(name, nn.Conv2d(cin, cout, 3, padding=1))
      if norm_name:
        self.add_module(norm_name, parts.norm(norm, cout, bn_eps, bn_momentum))

    def _conv(self, x, name):
      return self.get_submodule(f'{name}_norm')(self.get_submodule(name)(x))

    def forward(self, image):
      found = self.encoder(image)
      x = pool5 = found[-1][0]
      for name in ('conv6', 'conv7'):
        x = self.drop(self._conv(x, name).relu_())
      scores, deeper, maps = self.pred_1(x), self.pool5_feature(pool5), {}
      for i in range(5, 0, -1):
        *_, stage = found[i - 1]
        maps[f'pred_{6 - i}'] = resized(scores, image.shape[2:])
        feature, deeper = self._conv(stage, f'feature{i}'), resized(deeper, stage.shape[2:])
        joint = self.get_submodule(f'gate{i}_norm')(
          feature * deeper if gate == 'product' else feature + deeper
        )
        joined = joint, resized(scores, stage.shape[2:])
        joined = torch.cat(joined[::-1] if i == 2 else joined, 1)
        scores = self.get_submodule(f'pred_{7 - i}' if i > 1 else 'score')(joined)
        deeper = feature
      return maps | {'logits': scores}

  return Net()
