"""Average precision of boxes, masks and keypoints as COCO defines it, by the owners' own pycocotools.

Lin et al. 2014 (arXiv:1405.0312); cocodataset.org, "Detection evaluation". Crowds are neither found nor
missed; areas are the owners'.
"""

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# What pycocotools calls each kind, and its scores in the order of its list.
KINDS = {'box': 'bbox', 'mask': 'segm', 'keypoint': 'keypoints'}
_AREAS = ('ap', 'ap50', 'ap75', 'ap_small', 'ap_medium', 'ap_large')
_RECALLS = ('ar1', 'ar10', 'ar100', 'ar_small', 'ar_medium', 'ar_large')
_POINTS = ('ap', 'ap50', 'ap75', 'ap_medium', 'ap_large', 'ar', 'ar50', 'ar75', 'ar_medium', 'ar_large')
# Of keypoints that are not COCO's 17, as a share of the object's size; theirs are 0.025 to 0.107.
_SPREAD = 0.05


def need_pycocotools() -> None:
  """Raises ValueError if pycocotools, which measures, is absent."""
  if importlib.util.find_spec('pycocotools') is None:
    raise ValueError("average precision is measured by pycocotools; type: pip install -e '.[coco]'")


def names(kinds: Sequence[str]) -> list[str]:
  """The scores of `average_precision` for these kinds, in the order tables print them."""
  return [f'{kind}_{name}' for kind in kinds for name in _names(kind)]


def _names(kind: str) -> tuple[str, ...]:
  return _POINTS if kind == 'keypoint' else _AREAS + _RECALLS


def average_precision(
  truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], kinds: Sequence[str]
) -> tuple[dict[str, float], dict[str, dict[int, float]]]:
  """Scores over a split.

  Args:
    truth: images, annotations and categories in COCO's format; ids of annotations from 1 on.
    results: what was found, in COCO's format of results.
    kinds: some of KINDS.

  Returns:
    ({'box_ap': value in [0, 1], ...}, by kind the average precision of each category id). NaN where the truth
    has no object that counts.
  """
  from pycocotools import coco, cocoeval

  read: Any = coco.COCO
  measure: Any = cocoeval.COCOeval
  scores, by_class = {}, {}
  with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
    # pycocotools 2.0.11 hands numpy 2 arrays in an old manner.
    warnings.simplefilter('ignore', DeprecationWarning)
    reference = read()
    reference.dataset = _copied(truth)
    reference.createIndex()
    for kind in kinds:
      # Each kind has its own copy: loadRes takes the area from the mask if there is one, from the box if not.
      wanted = {'box': 'bbox', 'mask': 'segmentation', 'keypoint': 'keypoints'}[kind]
      parts = ('image_id', 'category_id', 'score', wanted)
      kept = [{name: entry[name] for name in parts} for entry in results if wanted in entry]
      found = reference.loadRes(kept) if kept else _nothing(read(), truth)
      run = measure(reference, found, KINDS[kind])
      if kind == 'keypoint':
        _set_spread(run, truth)
      run.evaluate()
      run.accumulate()
      run.summarize()
      values = [float(v) if v > -1 else float('nan') for v in run.stats]
      scores |= {f'{kind}_{name}': v for name, v in zip(_names(kind), values, strict=True)}
      by_class[kind] = _per_class(run)
  return scores, by_class


def _copied(truth: Mapping[str, Any]) -> dict[str, Any]:
  """The truth as pycocotools may write into it."""
  return {
    'images': list(truth['images']),
    'categories': list(truth['categories']),
    'annotations': [dict(entry) for entry in truth['annotations']],
  }


def _nothing(empty: Any, truth: Mapping[str, Any]) -> Any:
  empty.dataset = {**_copied(truth), 'annotations': []}
  empty.createIndex()
  return empty


def _set_spread(run: Any, truth: Mapping[str, Any]) -> None:
  """COCO's spreads are of its own 17 points; others have one for all."""
  number = max(
    (len(entry['keypoints']) // 3 for entry in truth['annotations'] if 'keypoints' in entry), default=17
  )
  if number != len(run.params.kpt_oks_sigmas):
    run.params.kpt_oks_sigmas = np.full(number, _SPREAD)


def _per_class(run: Any) -> dict[int, float]:
  """Average precision of each category id, all areas, most detections."""
  precision = run.eval['precision'][:, :, :, 0, -1]  # [thresholds recalls categories]
  found = {}
  for place, category in enumerate(run.params.catIds):
    known = precision[:, :, place][precision[:, :, place] > -1]
    found[int(category)] = float(known.mean()) if known.size else float('nan')
  return found
