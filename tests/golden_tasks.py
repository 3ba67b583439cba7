"""Checks of ops/{losses,confusion_miou,optim,gan_losses}.npz, one case at a time (rows of test_goldens)."""

import functools

import golden_optim
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jseg.data import counts, spec
from jseg.tasks import adversarial_losses, detection_losses, losses, metrics


def check_losses(case) -> None:
  if case.name in ('enet_weights', 'median_frequency_weights'):
    _check_weights(case)
  elif case.name.startswith('ce_'):
    _check_cross_entropy(case)
  else:
    _check_detection(case)


def _check_cross_entropy(case) -> None:
  logits, labels = jnp.asarray(case.map('logits')), jnp.asarray(case['target'])
  weights = case.arrays.get('class_weights', np.ones(logits.shape[-1], np.float32))

  def loss(logits):
    total, count = losses.cross_entropy(
      logits, labels, weights, normalise='weights', label_smoothing=case.options['label_smoothing']
    )
    return total if case.options['reduction'] == 'sum' else total / count

  value, gradient = jax.value_and_grad(loss)(logits)
  np.testing.assert_allclose(value, case['loss'], rtol=1e-5)
  np.testing.assert_allclose(gradient, case.map('dlogits'), rtol=1e-4, atol=1e-7)


_DETECTION = {
  'bce_logits': lambda x, target: optax.sigmoid_binary_cross_entropy(x, target).mean(),
  'smooth_l1_beta1': lambda x, target: detection_losses.smooth_l1(x - target, 1.0).mean(),
  'smooth_l1_beta_1_9_sum': lambda x, target: detection_losses.smooth_l1(x - target, 1 / 9).sum(),
}


def _check_detection(case) -> None:
  if case.name not in _DETECTION:
    pytest.skip(f'{case.name}: no loss of jseg')
  loss = functools.partial(_DETECTION[case.name], target=case['target'])
  value, gradient = jax.value_and_grad(loss)(jnp.asarray(case['logits']))
  np.testing.assert_allclose(value, case['loss'], rtol=1e-5)
  np.testing.assert_allclose(gradient, case['dlogits'], rtol=1e-4, atol=1e-7)


def _check_weights(case) -> None:
  num_classes = len(case['y'])
  rows = [counts.of_labels(labels, num_classes, case.name) for labels in case['labels'].astype(np.uint8)]
  dataset = spec.DatasetSpec(
    name='case',
    protocol='case',
    classes=tuple(map(str, range(num_classes))),
    palette=((0, 0, 0),) * num_classes,
    raw_void=(),
    split_sizes={},
    **counts.figures(np.stack(rows)),
  )
  rule = case.name.removesuffix('_weights')
  np.testing.assert_allclose(dataset.class_weights(rule), case['y'], rtol=1e-5)


def check_confusion(case) -> None:
  confusion = np.asarray(metrics.confusion(case['pred'], case['target'], case.options['num_classes']))
  np.testing.assert_array_equal(confusion, case['hist'])
  found, iu = metrics.scores(confusion), metrics.per_class_iu(confusion)
  np.testing.assert_allclose(np.where(np.isnan(iu), -1, iu), case['iou'], rtol=1e-12)
  names = {
    'mean_iou': 'mean_iu',
    'pixel_acc': 'pixel_accuracy',
    'mean_acc': 'mean_accuracy',
    'fw_iou': 'frequency_weighted_iu',
  }
  for theirs, ours in names.items():
    np.testing.assert_allclose(found[ours], case[theirs], rtol=1e-12, err_msg=ours)


def check_optim(case) -> None:
  if not golden_optim.check_case(case.name, case.options, case.arrays):
    pytest.skip(f'{case.name}: no optimiser of jseg')


def check_gan_losses(case) -> None:
  """Both forms against the port's; the fixture's K+1 scores are K beside a 0, which 'explicit' is given."""
  unlabelled, generated = case.map('unl_logits'), case.map('fake_logits')
  total, count = losses.cross_entropy(
    case.map('lab_logits'), jnp.asarray(case['labels']), np.ones(case['lab_logits'].shape[1], np.float32)
  )
  np.testing.assert_allclose(total / count, case['K_loss_label'], rtol=1e-5)
  for form, prefix in (('fixed', 'K'), ('explicit', 'K1')):

    def of(logits, form=form):
      if form == 'explicit':
        logits = np.concatenate([logits, np.zeros_like(logits[..., :1])], axis=-1)
      return adversarial_losses.scores(logits, form)

    found = {
      'loss_unlabel': adversarial_losses.real(of(unlabelled)),
      'loss_fake': adversarial_losses.fake(of(generated)),
      'gen_loss': adversarial_losses.real(of(generated)),
    }
    for name, value in found.items():
      if f'{prefix}_{name}' in case.arrays:
        np.testing.assert_allclose(value.mean(), case[f'{prefix}_{name}'], rtol=2e-6)
