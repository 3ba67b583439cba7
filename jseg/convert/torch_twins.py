"""The same networks as plain PyTorch modules, to be timed beside ours: `--reference=torch` of the benchmark.

Layers carry our names, so weights go over by name and both sides can be seen to compute the same loss. This
is what anyone would write in PyTorch: eager, NCHW, the library's own convolutions, BatchNorm and SGD. torch
is imported where it is used, since it is no requirement of the package.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.typing import IGNORE_LABEL


@dataclasses.dataclass
class Twin:
  """A torch module with loss and SGD; images are float32 [b h w c], labels [b h w] with void 255."""

  module: Any
  optimizer: Any
  class_weights: Any

  def train_step(self, image: np.ndarray, labels: np.ndarray) -> float:
    """One SGD step; returns the loss before it: weighted cross-entropy over the pixels that are not void."""
    import torch

    self.module.train()
    self.optimizer.zero_grad(set_to_none=True)
    target = torch.from_numpy(labels).long()
    logits = self.module(_nchw(image))
    total = torch.nn.functional.cross_entropy(
      logits, target, self.class_weights, ignore_index=IGNORE_LABEL, reduction='sum'
    )
    loss = total / (target != IGNORE_LABEL).sum()
    loss.backward()
    self.optimizer.step()
    return loss.item()

  def eval_step(self, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The confusion counts [k k] of a batch, truth by prediction, from running statistics."""
    import torch

    self.module.eval()
    with torch.no_grad():
      logits = self.module(_nchw(image))
      k = logits.shape[1]
      target = torch.from_numpy(labels).long()
      known = target != IGNORE_LABEL
      cells = target[known] * k + logits.argmax(1)[known]
      return torch.bincount(cells, minlength=k * k).reshape(k, k).numpy()

  def load(self, params: Mapping[str, Any]) -> None:
    """Takes over our parameters, by name.

    Raises:
      ValueError: a parameter of either side has no counterpart of its shape.
    """
    import torch

    state = {}
    for path, value in _flat(params):
      *layers, leaf = [part for part in path if part != 'bn']
      name = '.'.join([*layers, {'kernel': 'weight', 'scale': 'weight', 'bias': 'bias'}[leaf]])
      value = np.array(value)
      # HWIO to OIHW, and for transposed ones [kh kw cout cin] to torch's IOHW: the same move.
      state[name] = torch.from_numpy(value.transpose(3, 2, 0, 1).copy() if value.ndim == 4 else value)
    own = dict(self.module.named_parameters())
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in state.items()}:
      odd = sorted(own.keys() ^ state.keys()) or 'shapes'
      raise ValueError(f'the torch twin is another network than this config: {odd} differ')
    self.module.load_state_dict(state, strict=False)


def make(name: str, channels: int, num_classes: int, options: Mapping[str, Any]) -> Any:
  """The module of a network by the name and options its config gives.

  Raises:
    ValueError: there is no twin of this network, or not of these options.
  """
  builders = {'segnet_basic': _segnet_basic, 'unet': _unet}
  if name not in builders:
    raise ValueError(f"model '{name}' has no torch twin; there are: {', '.join(builders)}")
  try:
    return builders[name](channels, num_classes, **options)
  except TypeError as error:
    raise ValueError(f"the torch twin of '{name}' lacks an option: {error}") from error


def twin(
  module: Any, *, lr: float, momentum: float, weight_decay: float, class_weights: tuple[float, ...]
) -> Twin:
  """The module with torch's SGD and the loss's class weights."""
  import torch

  optimizer = torch.optim.SGD(module.parameters(), lr, momentum, weight_decay=weight_decay)
  return Twin(module, optimizer, torch.tensor(class_weights))


def _flat(tree: Mapping[str, Any], path: tuple[str, ...] = ()):
  for name, value in tree.items():
    if isinstance(value, Mapping):
      yield from _flat(value, (*path, name))
    else:
      yield (*path, name), value


def _nchw(image: np.ndarray) -> Any:
  import torch

  return torch.from_numpy(image).permute(0, 3, 1, 2).contiguous()


def _norm(kind: str, features: int, eps: float, momentum: float) -> Any:
  """BatchNorm or nothing; torch counts the momentum from the other end."""
  import torch

  return torch.nn.BatchNorm2d(features, eps, 1 - momentum) if kind == 'bn' else torch.nn.Identity()


