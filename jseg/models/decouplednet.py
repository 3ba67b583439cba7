"""DecoupledNet: one network says which classes an image has, another where the queried ones are.

Source: Hong, Noh, Han, "Decoupled deep neural network for semi-supervised semantic segmentation"
(arXiv:1506.04924), section 3, and the authors' `DecoupledNet_Full_anno_inference_deploy.prototxt`.
The classification network is VGG16, its scores taken over a whole map. Bridging layers carry the query, a
factor for each class, from its scores back to the last pool through the same weights: it is a vector-Jacobian
product. The segmentation network sees pool and bridging map and tells foreground from background by the
decoder of DeconvNet: its weights are shared by all classes. Class 0 of a dataset is the background: no score.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jseg.models import blocks, deconvnet
from jseg.models.encoders import vgg
from jseg.ops import conv, resize
from jseg.typing import Array, Dtype

BRIDGES, RULES = ('vjp', 'layers'), ('squared', 'binary')
_LEAST = 1e-30  # of a probability, so that its logarithm is finite


class Segmenter(nn.Module):
  """Foreground or background: fc6 and fc7 on the pool beside its bridging map, and DeconvNet's decoder."""

  width: int = 64
  window: int = 7
  filler: str = 'gaussian'  # a key of deconvnet.FILLERS
  norm: str = 'bn'  # as blocks.Norm
  bn_eps: float = 1e-5
  bn_momentum: float = 0.9
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, pooled: Array, bridge: Array, encoded: Mapping[str, Array], *, train: bool
  ) -> tuple[Array, dict[str, Array]]:
    """The last pool [b h w c], its bridging map and the encoder's dict -> [b H W 2] and maps by name."""
    maps = [self._norm(name)(x, train=train) for name, x in (('pool5', pooled), ('bridge', bridge))]
    x, out = jnp.concatenate(maps, axis=-1), {}
    fill = deconvnet.FILLERS[self.filler]
    for name, side in (('fc6', self.window), ('fc7', 1)):
      x = blocks.Conv(
        32 * self.width, (side, side), dtype=self.dtype, kernel_init=fill, name=name
      )(x)  # fmt: skip
      out[f'{name}_seg'] = x = nn.relu(self._norm(name)(x, train=train))
    c1, c2, c3, c4, c5 = (self.width * n for n in (1, 2, 4, 8, 8))
    x, decoded = deconvnet.Decoder(
      c5, ((c5, c5, c4), (c4, c4, c3), (c3, c3, c2), (c2, c1), (c1, c1)), self.window,
      self.filler, self.norm, self.bn_eps, self.bn_momentum, self.dtype, self.axis_name, name='decoder',
    )(x, encoded, train=train)  # fmt: skip
    x = blocks.Conv(2, (1, 1), dtype=self.dtype, kernel_init=fill, name='score')(x)
    return x.astype(jnp.float32), {**out, **decoded}

  def _norm(self, name: str) -> blocks.Norm:
    return blocks.Norm(
      self.norm, self.bn_momentum, self.bn_eps, self.axis_name, self.dtype, name=f'{name}_norm'
    )


