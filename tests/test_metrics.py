"""Scores: hand numbers and the properties every report relies on. Recorded ones: test_goldens."""

import numpy as np
import pytest

from jseg.tasks import metrics


def _batch(seed, n=3, k=5):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, k, (n, 7, 9)).astype(np.uint8)
  labels[rng.random(labels.shape) < 0.1] = 255
  return rng.integers(0, k, (n, 7, 9)).astype(np.uint8), labels


def test_hand_numbers():
  # Class 0: 3 of 4 found, one false; class 1: 1 of 2 found, one false. IU 3/5 and 1/3.
  labels = np.array([[[0, 0, 0, 0, 1, 1, 255]]], np.uint8)
  predictions = np.array([[[0, 0, 0, 1, 1, 0, 0]]], np.uint8)
  counts = np.asarray(metrics.confusion(predictions, labels, 2))
  np.testing.assert_array_equal(counts, [[3, 1], [1, 1]])
  found = metrics.scores(counts)
  assert found['mean_iu'] == pytest.approx((3 / 5 + 1 / 3) / 2)
  assert found['pixel_accuracy'] == pytest.approx(4 / 6)
  assert found['mean_accuracy'] == pytest.approx((3 / 4 + 1 / 2) / 2)
  assert found['frequency_weighted_iu'] == pytest.approx((4 * 3 / 5 + 2 / 3) / 6)


def test_absent_class_is_left_out_and_predicted_only_counts_zero():
  assert metrics.scores(np.array([[4, 0, 0], [0, 2, 0], [0, 0, 0]]))['mean_iu'] == 1.0
  predicted_only = np.array([[4, 0, 2], [0, 2, 0], [0, 0, 0]])
  assert metrics.scores(predicted_only)['mean_iu'] == pytest.approx((4 / 6 + 1 + 0) / 3)


def test_nothing_counted_is_nan():
  assert all(np.isnan(v) for v in metrics.scores(np.zeros((3, 3))).values())


def test_counts_add_over_any_split_of_a_batch():
  predictions, labels = _batch(0, n=6)
  whole = metrics.confusion(predictions, labels, 5)
  for cut in (1, 4):
    parts = metrics.confusion(predictions[:cut], labels[:cut], 5) + metrics.confusion(
      predictions[cut:], labels[cut:], 5
    )
    np.testing.assert_array_equal(whole, parts)


def test_void_pixels_are_in_no_cell():
  predictions, labels = _batch(1)
  before = metrics.confusion(predictions, labels, 5)
  changed = np.where(labels == 255, (predictions + 1) % 5, predictions).astype(np.uint8)
  np.testing.assert_array_equal(before, metrics.confusion(changed, labels, 5))
  assert int(before.sum()) == int((labels != 255).sum())


def test_mean_iu_is_unchanged_by_renumbering_the_classes():
  predictions, labels = _batch(2)
  order = np.array([3, 0, 4, 1, 2], np.uint8)
  renumbered = np.where(labels == 255, 255, order[np.minimum(labels, 4)]).astype(np.uint8)
  before = metrics.scores(np.asarray(metrics.confusion(predictions, labels, 5)))
  after = metrics.scores(np.asarray(metrics.confusion(order[predictions], renumbered, 5)))
  for name in metrics.NAMES:
    assert before[name] == pytest.approx(after[name])


def test_clu_metric_merges_and_reduces_to_the_whole():
  predictions, labels = _batch(3, n=4)
  logits = np.eye(5, dtype=np.float32)[predictions]
  whole = metrics.MeanIU.from_model_output(logits=logits, labels=labels)
  halves = [metrics.MeanIU.from_model_output(logits=logits[i::2], labels=labels[i::2]) for i in range(2)]
  assert whole.compute() == pytest.approx(halves[0].merge(halves[1]).compute())
  stacked = metrics.MeanIU(confusion=np.stack([np.asarray(h.confusion) for h in halves]))
  np.testing.assert_array_equal(stacked.reduce().confusion, whole.confusion)
