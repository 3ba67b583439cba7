"""What jseg.summary prints: the figures of a config's network, as text, and of many as a table."""

import glob
import json
import pathlib
import runpy
from collections.abc import Mapping, Sequence
from typing import Any

from jseg.engine import layers, resolve
from jseg.typing import Config

_CHANNELS = 3
_CAMVID = (360, 480)


def summarise(config: Config, *, size: tuple[int, ...] = (), batch_size: int = 1) -> dict[str, Any]:
  """The figures of a config's network: what `layers.summarise` gives, and what they are of.

  Args:
    config: of a run.
    size: (height, width) in pixels; (): the config's crop, or else CamVid's 360x480.
    batch_size: images.

  Raises:
    ValueError: an option is out of range, or the config is at fault.
  """
  if batch_size < 1:
    raise ValueError(f'--batch_size is {batch_size}; it must be at least 1')
  classes = len(resolve.spec(config).classes)
  size = size or resolve.as_tuple(config.data.crop) or _CAMVID
  found = layers.summarise(resolve.model(config, classes), (batch_size, *size, _CHANNELS))
  given = {
    'model': config.model.name,
    'options': resolve.options(config.model),
    'classes': classes,
    'size': size,
    'batch_size': batch_size,
  }
  return given | found


def text(report: Mapping[str, Any]) -> str:
  """The report for reading: its layers, the maps it returns, its parts, and the sums."""
  lines = [
    f'{report["model"]}, {report["classes"]} classes, {report["batch_size"]} images of '
    f'{"x".join(map(str, report["size"]))}',
    '',
  ]
  rows = [('layer', 'kind', 'output', 'parameters', 'MFLOP', 'stride', 'field')]
  for layer in report['layers']:
    counts = f'{layer["parameters"]:,}', f'{layer["flops"] / 1e6:,.1f}' if layer['flops'] else ''
    rows.append((layer['path'], layer['kind'], _by(layer['shape']), *counts, *_sight(layer)))
  lines += [*_columns(rows, left=2), '']
  rows = [('map', 'output', 'stride', 'field')]
  rows += [(name, _by(entry['shape']), *_sight(entry)) for name, entry in report['maps'].items()]
  lines += [*_columns(rows, left=1), '']
  rows = [('part', 'trainable', 'statistics', 'GFLOP')]
  for name, part in [*report['parts'].items(), ('all', report)]:
    flops = f'{part["flops"] / 1e9:,.2f}'
    rows.append((name, f'{part["parameters"]:,}', f'{part["statistics"]:,}', flops))
  lines += [*_columns(rows, left=1), '']
  lines.append(
    f'output stride {report["output_stride"]:g}, there the field is {_field(report["coarse_field"])}; '
    f'classes are scored last at stride {report["score_stride"]:g}; '
    f'the field of the logits is {_field(report["field"])}'
  )
  lines.append('FLOPs: 2 for every multiply-add of (transposed) convolutions and dense layers, nothing else')
  return '\n'.join(lines)


def _by(shape: Sequence[int]) -> str:
  """A map's shape without its batch."""
  return 'x'.join(map(str, shape[1:]))


def _sight(entry: Mapping[str, Any]) -> tuple[str, str]:
  return f'{round(entry["stride"], 2):g}', _field(entry['field'])


def _field(rows: int | None) -> str:
  return 'whole image' if rows is None else str(rows)


def _columns(rows: Sequence[Sequence[str]], left: int) -> list[str]:
  """Cells in columns; the first `left` of them start at the left."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return [
    '  '.join(
      f'{cell:<{w}}' if i < left else f'{cell:>{w}}'
      for i, (cell, w) in enumerate(zip(row, widths, strict=True))
    ).rstrip()
    for row in rows
  ]


def markdown(patterns: Sequence[str], *, size: tuple[int, ...] = (), batch_size: int = 1) -> str:
  """The Markdown table of the networks of config files, each network once, at one size.

  Args:
    patterns: paths of config files, or shell patterns of them.
    size: (height, width) in pixels; (): CamVid's 360x480.
    batch_size: images.

  Raises:
    ValueError: no file fits a pattern, or a config is at fault.
  """
  size = size or _CAMVID
  head = ('config', '`model.name`', 'options', 'classes', 'parameters', 'statistics')
  head = (*head, f'GFLOP at {"x".join(map(str, size))}', 'output stride', 'field', 'field of the logits')
  lines, seen = ['| ' + ' | '.join(head) + ' |', '|---' * len(head) + '|'], set()
  for pattern in patterns:
    paths = sorted(glob.glob(pattern))
    if not paths:
      raise ValueError(f'--table names {pattern}, but there is no such file')
    for path in paths:
      contents = runpy.run_path(path)
      if 'get_config' not in contents:
        continue
      report = summarise(contents['get_config'](), size=size, batch_size=batch_size)
      key = json.dumps([report['model'], report['options'], report['classes']], sort_keys=True)
      if key not in seen:
        seen.add(key)
        lines.append(_row(pathlib.Path(path).stem, report))
  return '\n'.join(lines)


def _row(name: str, report: Mapping[str, Any]) -> str:
  options = ', '.join(f'`{key}={value!r}`' for key, value in report['options'].items())
  cells = (name, f'`{report["model"]}`', options, str(report['classes']))
  counts = f'{report["parameters"]:,}', f'{report["statistics"]:,}', f'{report["flops"] / 1e9:,.2f}'
  sight = f'{report["output_stride"]:g}', _field(report['coarse_field']), _field(report['field'])
  return '| ' + ' | '.join((*cells, *counts, *sight)) + ' |'
