"""Torch twin of PSPNet."""

from typing import Any

from jseg.convert.twins import parts


def pspnet(
  channels: int,
  num_classes: int,
  depth: int = 50,
  width: int = 64,
  aux: bool = True,
  strided: str = '1x1',
  dropout: float = 0.1,
  dropout_maps: bool = False,
  norm: str = 'bn',
  bn_momentum: float = 0.95,
) -> Any:
  """PSPNet (arXiv:1612.01105) as released: image -> the maps 'logits' and, if there is that head, 'aux'."""
  import torch
  from torch import nn
  from torch.nn import functional

  def resized(x: Any, size: tuple[int, int]) -> Any:
    return functional.interpolate(x, size, mode='bilinear', align_corners=True)

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      self.encoder = parts.resnet(
        channels, depth, width, kind=norm, momentum=bn_momentum, deep=True, strided=strided, output_stride=8
      )
      for bins in (1, 2, 3, 6):
        self.add_module(f'pool{bins}', nn.Conv2d(32 * width, 8 * width, 1, bias=False))
        self.add_module(f'pool{bins}_norm', parts.norm(norm, 8 * width, momentum=bn_momentum))
      rest = num_classes, dropout, norm, bn_momentum
      self.head = parts.head(64 * width, 8 * width, *rest, maps=dropout_maps)
      if aux:
        self.aux = parts.head(16 * width, 4 * width, *rest, maps=dropout_maps)

    def forward(self, image):
      h, w = image.shape[2:]
      image = functional.pad(image, (0, (1 - w) % 8, 0, (1 - h) % 8))
      size = image.shape[2:]
      *_, before, x = self.encoder(image)
      maps = [x]
      for bins in (1, 2, 3, 6):
        y = self.get_submodule(f'pool{bins}')(functional.adaptive_avg_pool2d(x, bins))
        maps.append(resized(self.get_submodule(f'pool{bins}_norm')(y).relu_(), x.shape[2:]))
      scores = {'logits': self.head(torch.cat(maps, 1))}
      if aux:
        scores['aux'] = self.aux(before)
      return {name: resized(score, size)[:, :, :h, :w] for name, score in scores.items()}

  return Net()
