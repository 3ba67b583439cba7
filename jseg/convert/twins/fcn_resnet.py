"""Torch twin of the FCN on a dilated ResNet."""

from typing import Any

from jseg.convert.twins import parts


def fcn_resnet(
  channels: int,
  num_classes: int,
  depth: int = 50,
  width: int = 64,
  output_stride: int = 8,
  aux: bool = True,
  dropout: float = 0.1,
  norm: str = 'bn',
  bn_momentum: float = 0.9,
) -> Any:
  """The module of jseg.models.fcn_resnet: image -> the maps 'logits' and, if there is that head, 'aux'."""
  from torch import nn
  from torch.nn import functional

  last = width * (32 if depth >= 50 else 8)

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      self.encoder = parts.resnet(
        channels, depth, width, kind=norm, momentum=bn_momentum, output_stride=output_stride,
        contract_dilation=True,
      )  # fmt: skip
      self.head = parts.head(last, last // 4, num_classes, dropout, norm, bn_momentum)
      if aux:
        self.aux = parts.head(last // 2, last // 8, num_classes, dropout, norm, bn_momentum)

    def forward(self, image):
      *_, before, x = self.encoder(image)
      scores = {'logits': self.head(x)} | ({'aux': self.aux(before)} if aux else {})
      return {name: functional.interpolate(x, image.shape[2:], mode='bilinear') for name, x in scores.items()}

  return Net()
