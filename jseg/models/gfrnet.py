"""G-FRNet: VGG16 as encoder, and class scores refined stage by stage by gated encoder features.

Source: Islam, Rochan, Bruce, Wang, "Gated feedback refinement network for dense image labeling" (CVPR 2017),
section 3; the layers are those of the released `train_camvid_gate.prototxt`, where the paper's text differs:
the gates have as many channels as there are classes and no ReLU. A gate is the product of the features of
two neighbouring stages, the deeper one enlarged; gate='sum' adds them, as in the paper's ablation. All
enlarging is bilinear and keeps the corners. Pools round up, so every size passes. Departure: the released
Caffe keeps no running statistics; here they are kept (`bn_momentum`), and can be re-estimated after training
as the authors do.
"""

import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks
from jseg.models.encoders import vgg
from jseg.ops import resize
from jseg.typing import Array, Dtype

_GATES = ('product', 'sum')
_PREDICTION_FIRST = 2  # the encoder stage whose refinement joins (prediction, gate); the others the reverse


class Model(nn.Module):
  """G-FRNet on VGG16."""

  num_classes: int
  gate: str = 'product'  # product | sum
  dropout: float = 0.5  # after pools 3 to 5, conv6 and conv7
  width: int = 64  # VGG's first stage; conv6 and conv7 have 16 times as many features
  norm: str = 'bn'  # as blocks.Norm
  bn_eps: float = 1e-5
  bn_momentum: float = 0.9
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c], any size -> logits [b h w k] float32 and a dict.

    The dict has the maps pool1..5, conv6 and conv7, the gates gate_5..1 of the encoder's stages, and the
    coarser class scores pred_1..pred_5, coarsest first, [b h w k] float32 at the image's size: the released
    network adds a loss on each of them.

    Raises:
      ValueError: the gate is unknown.
    """
    if self.gate not in _GATES:
      raise ValueError(f"G-FRNet's gate '{self.gate}' is unknown; there are: {', '.join(_GATES)}")
    size = image.shape[1:3]
    features, stages = vgg.Encoder(
      16, self.width, self.norm, self.bn_eps, self.bn_momentum, ceil_mode=True,
      dropout=self.dropout, dtype=self.dtype, axis_name=self.axis_name, name='encoder',
    )(image, train=train)  # fmt: skip
    out = {f'pool{i}': c for i, c in enumerate(features, start=1)}
    x = features[-1]
    for name in ('conv6', 'conv7'):
      x = blocks.Conv(16 * self.width, padding=1, dtype=self.dtype, name=name)(x)
      out[name] = x = nn.relu(self._norm(x, f'{name}_norm', train=train))
      x = blocks.Dropout(self.dropout, self.axis_name)(x, train=train)
    scores = self._score(x, 'pred_1')
    deeper = self._score(features[-1], 'pool5_feature')
    for i in range(5, 0, -1):
      stage = stages[f'stage{i}']
      out[f'pred_{6 - i}'] = self._resized(scores.astype(jnp.float32), size)
      feature = self._norm(self._score(stage, f'feature{i}'), f'feature{i}_norm', train=train)
      deeper = self._resized(deeper, stage.shape[1:3])
      gate = feature * deeper if self.gate == 'product' else feature + deeper
      out[f'gate_{i}'] = gate = self._norm(gate, f'gate{i}_norm', train=train)
      joined = (gate, self._resized(scores, stage.shape[1:3]))
      joined = joined[::-1] if i == _PREDICTION_FIRST else joined
      scores = self._score(jnp.concatenate(joined, axis=-1), f'pred_{7 - i}' if i > 1 else 'score')
      deeper = feature
    return scores.astype(jnp.float32), out

  def _score(self, x: Array, name: str) -> Array:
    return blocks.Conv(self.num_classes, padding=1, dtype=self.dtype, name=name)(x)

  def _norm(self, x: Array, name: str, *, train: bool) -> Array:
    return blocks.Norm(self.norm, self.bn_momentum, self.bn_eps, self.axis_name, self.dtype, name=name)(
      x, train=train
    )

  def _resized(self, x: Array, size: tuple[int, ...]) -> Array:
    return resize.bilinear(x, size, align_corners=True)
