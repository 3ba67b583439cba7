"""Detections at their own size, in COCO's format, measured by COCO's own code, and drawn."""

import json
import os
import pathlib
import warnings

import numpy as np
import pytest

from jseg.data import coco_instances, detections, drawing
from jseg.data.builders import coco, shapes
from jseg.tasks import detection_metrics

SOURCES = pathlib.Path(
  os.environ.get('JSEG_DATA_SOURCES') or pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'
)
KINDS = ('box', 'mask', 'keypoint')
old_arrays = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')


def truth_of(source, ids, classes):
  """(the split in COCO's format, what it holds as results: crowds are no objects that could be found)."""
  images, entries, results = [], [], []
  for i in range(len(source)):
    example = source[i]
    number = example['image_id'] if 'image_id' in example else i + 1
    height, width = example['labels'].shape
    images.append({'id': number, 'height': height, 'width': width})
    entries += detections.annotations(example, number, len(entries) + 1, ids)
    found = detections.truth(example)
    results += detections.results(taken(found, ~found.crowd), number, ids)
  categories = [{'id': ids[k], 'name': classes[k]} for k in range(1, len(classes))]
  return {'images': images, 'annotations': entries, 'categories': categories}, results


def taken(found, chosen):
  return detections.Found(*(None if values is None else values[chosen] for values in found))


@pytest.mark.skipif(
  not (SOURCES / 'coco').is_dir(), reason=f'needs coco in {SOURCES} (set JSEG_DATA_SOURCES)'
)
@pytest.mark.parametrize('split', ['train', 'val'])
def test_the_truth_of_coco_scores_one(split, tmp_path):
  source = coco.open_split(split, source=str(SOURCES / 'coco'), directory=str(tmp_path), instances=True)
  truth, results = truth_of(source, coco.SPEC.written_ids(), coco.SPEC.classes)
  assert any(entry['iscrowd'] for entry in truth['annotations'])
  assert {entry['category_id'] for entry in results} <= coco.CATEGORIES.keys()
  scores, by_class = detection_metrics.average_precision(truth, json.loads(json.dumps(results)), KINDS)
  for kind in KINDS:
    assert scores[f'{kind}_ap'] == scores[f'{kind}_ap50'] == scores[f'{kind}_ap75'] == 1.0
    known = np.array([value for value in by_class[kind].values() if not np.isnan(value)])
    assert len(known) and abs(known - 1).max() < 1e-12
  assert detection_metrics.names(KINDS) == list(scores)

  # The same as the owners' own reading of their own files, to the last bit.
  half = [entry for entry in results if entry['image_id'] % 2 or entry['category_id'] > 2]
  for i, entry in enumerate(half):
    entry['score'] = 0.1 + (i * 37 % 89) / 100
    entry['bbox'] = [v + i % 5 for v in entry['bbox']]
  ours, _ = detection_metrics.average_precision(truth, half, ('box',))
  assert ours['box_ap'] == pytest.approx(owners(SOURCES / 'coco', split, half), abs=1e-9)
  assert 0.1 < ours['box_ap'] < 0.95


def owners(folder, split, results):
  from pycocotools import coco as reader
  from pycocotools import cocoeval

  with warnings.catch_warnings():
    warnings.simplefilter('ignore', DeprecationWarning)
    return _owners(reader, cocoeval, folder, split, results)


def _owners(reader, cocoeval, folder, split, results):
  reference = reader.COCO(str(folder / 'annotations' / f'instances_{split}2017.json'))
  kept = [{k: entry[k] for k in ('image_id', 'category_id', 'bbox', 'score')} for entry in results]
  run = cocoeval.COCOeval(reference, reference.loadRes(kept), 'bbox')
  run.evaluate()
  run.accumulate()
  run.summarize()
  return run.stats[0]


def test_shapes_score_one_and_mistakes_less():
  source = shapes.open_split('val', size=64, val=12)
  truth, results = truth_of(source, range(7), shapes.SPEC.classes)
  scores, _ = detection_metrics.average_precision(truth, results, KINDS)
  assert scores['box_ap'] == scores['mask_ap'] == scores['keypoint_ap'] == 1.0
  for entry in results:
    entry['category_id'] = entry['category_id'] % 6 + 1
  scores, by_class = detection_metrics.average_precision(truth, results, KINDS)
  assert scores['mask_ap'] == 0.0 and set(by_class) == set(KINDS)
  nothing, _ = detection_metrics.average_precision(truth, [], KINDS)
  assert nothing['box_ap'] == nothing['keypoint_ap'] == 0.0


@old_arrays
@pytest.mark.parametrize('shape', [(1, 1), (7, 5), (64, 33), (120, 160)])
def test_run_lengths_are_pycocotools(shape):
  from pycocotools import mask as reference

  rng = np.random.default_rng(shape)
  for share in (0.0, 0.02, 0.5, 1.0):
    drawn = (rng.random(shape) < share).astype(np.uint8)
    if shape[0] > 20:  # runs longer than 16 and 512, which take more characters
      drawn[10:40] = share > 0.1
    text = coco_instances.encoded(drawn)
    assert text == reference.encode(np.asfortranarray(drawn))['counts'].decode()
    np.testing.assert_array_equal(coco_instances.masks([{'counts': text}], *shape)[0], drawn)


