"""One training step against recorded ones: loss, logits, gradients and statistics, all in float64."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jseg.tasks import losses

# Relative. Logits leave every network as float32, which is what remains.
TOLERANCE = 1e-5

# Of the losses on what a golden records: the logits, and PSPNet's auxiliary ones (notes of its golden).
FACTORS = {'out': 1.0, 'aux': 0.4}

Arrays = Mapping[str, np.ndarray]


def check_step(golden: Mapping[str, Any], row: Any) -> None:
  """Runs the step as the golden's notes say, and compares whatever is recorded.

  Args:
    golden: the fixture.
    row: the Network of golden_networks.py that it belongs to.
  """
  arrays = golden_rule.state_dict(golden)
  (image,) = golden_rule.inputs(golden).values()
  batch, classes, *size = golden['output']['out']['shape']
  labels = _labels((batch, *size), classes)
  weights = np.linspace(0.5, 1.5, classes)
  with jax.enable_x64(True):
    model = _without_dropout(row.build(arrays)).clone(dtype=jnp.float64)
    variables = jax.tree.map(lambda x: np.asarray(x, np.float64), row.convert(arrays))

    def loss_of(params):
      (logits, maps), state = model.apply(
        {**variables, 'params': params},
        np.asarray(image, np.float64).transpose(0, 2, 3, 1),
        train=True,
        mutable=['batch_stats'],
      )
      scores = {name: maps[row.tap(name)] for name in golden['output'] if name != 'out'}
      # RefineNet's loss is taken on a map on the way.
      scores['out'] = logits if logits.shape[1:3] == tuple(size) else maps[row.tap('out')]
      loss = 0.0
      for name, value in scores.items():
        total, count = losses.cross_entropy(
          value, jnp.asarray(labels), jnp.asarray(weights, jnp.float32), normalise='weights'
        )
        loss += FACTORS[name] * total / count
      return loss, (scores, state)

    (loss, (scores, state)), grads = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(variables['params'])
  np.testing.assert_allclose(loss, golden['loss'], rtol=TOLERANCE)
  for name, value in scores.items():
    result = golden_rule.compare(
      golden, row.out(name, value), 1e-6, 1e-6, output=name, layout='NHWC', outliers=row.outliers
    )
    assert result['ok'], result
  _compare({'params': grads, **state}, golden, _places(arrays, row.convert))


def _labels(shape: tuple[int, ...], classes: int) -> np.ndarray:
  rng = np.random.default_rng(zlib.crc32(b'labels'))
  labels = rng.integers(0, classes, shape)
  labels[rng.random(shape) < 0.1] = 255
  return labels.astype(np.uint8)


def _without_dropout(model: nn.Module) -> nn.Module:
  if not hasattr(model, 'dropout'):
    return model
  return model.clone(dropout=(0.0, 0.0) if isinstance(model.dropout, tuple) else 0.0)


def _places(arrays: Arrays, convert: Callable) -> Any:
  """Our variables, but each value is the position of the reference's value in all its arrays put in a row."""
  total, numbered = 0, {}
  for name, array in arrays.items():
    numbered[name] = np.arange(total, total + array.size).reshape(array.shape)
    total += array.size
  return convert(numbered)


def _compare(ours: Any, golden: Mapping[str, Any], places: Any) -> None:
  row = np.full(sum(int(np.prod(shape)) for _, shape, *_ in golden['tensors']), np.nan)
  for kind in ('params', 'batch_stats'):
    if kind not in ours:
      continue
    jax.tree.map(lambda place, value: row.__setitem__(place, np.asarray(value)), places[kind], ours[kind])
  start, found = 0, {}
  for name, shape, *_ in golden['tensors']:
    found[name] = row[start : start + int(np.prod(shape))]
    start += int(np.prod(shape))
  largest = max(norm for _, norm, *_ in golden['grads'])
  for name, norm, samples, noise in golden['grads']:
    value = found[name]
    if noise > 1:  # no gradient in exact arithmetic: a bias before normalisation
      assert np.linalg.norm(value) <= 1e-7 * largest, name
      continue
    assert abs(np.linalg.norm(value) - norm) <= TOLERANCE * norm, (name, np.linalg.norm(value), norm)
    for index, sample in samples:
      assert abs(value[index] - sample) <= TOLERANCE * norm, (name, index, value[index], sample)
  for name, norm, samples in golden['bn_after']:
    assert abs(np.linalg.norm(found[name]) - norm) <= TOLERANCE * norm, name
    for index, sample in samples:
      assert abs(found[name][index] - sample) <= TOLERANCE * norm, (name, index)
  for name in golden['no_grad']:
    assert not found[name].any(), name
