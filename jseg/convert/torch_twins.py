"""The same networks as plain PyTorch modules, to be timed beside ours: `--reference=torch` of the benchmark.

Layers carry our names, so weights go over by name and both sides can be seen to compute the same loss. This
is what anyone would write in PyTorch: eager, NCHW, the library's own convolutions, BatchNorm and SGD. The
networks themselves are in jseg/convert/twins. torch is imported where it is used, since it is no requirement
of the package.
"""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from jseg.convert.twins import (
  deconvnet,
  enet,
  fc_densenet,
  fcn,
  fcn_basic,
  fcn_resnet,
  gfrnet,
  linknet,
  pspnet,
  refinenet,
  segnet,
  unet,
)
from jseg.typing import IGNORE_LABEL

# Networks by the name of their file in jseg/models.
_BUILDERS = {
  'deconvnet': deconvnet.deconvnet,
  'enet': enet.enet,
  'fc_densenet': fc_densenet.fc_densenet,
  'fcn': fcn.fcn,
  'fcn_alexnet': fcn.fcn_alexnet,
  'fcn_basic': fcn_basic.fcn_basic,
  'fcn_googlenet': fcn.fcn_googlenet,
  'fcn_resnet': fcn_resnet.fcn_resnet,
  'gfrnet': gfrnet.gfrnet,
  'linknet': linknet.linknet,
  'pspnet': pspnet.pspnet,
  'refinenet': refinenet.refinenet,
  'segnet': segnet.segnet,
  'segnet_basic': segnet.segnet_basic,
  'unet': unet.unet,
}
_LEAVES = {'kernel': 'weight', 'scale': 'weight', 'slope': 'weight', 'bias': 'bias'}


@dataclasses.dataclass
class Twin:
  """A torch module with loss and SGD; images are float32 [b h w c], labels [b h w] with void 255.

  The module gives logits [b k h w], or a dict of such maps, `logits` among them.
  """

  module: Any
  optimizer: Any
  class_weights: Any
  losses: tuple[tuple[str, float], ...]

  def train_step(self, image: np.ndarray, labels: np.ndarray) -> float:
    """One SGD step; returns the loss before it.

    That is the sum over `losses`, (map, factor), of the weighted cross-entropy over the pixels that are not
    void. A smaller map meets the nearest labels.
    """
    import torch
    from torch.nn import functional

    self.module.train()
    self.optimizer.zero_grad(set_to_none=True)
    maps, loss = self._maps(image), torch.zeros(())
    for name, factor in self.losses:
      target = torch.from_numpy(labels)[:, None].float()
      target = functional.interpolate(target, maps[name].shape[2:])[:, 0].long()
      total = functional.cross_entropy(
        maps[name], target, self.class_weights, ignore_index=IGNORE_LABEL, reduction='sum'
      )
      loss = loss + factor * total / (target != IGNORE_LABEL).sum()
    loss.backward()
    self.optimizer.step()
    return loss.item()

  def _maps(self, image: np.ndarray) -> dict[str, Any]:
    maps = self.module(_nchw(image))
    return maps if isinstance(maps, dict) else {'logits': maps}

  def eval_step(self, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The confusion counts [k k] of a batch, truth by prediction, from running statistics."""
    import torch

    self.module.eval()
    with torch.no_grad():
      logits = self._maps(image)['logits']
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
      name = '.'.join([*layers, _LEAVES[leaf]])
      value = np.array(value)
      # HWIO to OIHW, and for transposed ones [kh kw cout cin] to torch's IOHW: the same move.
      state[name] = torch.from_numpy(value.transpose(3, 2, 0, 1).copy() if value.ndim == 4 else value)
    own = dict(self.module.named_parameters())
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in state.items()}:
      odd = sorted(own.keys() ^ state.keys()) or 'shapes'
      raise ValueError(f'the torch twin is another network than this config: {odd} differ')
    self.module.load_state_dict(state, strict=False)


def make(
  name: str,
  channels: int,
  num_classes: int,
  options: Mapping[str, Any],
  defaults: Mapping[str, Any] | None = None,
) -> Any:
  """The module of a network by the name and options its config gives.

  `remat` changes no value: ours takes it, the twin keeps its maps either way.

  Args:
    name: of our network.
    channels: of the image.
    num_classes: of the logits.
    options: of our network.
    defaults: values of options that the twin, too, has where it does not know the option.

  Raises:
    ValueError: there is no twin of this network, or not of these options.
  """
  if name not in _BUILDERS:
    raise ValueError(f"model '{name}' has no torch twin; there are: {', '.join(_BUILDERS)}")
  builder = _BUILDERS[name]
  takes, usual = inspect.signature(builder).parameters, (defaults or {}).items()
  given = {k: v for k, v in options.items() if k in takes or (k != 'remat' and (k, v) not in usual)}
  try:
    return builder(channels, num_classes, **given)
  except TypeError as error:
    raise ValueError(f"the torch twin of '{name}' lacks an option: {error}") from error


def twin(
  module: Any,
  *,
  lr: float,
  momentum: float,
  weight_decay: float,
  class_weights: tuple[float, ...],
  losses: tuple[tuple[str, float], ...] = (('logits', 1.0),),
) -> Twin:
  """The module with torch's SGD, the loss's class weights, and the maps it learns from."""
  import torch

  optimizer = torch.optim.SGD(module.parameters(), lr, momentum, weight_decay=weight_decay)
  return Twin(module, optimizer, torch.tensor(class_weights), losses)


def _flat(tree: Mapping[str, Any], path: tuple[str, ...] = ()):
  for name, value in tree.items():
    if isinstance(value, Mapping):
      yield from _flat(value, (*path, name))
    else:
      yield (*path, name), value


def _nchw(image: np.ndarray) -> Any:
  import torch

  return torch.from_numpy(image).permute(0, 3, 1, 2).contiguous()
