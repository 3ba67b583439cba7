"""The pieces every network is made of: convolution, transposed convolution, normalisation, PReLU, dropout.

Paddings are explicit integers everywhere: 'SAME' differs from the references at stride 2.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import lift

from jseg.ops import batch_norm, conv, conv3d, recompute
from jseg.typing import Array, Dtype

# N(0, sqrt(2 / fan_in)), the initialiser of He et al. 2015 ("MSRA" in Caffe).
he_normal = nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')


def filled_up(image: Array, multiple: int) -> jax.Array:
  """The image [b h w c] with zeros at its lower and right ends, so that `multiple` divides both sides."""
  ends = [(0, -side % multiple) for side in image.shape[1:3]]
  return jnp.pad(jnp.asarray(image), ((0, 0), *ends, (0, 0)))


def run(module: nn.Module, x: Any, *, train: bool, remat: bool, axis_name: str | None) -> jax.Array:
  """module(x, train=train); with `remat` its inner maps are computed again when gradients need them.

  `axis_name` is the device axis that the module's normalisations sum over.
  """

  def call(module: nn.Module, x: Any) -> jax.Array:
    return module(x, train=train)

  # What nn.remat is to jax.checkpoint: the module as a pure function of its variables, keys and input.
  def lifted(function: Callable) -> Callable:
    def inner(scope_of: Callable, changed: Callable, variables: Any, rngs: Any, x: Any) -> Any:
      def pure(variables: Any, rngs: Any, x: Any) -> Any:
        scope = scope_of(variables, rngs)
        return function(scope, x), changed(scope)

      return recompute.recomputed(pure, axis_name)(variables, rngs, x)

    return lift.pack(inner, (True,), (True,), (True,), name='remat')

  return nn.transforms.lift_transform(lifted, call)(module, x) if remat else call(module, x)


class Conv(nn.Module):
  """A convolution with explicit padding; kernel [kh kw cin/groups cout] as in flax.

  With three sides to the kernel it goes over volumes: kernel [kd kh kw cin/groups cout].
  """

  features: int
  kernel_size: tuple[int, ...] = (3, 3)
  stride: int = 1
  padding: int | tuple[tuple[int, int], ...] = 0
  dilation: int = 1
  groups: int = 1
  use_bias: bool = True
  dtype: Dtype = jnp.float32
  kernel_init: nn.initializers.Initializer = he_normal

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[b h w cin] -> [b h' w' features], or [b d h w cin] -> [b d' h' w' features]."""
    op: Callable = conv.conv2d if len(self.kernel_size) == 2 else conv3d.conv3d
    kernel = self.param(
      'kernel', self.kernel_init, (*self.kernel_size, x.shape[-1] // self.groups, self.features), jnp.float32
    )
    y = op(
      x.astype(self.dtype),
      kernel.astype(self.dtype),
      stride=self.stride,
      padding=self.padding,
      dilation=self.dilation,
      groups=self.groups,
    )
    if self.use_bias:
      bias = self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
      y = y + bias.astype(self.dtype)[(None,) * (y.ndim - 1)]
    return y


class ConvTranspose(nn.Module):
  """A transposed convolution in torch's terms; kernel [kh kw cout cin], unflipped (torch's transposed).

  With three sides to the kernel it goes over volumes: kernel [kd kh kw cout cin].
  """

  features: int
  kernel_size: tuple[int, ...] = (2, 2)
  stride: int = 2
  padding: int = 0
  output_padding: int = 0
  use_bias: bool = True
  dtype: Dtype = jnp.float32
  kernel_init: nn.initializers.Initializer = he_normal

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[b h w cin] -> [b (h-1)*s-2p+k+op ... features]; volumes as well."""
    op: Callable = conv.conv_transpose2d if len(self.kernel_size) == 2 else conv3d.conv_transpose3d
    kernel = self.param(
      'kernel', self.kernel_init, (*self.kernel_size, self.features, x.shape[-1]), jnp.float32
    )
    y = op(
      x.astype(self.dtype),
      kernel.astype(self.dtype),
      stride=self.stride,
      padding=self.padding,
      output_padding=self.output_padding,
    )
    if self.use_bias:
      bias = self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
      y = y + bias.astype(self.dtype)[(None,) * (y.ndim - 1)]
    return y


class Norm(nn.Module):
  """Normalisation by name: bn | frozen | fixed | batch | gn | none.

  bn: batch statistics in training, over all devices of `axis_name`; the running ones otherwise. They move
    by running = momentum * running + (1 - momentum) * batch (torch counts the momentum from the other end),
    and keep the unbiased variance, as torch's do.
  frozen: the running ones always.
  fixed: as frozen, and neither scale nor shift has a gradient (Detectron's AffineChannel; what does not move
    must be left out of weight decay, too: a rate factor of 0 in optim.groups).
  batch: batch statistics in training, those of each image by itself at test, so that a prediction does not
    depend on the images beside it (FC-DenseNet's protocol, which tests images one by one). The running ones
    are kept but not used.
  gn: statistics of each image and each of `groups` groups of its channels (Wu and He 2018, arXiv:1803.08494);
    of all channels together where there are fewer than groups.
  none: the identity.
  """

  kind: str = 'bn'
  momentum: float = 0.9
  eps: float = 1e-5
  axis_name: str | None = None
  dtype: Dtype = jnp.float32
  groups: int = 8  # of gn

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """[... c] -> [... c] in `dtype`; statistics and their update are float32.

    Raises:
      ValueError: the kind is none of the six, or the groups do not divide the channels.
    """
    if self.kind == 'none':
      return x
    if self.kind == 'gn':
      return GroupNorm(self.groups, self.eps, name='gn')(x.astype(self.dtype))
    if self.kind not in ('bn', 'frozen', 'fixed', 'batch'):
      raise ValueError(f"norm '{self.kind}' is unknown; there are: bn, frozen, fixed, batch, gn, none")
    return BatchNorm(self.kind, self.momentum, self.eps, self.axis_name, name='bn')(
      x.astype(self.dtype), train=train
    )


class BatchNorm(nn.Module):
  """What Norm runs under the name 'bn': parameters scale and bias, running mean and var in batch_stats."""

  kind: str
  momentum: float
  eps: float
  axis_name: str | None

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """[... c] -> [... c] in x's dtype."""
    shape = x.shape[-1:]
    scale = self.param('scale', nn.initializers.ones, shape, jnp.float32)
    bias = self.param('bias', nn.initializers.zeros, shape, jnp.float32)
    mean = self.variable('batch_stats', 'mean', jnp.zeros, shape, jnp.float32)
    var = self.variable('batch_stats', 'var', jnp.ones, shape, jnp.float32)
    if self.kind == 'fixed':
      scale, bias = jax.lax.stop_gradient((scale, bias))
    if train and self.kind not in ('frozen', 'fixed'):
      # The axis is bound while training; a network being built runs on one device.
      axis_name = None if self.is_initializing() else self.axis_name
      y, batch_mean, batch_var, n = batch_norm.normalise(x, scale, bias, eps=self.eps, axis_name=axis_name)
      if not self.is_initializing():
        unbiased = batch_var * jnp.where(n > 1, n / jnp.maximum(n - 1, 1), 1)
        mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
        var.value = self.momentum * var.value + (1 - self.momentum) * unbiased
      return y
    if self.kind == 'batch':
      return batch_norm.apply(x, scale, bias, *batch_norm.image_statistics(x), eps=self.eps)
    return batch_norm.apply(x, scale, bias, mean.value, var.value, eps=self.eps)


class GroupNorm(nn.Module):
  """What Norm runs under the name 'gn': parameters scale and bias."""

  groups: int
  eps: float

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[b ... c] -> [b ... c] in x's dtype."""
    channels = x.shape[-1]
    groups = self.groups if channels >= self.groups else 1
    if channels % groups:
      raise ValueError(f'{channels} channels do not divide into {groups} groups; give a multiple of {groups}')
    scale = self.param('scale', nn.initializers.ones, (channels,), jnp.float32)
    bias = self.param('bias', nn.initializers.zeros, (channels,), jnp.float32)
    return batch_norm.apply(x, scale, bias, *batch_norm.image_statistics(x, groups), eps=self.eps)


class PReLU(nn.Module):
  """A slope for each channel below zero, learned (He et al. 2015, arXiv:1502.01852); 0.25 at first."""

  dtype: Dtype = jnp.float32

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[... c] -> [... c] in `dtype`."""
    x = jnp.asarray(x, self.dtype)
    slope = self.param('slope', nn.initializers.constant(0.25), x.shape[-1:], jnp.float32)
    return jnp.where(x > 0, x, x * slope.astype(self.dtype).reshape((1,) * (x.ndim - 1) + (-1,)))


class Dropout(nn.Module):
  """Dropout whose mask depends on the example's place in the global batch, not on the device count."""

  rate: float
  axis_name: str | None = None
  per_channel: bool = False  # drop whole feature maps

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """[b ... c] -> [b ... c], scaled by 1 / (1 - rate) where kept."""
    if not train or self.rate == 0:
      return x
    row = jnp.arange(x.shape[0])
    if self.axis_name is not None:
      row = row + jax.lax.axis_index(self.axis_name) * x.shape[0]
    shape = (1,) * (x.ndim - 2) + x.shape[-1:] if self.per_channel else x.shape[1:]
    key = self.make_rng('dropout')
    keep = jax.vmap(lambda r: jax.random.bernoulli(jax.random.fold_in(key, r), 1 - self.rate, shape))(row)
    return jnp.where(keep, x / (1 - self.rate), jnp.zeros((), x.dtype))