def pasted(size, box, cells=28):
  """A disc as a network of 28x28 cells would see it in its box, pasted; and the disc itself."""
  y, x = np.mgrid[: size[0], : size[1]] + 0.5
  centre, half = (np.array(box[:2]) + box[2:]) / 2, (np.array(box[2:]) - box[:2]) / 2
  disc = ((x - centre[0]) / half[0]) ** 2 + ((y - centre[1]) / half[1]) ** 2 <= 1
  grid = (np.arange(cells) + 0.5) / cells * 2 - 1
  small = (grid[None] ** 2 + grid[:, None] ** 2 <= 1).astype(np.float32)
  return detections.paste(small[None], np.array([box], np.float32), size)[0], disc


@pytest.mark.parametrize(
  'box', [(10, 20, 70, 80), (3.3, 5.7, 90.2, 40.1), (-20, -10, 50, 60), (60, 60, 130, 120)]
)
def test_masks_are_pasted_where_they_belong(box):
  mask, disc = pasted((100, 110), box)
  union, common = (mask | disc).sum(), (mask & disc).sum()
  assert common / union > 0.93
  assert mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 1}


@pytest.mark.parametrize('box', [(5, 5, 5, 5), (9, 9, 3, 3), (200, 200, 210, 210), (0, 0, 1e-3, 1e-3)])
def test_degenerate_boxes_are_pasted_without_harm(box):
  mask = detections.paste(np.ones((1, 28, 28), np.float32), np.array([box], np.float32), (30, 40))
  assert int(mask.sum()) <= 16


def test_detections_come_back_to_the_size_of_the_photo():
  detected = {
    'boxes': np.array([[10, 20, 30, 60], [0, 0, 8, 8], [20, 20, 99, 99]], np.float32),
    'scores': np.array([0.6, 0.9, 0.8], np.float32),
    'classes': np.array([2, 1, 3], np.int32),
    'valid': np.array([True, False, True]),
    'masks': np.ones((3, 28, 28), np.float32),
    'keypoints': np.array([[[10, 20, 3.0], [30, 60, -1.0]]] * 3, np.float32),
  }
  found = detections.at_source(detected, (80, 60), (40, 30))
  assert found.classes.tolist() == [3, 2]  # the surest first, padding gone
  assert found.boxes.tolist() == [[10, 10, 30, 40], [5, 10, 15, 30]]  # cut to the photo
  assert found.keypoints[1].tolist() == [[5, 10, 2], [15, 30, 1]]
  assert found.masks.shape == (2, 40, 30) and int(found.masks[1].sum()) == pytest.approx(200, rel=0.2)
  entries = detections.results(found, 7, (0, 1, 2, 44))
  assert [entry['category_id'] for entry in entries] == [44, 2]
  assert entries[1]['bbox'] == [5, 10, 10, 20] and entries[1]['image_id'] == 7
  assert entries[1]['segmentation']['size'] == [40, 30]
  json.dumps(entries)


def test_pictures_show_boxes_masks_points_and_names():
  image = np.full((60, 80, 3), 90, np.uint8)
  mask = np.zeros((1, 60, 80), np.uint8)
  mask[0, 20:40, 30:60] = 1
  points = np.array([[[35, 25, 2], [45, 22, 2], [55, 30, 1], [0, 0, 0], [40, 35, 2]]], np.float32)
  box = np.array([[30, 20, 60, 40]], np.float32)
  given = np.float32([0.87]), np.array([1]), mask, points, np.zeros(1, bool)
  shown = drawing.instances(image, detections.Found(box, *given), ('background', 'disc'))
  assert shown.shape == image.shape and (image == 90).all()
  changed = (shown != 90).any(axis=2)
  assert changed[20:40, 30:60].all() and not changed[45:].any()
  assert changed[4:20, 30:60].mean() > 0.5  # the label stands on top
  hidden = drawing.instances(image, detections.Found(box, *given), ('background', 'disc'), least=0.9)
  np.testing.assert_array_equal(hidden, image)
  # A detection may be as sure as the truth: its score is written all the same, the truth's never.
  sure = detections.Found(box, np.ones(1, np.float32), *given[1:])
  written, plain = (
    drawing.instances(image, sure, ('background', 'disc'), points=False, truth=truth)
    for truth in (False, True)
  )
  assert (written != 90).any(axis=2)[4:20].sum() > (plain != 90).any(axis=2)[4:20].sum()
  empty = detections.Found(*(values[:0] for values in (box, *given)))
  np.testing.assert_array_equal(drawing.instances(image, empty, ('background', 'disc')), image)


def test_small_pictures_are_enlarged():
  source = shapes.open_split('val', size=40, val=1)
  found = detections.truth(source[0])
  image, larger = drawing.enlarged(source[0]['image'], found, side=100)
  assert image.shape == (80, 80, 3) and larger.masks.shape[1:] == (80, 80)
  np.testing.assert_array_equal(larger.masks[:, ::2, 1::2], found.masks)
  np.testing.assert_array_equal(larger.boxes, 2 * found.boxes)
  np.testing.assert_array_equal(larger.keypoints[..., 2], found.keypoints[..., 2])
  assert drawing.enlarged(np.zeros((90, 400, 3), np.uint8), found)[0].shape == (90, 400, 3)


def test_skeletons_join_points_that_exist():
  for number, lines in drawing.SKELETONS.items():
    assert {i for line in lines for i in line} <= set(range(number))
  assert len(drawing.SKELETONS[17]) == 19  # the owners list so many
