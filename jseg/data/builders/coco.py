"""MS COCO's 80 kinds of things and background, images of every size; with its instances and their keypoints.

Lin et al. 2014, "Microsoft COCO: common objects in context" (arXiv:1405.0312). Splits:

  train, val            118,287 / 5,000: those of 2017.
  train2014, val2014    82,783 / 40,504: the same images, divided in another way. What papers call
                        trainval35k and minival is `train` and `val` but for their names.
  trainvoc              the images of `train` with more than 1,000 pixels of VOC's classes, on which
                        torchvision trains its semantic networks.

The source is the folder with annotations/ (of annotations_trainval2017.zip or 2014.zip) and one or more of
train2017/, val2017/, train2014/ and val2014/; splits whose images are not there are left out.

Labels are drawn from the instances as jseg.data.coco_instances.labels says: class k of 1..80, 0 where nothing
is, the smaller instance on top, crowds void. Images without instances are kept; they are background. There
are no labels of walls, streets or skies: these are background too.
"""

import functools
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from jseg.data import annotations, coco_instances, labels, layout, prepare, spec, verify
from jseg.data.builders import voc

SPLITS = ('train', 'val', 'train2014', 'val2014', 'trainvoc')

# Category id in the owners' files -> name; eleven numbers of 1..91 are not used.
# fmt: off
CATEGORIES = {
  1: 'person', 2: 'bicycle', 3: 'car', 4: 'motorcycle', 5: 'airplane', 6: 'bus', 7: 'train', 8: 'truck',
  9: 'boat', 10: 'traffic light', 11: 'fire hydrant', 13: 'stop sign', 14: 'parking meter', 15: 'bench',
  16: 'bird', 17: 'cat', 18: 'dog', 19: 'horse', 20: 'sheep', 21: 'cow', 22: 'elephant', 23: 'bear',
  24: 'zebra', 25: 'giraffe', 27: 'backpack', 28: 'umbrella', 31: 'handbag', 32: 'tie', 33: 'suitcase',
  34: 'frisbee', 35: 'skis', 36: 'snowboard', 37: 'sports ball', 38: 'kite', 39: 'baseball bat',
  40: 'baseball glove', 41: 'skateboard', 42: 'surfboard', 43: 'tennis racket', 44: 'bottle',
  46: 'wine glass', 47: 'cup', 48: 'fork', 49: 'knife', 50: 'spoon', 51: 'bowl', 52: 'banana', 53: 'apple',
  54: 'sandwich', 55: 'orange', 56: 'broccoli', 57: 'carrot', 58: 'hot dog', 59: 'pizza', 60: 'donut',
  61: 'cake', 62: 'chair', 63: 'couch', 64: 'potted plant', 65: 'bed', 67: 'dining table', 70: 'toilet',
  72: 'tv', 73: 'laptop', 74: 'mouse', 75: 'remote', 76: 'keyboard', 77: 'cell phone', 78: 'microwave',
  79: 'oven', 80: 'toaster', 81: 'sink', 82: 'refrigerator', 84: 'book', 85: 'clock', 86: 'vase',
  87: 'scissors', 88: 'teddy bear', 89: 'hair drier', 90: 'toothbrush',
}
# Categories that are VOC's classes, in VOC's order; source: torchvision's references/segmentation.
VOC = (5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72)
# fmt: on
PERSON = {1: CATEGORIES[1]}  # what the files of keypoints are about
VOC_PIXELS = (
  1000  # of VOC's classes, more of which an image of `trainvoc` has; source: torchvision, there too
)
TRAIN_IDS = {category: i for i, category in enumerate(CATEGORIES, 1)}
TO_VOC = {TRAIN_IDS[category]: i for i, category in enumerate(VOC, 1)}

_SIZES = {'train': 118_287, 'val': 5000, 'train2014': 82_783, 'val2014': 40_504}
_OWNERS = (
  'train2017.zip, val2017.zip and annotations_trainval2017.zip (or those of 2014) from '
  'cocodataset.org/#download, unpacked in one folder (annotations CC-BY 4.0; images under Flickr terms)'
)

SPEC = spec.DatasetSpec(
  name='coco',
  protocol='coco81',
  classes=('background', *CATEGORIES.values()),
  # The owners give no colours: VOC's, but for number 63, a light grey that is hard to tell from void.
  palette=labels.bit_palette(63) + labels.bit_palette(18, first=64),
  raw_void=(255,),
  split_sizes=_SIZES,
  owners=_OWNERS,
  folder='coco',
  owner_ids=(0, *CATEGORIES),
)

SPEC_PERSON = spec.DatasetSpec(
  name='coco',
  protocol='cocoperson2',
  classes=('background', 'person'),
  palette=SPEC.palette[:2],
  raw_void=(255,),
  split_sizes=_SIZES,
  owners=_OWNERS,
  folder='coco',
)

SPEC_VOC = spec.DatasetSpec(
  name='coco',
  protocol='cocovoc21',
  classes=voc.SPEC.classes,
  palette=voc.SPEC.palette,
  raw_void=(255,),
  split_sizes=_SIZES,
  owners=_OWNERS,
  folder='coco',
)


def spec_of(classes: int = 81) -> spec.DatasetSpec:
  """The specification of one of the three protocols.

  Raises:
    ValueError: there is no such protocol.
  """
  return spec.by_classes(SPEC, SPEC_VOC, SPEC_PERSON, classes=classes)


