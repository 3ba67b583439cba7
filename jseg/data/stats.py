"""The figures of a split: frequencies of its classes, loss weights that follow, its images' mean and spread.

`summarise` gives them as what JSON can hold; a file of it serves a config as
`--config.task.class_weights=FILE.json#enet`.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jseg.data import counts, labels, progress, spec


def summarise(
  dataset: spec.DatasetSpec, split: str, source: spec.Source, sizes: Mapping[str, int]
) -> dict[str, Any]:
  """All figures of a split; reads every image once.

  Args:
    dataset: its specification; its own figures are not looked at.
    split: what it is called.
    source: its examples.
    sizes: images of every split there is, to be passed on.

  Returns:
    'dataset', 'protocol', 'split', 'images', 'split_sizes'; by train id 'classes' (names), 'pixels', 'share'
    (of all pixels, void included), 'class_images' (those where the class occurs), 'class_image_pixels' (of
    these images, void included); 'void': pixels, share and images; 'weights': {rule: by train id} of every
    rule of spec.RULES, void left out, or null where a class has no pixel; 'mean' and 'std' of all pixels of
    the images, RGB in 0..255, and 'mean_unit', 'std_unit', the same in 0..1.

  Raises:
    ValueError: an example cannot be read.
  """
  table = counts.of(source, dataset.num_classes)
  figures = counts.figures(table)
  counted = dataclasses.replace(dataset, **figures)
  total, present = int(table.sum()), (table > 0).sum(axis=0)
  mean, std = moments(source)
  complete = 0 not in counted.class_pixels
  return {
    'dataset': dataset.name,
    'protocol': dataset.protocol,
    'split': split,
    'images': len(source),
    'split_sizes': dict(sizes),
    'classes': list(dataset.classes),
    'pixels': list(counted.class_pixels),
    'share': [n / total for n in counted.class_pixels],
    'class_images': [int(n) for n in present[:-1]],
    'class_image_pixels': list(counted.class_image_pixels),
    'void': {
      'pixels': counted.void_pixels,
      'share': counted.void_pixels / total,
      'images': int(present[-1]),
    },
    'weights': {rule: list(counted.class_weights(rule)) if complete else None for rule in spec.RULES},
    'mean': mean,
    'std': std,
    'mean_unit': [x / 255 for x in mean],
    'std_unit': [x / 255 for x in std],
  }


def moments(source: spec.Source) -> tuple[list[float], list[float]]:
  """Mean and standard deviation of each channel over all pixels of all images, R, G, B in 0..255.

  Summed as integers: exact whatever the order and the number of images.

  Raises:
    ValueError: an example cannot be read.
  """
  bins = np.zeros((3, 256), np.int64)
  for i in progress.over(range(len(source)), 'mean of the images: read'):
    image = source[i]['image']
    for channel in range(3):
      bins[channel] += np.bincount(image[..., channel].ravel(), minlength=256)
  mean, std = [], []
  for row in bins:
    number, first, second = (sum(int(n) * value**power for value, n in enumerate(row)) for power in range(3))
    mean.append(first / number)
    std.append(math.sqrt((number * second - first**2) / number**2))
  return mean, std


def text(summary: Mapping[str, Any]) -> str:
  """A summary as a table to print."""
  sizes = ', '.join(f'{name} {size}' for name, size in summary['split_sizes'].items())
  rules = list(summary['weights'])
  heads = ['class', 'pixels', 'share', 'images', *rules]
  rows = []
  for i, name in enumerate(summary['classes']):
    given = [summary['weights'][rule] for rule in rules]
    weights = ['-' if values is None else f'{values[i]:.4f}' for values in given]
    rows.append([name, *_amounts(summary['pixels'][i], summary['share'][i], summary['class_images'][i])])
    rows[-1] += weights
  void = summary['void']
  rows.append(['void', *_amounts(void['pixels'], void['share'], void['images']), *[''] * len(rules)])
  widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
  lines = [
    f'{summary["dataset"]} {summary["split"]}: {summary["images"]} images, protocol {summary["protocol"]}',
    f'splits: {sizes}',
  ]
  for name, *cells in [heads, *rows]:
    padded = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
    lines.append('  '.join([name.ljust(widths[0]), *padded]).rstrip())
  for scale, ending in (('0..255', ''), ('0..1', '_unit')):
    digits = 4 if ending else 2
    mean, std = (' '.join(f'{x:.{digits}f}' for x in summary[f'{name}{ending}']) for name in ('mean', 'std'))
    lines.append(f'images, red green blue in {scale}: mean {mean}, standard deviation {std}')
  missing = [n for n, pixels in zip(summary['classes'], summary['pixels'], strict=True) if not pixels]
  if missing:
    lines.append(f'no weights: {", ".join(missing)} {"has" if len(missing) == 1 else "have"} no pixel')
  return '\n'.join(lines)


def _amounts(pixels: int, share: float, images: int) -> list[str]:
  return [f'{pixels:,}', f'{100 * share:.2f}%', str(images)]


def weighed(dataset: spec.DatasetSpec, rule: str, open_source: Callable[[], spec.Source]) -> spec.DatasetSpec:
  """The specification once its `class_weights` can follow the rule, as far as figures can be had.

  A rule FILE.json#NAME is read from a file that `summarise` made. For one of spec.RULES, a dataset that does
  not state its pixel counts gets those of the training source, which is not opened otherwise.

  Args:
    dataset: the specification.
    rule: as the config names it.
    open_source: gives the source that is trained on.

  Raises:
    ValueError: no such file, it is of another protocol, or has no such weights.
  """
  if '#' in rule:
    return dataclasses.replace(dataset, weights={**dataset.weights, rule: _from_file(dataset, rule)})
  if rule in spec.RULES and not dataset.class_pixels:
    return dataclasses.replace(dataset, **counts.figures(counts.of(open_source(), dataset.num_classes)))
  return dataset


def _from_file(dataset: spec.DatasetSpec, rule: str) -> tuple[float, ...]:
  path, name = rule.rsplit('#', 1)
  try:
    content = json.loads(pathlib.Path(path).expanduser().read_text())
    protocol, there = content['protocol'], content['weights']
    known = [key for key, values in there.items() if values]
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(
      f'class weights {rule}: {path} is no file of --verb=stats ({labels.first_line(error)}); '
      f'type: python -m jseg.dataset --verb=stats --name={dataset.builder_name} --output={path}'
    ) from error
  if protocol != dataset.protocol:
    raise ValueError(f'class weights {rule}: {path} is of {protocol}, the data are {dataset.protocol}')
  if name not in known:
    raise ValueError(f"class weights {rule}: {path} has no '{name}'; there are: {', '.join(known) or 'none'}")
  weights = there[name]
  if len(weights) != dataset.num_classes or not all(
    isinstance(w, (int, float)) and 0 <= w < math.inf for w in weights
  ):
    raise ValueError(
      f"class weights {rule}: '{name}' is not a list of {dataset.num_classes} numbers from 0 on"
    )
  return tuple(float(w) for w in weights)
