"""What a network is made of: its layers, parameters, operations and receptive fields, from shapes alone.

FLOPs are 2 for every multiply-add of convolutions, transposed convolutions and dense layers, borders and
padding included; nothing else counts: no bias, normalisation, activation, pool or resizing (the convention
of ENet's and LinkNet's authors, whose own counts are up to a tenth higher).
"""

import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jseg.engine import receptive
from jseg.models import blocks


@dataclasses.dataclass
class Layer:
  """A module that has parameters of its own."""

  path: str  # as in the parameter tree
  kind: str  # class, kernel, stride, dilation
  shape: tuple[int, ...]  # of its output
  parameters: int  # trainable scalars
  statistics: int  # other scalars it keeps: running means and variances
  flops: int  # of the whole batch
  stride: float = 0.0  # image rows from one row of the output to the next
  field: int | None = 0  # image rows that one row of the output sees; None: the whole image, or a share of it


def summarise(model: nn.Module, image_shape: tuple[int, ...]) -> dict[str, Any]:
  """The figures of a network, as JSON takes them.

  Args:
    model: the network.
    image_shape: (b, h, w, c) of a batch; FLOPs are of the whole batch.

  Returns:
    layers: a dict for each Layer, in the order of their first call. maps: {name: shape, stride, field} of
    the maps that the network returns by name, and `logits`. parts: {part: parameters, statistics, flops}, a
    part being all top-level modules whose names begin with the same word. Sums: parameters, statistics,
    flops. output_stride: the largest stride of a map that does not see the whole image. coarse_field: the
    largest field at that stride. score_stride: of the last layer with a kernel, in the order of calls, which
    is where classes are scored last. field: of the logits. None as a field means the whole image or a
    share of it.

  Raises:
    ValueError: the network does not take images of this size.
  """
  if 'remat' in {field.name for field in dataclasses.fields(model)}:
    model = model.clone(remat=False)  # the same network, but its inner maps can be looked at
  layers = _layers(model, image_shape)
  variables = _shapes(model, image_shape)
  found = receptive.fields(functools.partial(_maps, model), variables, image_shape)
  nowhere = receptive.Field(None, image_shape[1])  # outputs without rows come after a mean over the image
  for layer in layers:
    outer = found.get(f'layer {layer.path.rpartition("/")[0]}', nowhere)  # of what a normalisation runs
    layer.field, layer.stride = found.get(f'layer {layer.path}', outer)
  image = jax.ShapeDtypeStruct(image_shape, jnp.float32)
  shapes = jax.eval_shape(functools.partial(_maps, model), variables, image)
  maps = {
    name.removeprefix('map '): {'shape': shape.shape, 'stride': found[name].stride, 'field': found[name].rows}
    for name, shape in shapes.items()
    if name.startswith('map ')
  }
  bounded = [field for field in found.values() if field.rows is not None]
  output_stride = max(field.stride for field in bounded)
  return {
    'parameters': sum(layer.parameters for layer in layers),
    'statistics': sum(layer.statistics for layer in layers),
    'flops': sum(layer.flops for layer in layers),
    'output_stride': output_stride,
    'coarse_field': max(field.rows or 0 for field in bounded if field.stride == output_stride),
    'score_stride': [layer for layer in layers if layer.flops][-1].stride,
    'field': found.get('map logits', nowhere).rows,
    'parts': parts(layers),
    'layers': [dataclasses.asdict(layer) for layer in layers],
    'maps': maps,
  }


def parts(layers: list[Layer]) -> dict[str, dict[str, int]]:
  """Sums over the top-level modules whose names begin with the same word (`decode5_3`: decode)."""
  sums: dict[str, dict[str, int]] = {}
  for layer in layers:
    word = re.split(r'[\d_/]', layer.path)[0] or layer.path
    part = sums.setdefault(word, {'parameters': 0, 'statistics': 0, 'flops': 0})
    for key in part:
      part[key] += getattr(layer, key)
  return sums


def _shapes(model: nn.Module, image_shape: tuple[int, ...]) -> Any:
  image = jax.ShapeDtypeStruct(image_shape, jnp.float32)
  return jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)


def _layers(model: nn.Module, image_shape: tuple[int, ...]) -> list[Layer]:
  found: dict[str, Layer] = {}

  def record(next_function: Any, args: Any, kwargs: Any, context: Any) -> Any:
    y = next_function(*args, **kwargs)
    module, own = context.module, {}
    for collection, tree in module.variables.items():
      own[collection] = {name: leaf for name, leaf in tree.items() if not isinstance(leaf, Mapping)}
    if context.method_name != '__call__' or not any(own.values()):
      return y
    path = '/'.join(module.path)
    parameters = own['params'] if 'params' in own else {}
    kernel = parameters['kernel'].shape if 'kernel' in parameters else ()
    if path not in found:
      sizes = {collection: sum(leaf.size for leaf in own[collection].values()) for collection in own}
      trainable = sizes.pop('params', 0)
      found[path] = Layer(path, _kind(module, kernel), y.shape, trainable, sum(sizes.values()), 0)
    # Every tap of the kernel meets each pixel: of a transposed convolution's input, or else of the output.
    pixels = args[0].shape[:-1] if isinstance(module, blocks.ConvTranspose) else y.shape[:-1]
    found[path].flops += 2 * int(np.prod(kernel)) * int(np.prod(pixels)) if kernel else 0
    return y

  with nn.intercept_methods(record):
    _shapes(model, image_shape)
  return list(found.values())


def _kind(module: nn.Module, kernel: tuple[int, ...]) -> str:
  words = [type(module).__name__]
  if kernel[:-2]:
    words.append('x'.join(map(str, kernel[:-2])))
  options = {field.name for field in dataclasses.fields(module)}
  for name, sign in (('stride', '/'), ('dilation', 'd'), ('groups', 'g')):
    if name in options and getattr(module, name) != 1:
      words.append(f'{sign}{getattr(module, name)}')
  return ' '.join(words)


def _maps(model: nn.Module, variables: Any, image: Any) -> dict[str, Any]:
  """'layer <path>': the output of every module; 'map <name>': of the network, `logits` among them.

  Normalisation is left out: statistics that some kinds take over the whole image are no receptive field.
  """
  maps = {}

  def collect(next_function: Any, args: Any, kwargs: Any, context: Any) -> Any:
    y = args[0] if isinstance(context.module, blocks.Norm) else next_function(*args, **kwargs)
    if context.method_name == '__call__' and isinstance(y, jax.Array) and y.ndim == image.ndim:
      maps[f'layer {"/".join(context.module.path)}'] = y
    return y

  with nn.intercept_methods(collect):
    logits, out = model.apply(variables, image, train=False)
  named: dict[str, Any] = {**out, 'logits': logits}
  return maps | {f'map {name}': y for name, y in named.items() if y.ndim == image.ndim}