def open_split(
  split: str, *, source: str = '', directory: str = '', classes: int = 81, instances: bool = False
) -> spec.Source:
  """A split of COCO, prepared first if need be; one copy serves all protocols.

  Args:
    split: 'train', 'val', 'train2014', 'val2014' or 'trainvoc', see above.
    source: the folder with annotations/ and the images' folders; empty: use the copy that is prepared.
    directory: where the copy lives; empty: $JSEG_DATA, else ~/.cache/jseg.
    classes: 81, or 21: those of VOC, drawn as torchvision draws them (jseg.data.coco_instances.labels_apart),
      or 2: persons and all else, for their keypoints.
    instances: examples also hold boxes, classes, crowd, areas, masks, keypoints, annotation_ids and image_id,
      as jseg.data.coco_instances.example gives them: every annotation, none corrected.

  Raises:
    ValueError: unknown split or number of classes, instances with 21 classes, nothing prepared, the split is
      not in the source, or a fault in it, naming the file; it has to be prepared and pycocotools is absent.
  """
  chosen = spec_of(classes)
  if chosen is SPEC_VOC and instances:
    raise ValueError('coco: instances are of 80 kinds; they do not come with the 21 classes of VOC')
  reader = coco_instances.as_text if chosen is SPEC_VOC else coco_instances.example if instances else None
  examples = prepare.open_split(
    SPEC, split, splits=SPLITS, scan=scan, source=source, directory=directory, objects=reader
  )
  if chosen is SPEC_PERSON:
    return coco_instances.Persons(examples)
  return examples if chosen is SPEC else coco_instances.Apart(examples, TO_VOC)


def scan(source: str) -> verify.Scan:
  """What the folder holds: images with their annotations, by image id.

  Raises:
    ValueError: this is not the folder at all, a file of annotations cannot be read, or pycocotools is absent.
  """
  root = layout.folder(SPEC, source, ['annotations'])
  coco_instances.need_pycocotools('coco')
  names = {split: split if split[-1].isdigit() else f'{split}2017' for split in _SIZES}
  there = {split: name for split, name in names.items() if (root / name).is_dir()}
  if not there:
    raise ValueError(f'{root}: not the coco folder, {", ".join(names.values())} not found')
  pairs: dict[str, Sequence[verify.Pair]] = {}
  problems, splits, others = [], {}, []
  for split, name in there.items():
    things = annotations.read(root / 'annotations' / f'instances_{name}.json', CATEGORIES)
    persons = annotations.read(root / 'annotations' / f'person_keypoints_{name}.json', PERSON)
    found, faults = _pairs(root / name, things, persons)
    parts = _parts(split, things, found)
    pairs |= parts
    splits |= {split: '+'.join(parts), **{part: part for part in parts if part in SPLITS}}
    problems += faults
    others.append(persons.path)
  return layout.scanned(pairs, problems, splits, root)._replace(others=others)


def _pairs(
  folder: pathlib.Path, things: annotations.File, persons: annotations.File
) -> tuple[dict[int, verify.Pair], list[str]]:
  """The pair of each image id, in their order, and what is wrong with files and lists."""
  strange = sorted(persons.entries.keys() - things.entries.keys())
  problems = [*things.problems, *persons.problems]
  problems += [f'{persons.path}: annotation {number} is not in {things.path.name}' for number in strange]
  pairs = {}
  for number, photo in sorted(things.photos.items()):
    image = folder / photo.file_name
    if not image.is_file():
      problems.append(f'{things.path}: image {number}: {image} is missing')
      continue
    draw = functools.partial(_draw, things, persons, number)
    pairs[number] = verify.Pair(image.stem, image, things.path, draw=draw)
  return pairs, problems


def _parts(
  split: str, things: annotations.File, found: Mapping[int, verify.Pair]
) -> dict[str, list[verify.Pair]]:
  """The parts a split is kept in: training images that show VOC's classes are one of their own."""
  if split != 'train':
    return {split: list(found.values())}
  parts: dict[str, list[verify.Pair]] = {'trainvoc': [], 'trainrest': []}
  for number, pair in found.items():
    entries = [things.entries[i] for i in things.of_photo[number]]
    pixels = sum(entry.area for entry in entries if entry.category in VOC)
    parts['trainvoc' if pixels > VOC_PIXELS else 'trainrest'].append(pair)
  return {part: pairs for part, pairs in parts.items() if pairs} or {'trainrest': []}


def _draw(
  things: annotations.File, persons: annotations.File, number: int, height: int, width: int
) -> tuple[np.ndarray, str]:
  """The labels of an image of that size, and its instances as the copy keeps them."""
  photo = things.photos[number]
  if (height, width) != photo[1:]:
    raise ValueError(
      f'{things.path}: image {number} is said to be {photo.height}x{photo.width}, {photo.file_name} is '
      f'{height}x{width} (height x width)'
    )
  kept = []
  for i in things.of_photo[number]:
    path = persons.path
    try:
      points = coco_instances.keypoints(persons.annotation(i)) if i in persons.entries else []
      path = things.path
      kept.append(coco_instances.record(things.annotation(i), points, TRAIN_IDS, height, width))
    except ValueError as error:
      raise ValueError(f'{path}: {error}') from error
  text = {'image_id': number, 'height': height, 'width': width, 'instances': kept}
  return coco_instances.labels(kept, height, width), json.dumps(text)