class Model(nn.Module):
  """DecoupledNet; `classify` and `segment` are its halves, a call is the inference of section 5.1."""

  num_classes: int
  width: int = 64  # VGG's first stage
  window: int = 7  # side of fc6 on the last pool; images have at least 32 (window - 1) + 1 rows and columns
  bridge: str = 'vjp'  # vjp: through the scores' own weights; layers: weights of their own, as released
  frozen: bool = True  # the segmentation network takes what the classification network gives as it is
  rule: str = 'squared'  # of the query at test: squared: a class's score, so that its maps have it twice ...
  # ... as the authors' code; binary: 1, as in training
  threshold: float = 0.5  # least score of a class that is in the image
  candidates: int = 0  # classes segmented at test, those of the highest scores; 0: all
  dropout: float = 0.0  # after fc6 and fc7 while scores are learned
  encoder_norm: str = 'none'  # of VGG16, as blocks.Norm; 'bn' to learn it from nothing, unlike the paper
  filler: str = 'gaussian'  # of all that VGG16 does not have: gaussian | he, see models.deconvnet
  norm: str = 'bn'  # of the segmentation network, as blocks.Norm
  bn_eps: float = 1e-5
  bn_momentum: float = 0.9
  dtype: Dtype = jnp.float32
  axis_name: str | None = None

  def setup(self):
    """Names of the layers; those of the classification network are VGG16's."""
    for key, value, known in (
      ('bridge', self.bridge, BRIDGES),
      ('rule', self.rule, RULES),
      ('filler', self.filler, tuple(deconvnet.FILLERS)),
    ):
      if value not in known:
        raise ValueError(f"decouplednet: {key} '{value}' is unknown; there are: {', '.join(known)}")
    if self.num_classes < 2 or not 0 <= self.candidates < self.num_classes:
      raise ValueError(
        f'decouplednet: {self.num_classes} classes, the background among them, of which {self.candidates} '
        'are segmented; at least 2 are needed, and at most all but one can be segmented'
      )
    self.encoder = vgg.Encoder(
      16, self.width, self.encoder_norm, self.bn_eps, self.bn_momentum, ceil_mode=True, dtype=self.dtype,
      axis_name=self.axis_name,
    )  # fmt: skip
    layer = functools.partial(blocks.Conv, dtype=self.dtype)
    self.fc6 = layer(64 * self.width, (self.window, self.window))
    self.fc7 = layer(64 * self.width, (1, 1))
    self.score = layer(self.num_classes - 1, (1, 1), kernel_init=deconvnet.FILLERS[self.filler])
    self.drop6, self.drop7 = (blocks.Dropout(self.dropout, self.axis_name) for _ in range(2))
    if self.bridge == 'layers':
      back = functools.partial(blocks.ConvTranspose, stride=1, padding=0, dtype=self.dtype)
      self.score_back = back(64 * self.width, (1, 1))
      self.fc7_back = back(64 * self.width, (1, 1))
      self.fc6_back = back(8 * self.width, (self.window, self.window))
    self.segmenter = Segmenter(
      self.width,
      self.window,
      self.filler,
      self.norm,
      self.bn_eps,
      self.bn_momentum,
      self.dtype,
      self.axis_name,
    )

  def classify(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c] -> scores before the sigmoid float32 [b k-1], averages over the map, and maps.

    Averages, as the weights that the authors' stage 2 starts from were learned; from then on maxima count.
    """
    pooled, _ = self._encoded(image, train)
    x, out = self._scores(pooled, train)
    return x.astype(jnp.float32).mean((1, 2)), out

  def segment(self, image: Array, query: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """Background and foreground scores of queried classes.

    Args:
      image: [b h w c].
      query: factor of each class but the background, float32 [b k-1]: in training 1 of the queried class or
        classes, 0 of the others.
      train: batch statistics in the segmentation network.

    Returns:
      (float32 [b h w 2], background first; maps by name).
    """
    pooled, encoded = self._encoded(image, train=False)
    scores, back, out = self._bridging(pooled)
    query = jax.nn.sigmoid(scores) * query
    logits, more = self._segmented(pooled, back(query[None]), encoded, train)
    h, w = image.shape[1:3]
    return logits[0, :, :h, :w], {**out, **_first(more)}

  def localise(self, image: Array) -> tuple[Array, Array]:
    """What scores alone say of places: (probabilities [b k-1] float32, maps [b h w k-1] in 0..1).

    A map is the pool times its bridging map, summed over features, what is negative left out, as a share of
    its largest value, resized bilinearly.
    """
    pooled, encoded = self._encoded(image, train=False)
    scores, back, _ = self._bridging(pooled)
    queries = jnp.eye(self.num_classes - 1)[:, None] * jnp.ones((1, len(image), 1))
    maps = nn.relu((pooled[None] * back(queries)).sum(-1).astype(jnp.float32))  # [k-1 b h' w']
    maps = jnp.moveaxis(maps, 0, -1) / jnp.maximum(maps.max((2, 3)).T[:, None, None], _LEAST)
    h, w = image.shape[1:3]
    size = encoded['stage1'].shape[1:3]
    return jax.nn.sigmoid(scores), resize.bilinear(maps, size)[:, :h, :w]

  def __call__(self, image: Array, *, train: bool) -> tuple[Array, dict[str, Array]]:
    """image [b h w c], any size -> log-probabilities of classes [b h w k] float32, and maps by name.

    Every class whose score is above the threshold is queried alone, and all of them together for the
    background; all queries are one batch. Probabilities are divided by their sum; where it is 0, all that
    are in the image are alike. A class below the threshold gets the least float32 that has a logarithm.
    """
    pooled, encoded = self._encoded(image, train=False)
    scores, back, out = self._bridging(pooled)
    scores = jax.nn.sigmoid(scores)
    found, classes = jax.lax.top_k(scores, self.candidates or self.num_classes - 1)  # [b m]
    own = jax.nn.one_hot(classes, self.num_classes - 1)  # [b m k-1]
    given = scores if self.rule == 'squared' else jnp.ones_like(scores)
    together = jnp.where(scores > self.threshold, given, 0)
    queries = jnp.concatenate([together[None], jnp.moveaxis(own * given[:, None], 1, 0)]) * scores[None]
    logits, more = self._segmented(pooled, back(queries), encoded, train)
    h, w = image.shape[1:3]
    chances = jax.nn.softmax(logits[:, :, :h, :w])  # [m+1 b h w 2]
    inside = jnp.concatenate([jnp.ones((len(image), 1)), found > self.threshold], axis=1)  # [b m+1]
    chosen = jnp.concatenate([chances[:1, ..., 0], chances[1:, ..., 1]])  # [m+1 b h w]
    chosen = chosen * inside.T[:, :, None, None]
    total = chosen.sum(0)
    chosen = jnp.where(total[None] == 0, inside.T[:, :, None, None], chosen)
    chosen = chosen / chosen.sum(0)[None]
    classed = jnp.einsum('mbhw,bmk->bhwk', chosen[1:], own)
    result = jnp.concatenate([chosen[0][..., None], classed], axis=-1)
    return jnp.log(jnp.maximum(result, _LEAST)), {**out, **_first(more)}

  def _encoded(self, image: Array, train: bool) -> tuple[jax.Array, dict[str, Array]]:
    """The last pool and the encoder's dict, of the image filled up with zeros where it is too small."""
    least = 32 * (self.window - 1) + 1
    ends = [(0, max(0, least - side)) for side in image.shape[1:3]]
    features, encoded = self.encoder(jnp.pad(jnp.asarray(image), ((0, 0), *ends, (0, 0))), train=train)
    return jnp.asarray(features[-1]), encoded

  def _scores(self, pooled: Array, train: bool) -> tuple[jax.Array, dict[str, Array]]:
    """The map of scores [b h w k-1] above the last pool, and fc6 and fc7."""
    out = {'fc6': nn.relu(self.fc6(pooled))}
    out['fc7'] = nn.relu(self.fc7(self.drop6(out['fc6'], train=train)))
    return jnp.asarray(self.score(self.drop7(out['fc7'], train=train))), out

  def _bridging(self, pooled: Array) -> tuple[jax.Array, Any, dict[str, Array]]:
    """Scores [b k-1] float32, maxima over the map; (queries [n b k-1] -> maps [n b h w c]); maps by name."""
    scores, out = self._scores(pooled, train=False)
    out |= {'cls_score': scores, 'pool5': pooled}
    place = _first_maximum(scores)
    if self.bridge == 'layers':
      back = self._own_layers(pooled, scores, place, out)
    else:
      layers = [self._kernel_and_bias(layer) for layer in (self.fc6, self.fc7, self.score)]

      def maxima(x: Array) -> jax.Array:  # what `scores` came from, a function of the pool alone
        for number, (kernel, bias) in enumerate(layers):
          x = conv.conv2d(nn.relu(x) if number else x, kernel) + bias[None, None, None]
        return _pick(jnp.asarray(x), place)

      _, pullback = jax.vjp(maxima, pooled)
      back = jax.vmap(lambda query: pullback(query.astype(self.dtype))[0])
    picked = _pick(scores, place).astype(jnp.float32)
    if not self.frozen:
      return picked, back, out
    still = jax.lax.stop_gradient
    return still(picked), lambda queries: still(back(queries)), out

  def _kernel_and_bias(self, layer: nn.Module) -> tuple[Array, Array]:
    parameters = layer.variables['params']
    return parameters['kernel'].astype(self.dtype), parameters['bias'].astype(self.dtype)

  def _own_layers(self, pooled: Array, scores: Array, place: Array, out: Mapping[str, Array]) -> Any:
    """(queries -> maps) by layers that the authors' converter fills with the transposed weights."""

    def back(queries: Array) -> jax.Array:
      n, b = queries.shape[:2]
      x = jnp.where(place[None], queries[:, :, None, None], 0).reshape(n * b, *scores.shape[1:])
      masks = {name: jnp.tile(out[name] > 0, (n, 1, 1, 1)) for name in ('fc6', 'fc7')}
      x = jnp.where(masks['fc7'], self.score_back(x), 0)
      x = jnp.where(masks['fc6'], self.fc7_back(x), 0)
      return jnp.asarray(self.fc6_back(x)).reshape(n, *pooled.shape)

    return back

  def _segmented(
    self, pooled: Array, maps: Array, encoded: Mapping[str, Array], train: bool
  ) -> tuple[jax.Array, dict[str, Array]]:
    """Two scores [n b h w 2] of each of n queries' bridging maps [n b h' w' c], in one batch, and maps."""
    n, b = maps.shape[:2]
    pooled = jax.lax.stop_gradient(pooled) if self.frozen else pooled
    tiled = {name: jnp.tile(x, (n, 1, 1, 1)) for name, x in encoded.items() if name.startswith('place')}
    stages = {name: x for name, x in encoded.items() if name.startswith('stage')}  # only their sizes count
    maps = maps.reshape(n * b, *maps.shape[2:])
    logits, out = self.segmenter(
      jnp.tile(pooled, (n, 1, 1, 1)), maps, {**stages, **tiled}, train=train
    )  # fmt: skip
    out = {**out, 'bridge': maps, 'foreground': logits}
    return tuple(jax.tree.map(lambda x: x.reshape(n, b, *x.shape[1:]), (logits, out)))


def _first(maps: Mapping[str, Array]) -> dict[str, Array]:
  """Of maps [n b ...] those of the first query."""
  return {name: x[0] for name, x in maps.items()}


def _first_maximum(scores: jax.Array) -> jax.Array:
  """Where the first maximum of each feature lies, bool [b h w k]."""
  b, h, w, k = scores.shape
  index = jnp.argmax(scores.reshape(b, h * w, k), axis=1)
  return (jnp.arange(h * w)[None, :, None] == index[:, None]).reshape(b, h, w, k)


def _pick(scores: jax.Array, place: jax.Array) -> jax.Array:
  """The values [b k] at the one place that each feature has."""
  return jnp.where(place, scores, 0).sum((1, 2))
