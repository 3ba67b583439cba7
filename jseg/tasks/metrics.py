"""Scores of dense prediction, all from one confusion matrix over the whole split.

Definitions: FCN (Long et al. 2015), section 5. Void pixels are in no cell. A class absent from truth and
prediction is left out of the means; a class that is only predicted counts as IU 0 (it has a union).
"""

import dataclasses

import clu.metrics
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from jseg.typing import IGNORE_LABEL, Array

# The scores of a confusion matrix, in the order tables print them.
NAMES = ('mean_iu', 'pixel_accuracy', 'mean_accuracy', 'frequency_weighted_iu')


def confusion(
  predictions: Integer[Array, 'b h w'], labels: Integer[Array, 'b h w'], num_classes: int
) -> Integer[Array, 'k k']:
  """int32 counts [truth, prediction] over the pixels that are not void.

  On a CPU by bincount (2.5 ms for 2.1 Mpx against 253 for one-hot products); elsewhere by a product of
  one-hot codes in bfloat16 accumulated in float32, since scatters are slow there; exact while one batch
  of one device has fewer than 2**24 pixels in a cell.
  """
  known = labels != IGNORE_LABEL
  truth = jnp.where(known, labels, 0).astype(jnp.int32).ravel()
  predicted = predictions.astype(jnp.int32).ravel()
  weight = known.ravel()

  def by_bincount(truth, predicted, weight):
    cell = jnp.where(weight, truth * num_classes + predicted, num_classes**2)
    return (
      jnp.bincount(cell, length=num_classes**2 + 1)[:-1].reshape(num_classes, num_classes).astype(jnp.int32)
    )

  def by_product(truth, predicted, weight):
    codes = jnp.arange(num_classes, dtype=jnp.int32)
    rows = ((truth[:, None] == codes[None]) & weight[:, None]).astype(jnp.bfloat16)  # [n k]
    columns = (predicted[:, None] == codes[None]).astype(jnp.bfloat16)  # [n k]
    counts = jax.lax.dot_general(rows, columns, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32)
    return counts.astype(jnp.int32)

  return jax.lax.platform_dependent(truth, predicted, weight, cpu=by_bincount, default=by_product)


@flax.struct.dataclass
class MeanIU(clu.metrics.Metric):
  """Mean IU as a CLU metric: a confusion matrix that merges by adding, on one device or across many."""

  confusion: Integer[Array, '*devices k k']

  @classmethod
  def from_model_output(
    cls, logits: Float[Array, 'b h w k'], labels: Integer[Array, 'b h w'], **_
  ) -> 'MeanIU':
    """Counts one batch; `logits` may be any scores whose arg-max over the last axis is the prediction."""
    return cls(confusion=confusion(jnp.argmax(logits, axis=-1), labels, logits.shape[-1]))

  def merge(self, other: 'MeanIU') -> 'MeanIU':
    """The counts of both."""
    return dataclasses.replace(self, confusion=self.confusion + other.confusion)

  def reduce(self) -> 'MeanIU':
    """The counts of a stacked metric [n k k], as gathering over devices leaves it."""
    return dataclasses.replace(self, confusion=self.confusion.sum(0))

  def compute(self) -> float:
    """Mean IU in [0, 1]."""
    return scores(np.asarray(self.confusion))['mean_iu']


def per_class_iu(confusion: np.ndarray) -> np.ndarray:
  """IU of each class in [0, 1]; NaN for a class in neither truth nor prediction. confusion: [k k] counts."""
  counts = np.asarray(confusion, np.float64)
  hit = np.diag(counts)
  union = counts.sum(0) + counts.sum(1) - hit
  return np.divide(hit, union, out=np.full_like(hit, np.nan), where=union > 0)


def scores(confusion: np.ndarray) -> dict[str, float]:
  """mean_iu, pixel_accuracy, mean_accuracy, frequency_weighted_iu in [0, 1] from [k k] counts.

  All are NaN when nothing was counted.
  """
  counts = np.asarray(confusion, np.float64)
  hit, truth = np.diag(counts), counts.sum(1)
  if truth.sum() == 0:
    return dict.fromkeys(NAMES, float('nan'))
  iu = per_class_iu(counts)
  recall = np.divide(hit, truth, out=np.full_like(hit, np.nan), where=truth > 0)
  present = truth > 0
  return {
    'mean_iu': float(np.nanmean(iu)),
    'pixel_accuracy': float(hit.sum() / truth.sum()),
    'mean_accuracy': float(np.nanmean(recall)),
    'frequency_weighted_iu': float((truth[present] * iu[present]).sum() / truth.sum()),
  }