def _segnet_basic(
  channels: int,
  num_classes: int,
  width: int = 64,
  norm: str = 'bn',
  bn_eps: float = 1e-5,
  bn_momentum: float = 0.9,
) -> Any:
  """SegNet-Basic, see jseg.models.segnet_basic."""
  from torch import nn

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      self.lrn = nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)
      self.pool = nn.MaxPool2d(2, 2, ceil_mode=True, return_indices=True)
      self.unpool = nn.MaxUnpool2d(2, 2)
      for i in range(1, 5):
        self.add_module(f'encode{i}', nn.Conv2d(width if i > 1 else channels, width, 7, padding=3))
        self.add_module(f'decode{i}', nn.Conv2d(width, width, 7, padding=3))
        for part in ('encode', 'decode'):
          self.add_module(f'{part}{i}_norm', _norm(norm, width, bn_eps, bn_momentum))
      self.score = nn.Conv2d(width, num_classes, 1)

    def forward(self, image):
      x, pools = self.lrn(image), []
      for i in range(1, 5):
        x = self.get_submodule(f'encode{i}_norm')(self.get_submodule(f'encode{i}')(x)).relu_()
        size = x.shape[2:]
        x, index = self.pool(x)
        pools.append((index, size))
      for i in range(4, 0, -1):
        index, size = pools[i - 1]
        x = self.unpool(x, index, output_size=size)
        x = self.get_submodule(f'decode{i}_norm')(self.get_submodule(f'decode{i}')(x))
      return self.score(x)

  return Net()


def _double_conv(cin: int, cout: int, padding: int, norm: str, bn_momentum: float) -> Any:
  """Two 3x3 convolutions, each with its norm and ReLU."""
  from torch import nn

  class DoubleConv(nn.Module):
    def __init__(self):
      super().__init__()
      self.conv1 = nn.Conv2d(cin, cout, 3, padding=padding, bias=norm == 'none')
      self.norm1 = _norm(norm, cout, 1e-5, bn_momentum)
      self.conv2 = nn.Conv2d(cout, cout, 3, padding=padding, bias=norm == 'none')
      self.norm2 = _norm(norm, cout, 1e-5, bn_momentum)

    def forward(self, x):
      return self.norm2(self.conv2(self.norm1(self.conv1(x)).relu_())).relu_()

  return DoubleConv()


def _unet(
  channels: int,
  num_classes: int,
  width: int = 64,
  depth: int = 5,
  padding: str = 'valid',
  border: str = 'mirror',
  norm: str = 'none',
  bn_momentum: float = 0.9,
  dropout: float = 0.5,
) -> Any:
  """U-Net, see jseg.models.unet: padded, or valid on a mirrored image."""
  import torch
  from torch import nn
  from torch.nn import functional

  valid = padding == 'valid'

  def double(cin: int, cout: int) -> Any:
    return _double_conv(cin, cout, 0 if valid else 1, norm, bn_momentum)

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      for level in range(depth):
        features = width * 2**level
        self.add_module(f'down{level}', double(features // 2 if level else channels, features))
        if level < depth - 1:
          self.add_module(f'up{level}_conv', nn.ConvTranspose2d(2 * features, features, 2, 2))
          self.add_module(f'up{level}', double(2 * features, features))
      self.drop = nn.Dropout(dropout)
      self.score = nn.Conv2d(width, num_classes, 1)

    def forward(self, image):
      h, w = image.shape[2:]
      x = self._mirrored(image) if valid and border == 'mirror' else image
      skips = []
      for level in range(depth):
        x = self.get_submodule(f'down{level}')(functional.max_pool2d(x, 2) if level else x)
        x = self.drop(x) if level >= depth - 2 else x
        skips.append(x)
      for level in range(depth - 2, -1, -1):
        x = self._join(skips[level], self.get_submodule(f'up{level}_conv')(x))
        x = self.get_submodule(f'up{level}')(x)
      x = self.score(x)
      return x[:, :, :h, :w] if border == 'mirror' else x

    def _mirrored(self, image):
      step, pads = 2 ** (depth - 1), []
      base, margin = 4 * (step - 1), 6 * step - 4
      for side in (image.shape[3], image.shape[2]):
        pads += [margin, margin + -(-(side + base) // step) * step - base - side]
      return functional.pad(image, pads, mode='reflect')

    def _join(self, skip, up):
      extra = [a - b for a, b in zip(skip.shape[2:], up.shape[2:], strict=True)]
      if valid:
        top, left = extra[0] // 2, extra[1] // 2
        skip = skip[:, :, top : top + up.shape[2], left : left + up.shape[3]]
      elif any(extra):
        (y, x) = extra
        up = functional.pad(up, (x // 2, x - x // 2, y // 2, y - y // 2))
      return torch.cat([skip, up], 1)

  return Net()
