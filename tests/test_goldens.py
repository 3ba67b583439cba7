"""Our networks and operators against recorded numbers of others' implementations.

The fixtures in tests/goldens (or in the folder that JSEG_GOLDENS names) hold sampled outputs of public
reference implementations; each .json names repository, commit, class and arguments in its `source`. Weights
and inputs are rebuilt from names by golden_rule.py. A file is checked by the row under its stem, in
golden_networks.py, golden_operators.py or golden_detection.py; sizes, batch, classes and channels are read
from the file.
JSEG_GOLDEN_REPORT=FILE appends a line of JSON for every network: its stem, how many maps were compared, and
the largest error of all their samples, in standard deviations of the map.
"""

import functools
import json
import math
import os
import pathlib
from collections.abc import Callable
from typing import Any

import golden_mask_rcnn
import golden_rule
import golden_training
import jax
import numpy as np
import pytest
from golden_detection import STAGES
from golden_networks import LEFT_OUT, NETWORKS
from golden_operators import OPERATORS, Case

FOLDER = pathlib.Path(os.environ.get('JSEG_GOLDENS') or pathlib.Path(__file__).parent / 'goldens')
NO_ROW = 'no row yet: belongs to a later issue'


def _is_slow(path: pathlib.Path) -> bool:
  """Whether parameters times pixels say seconds rather than moments."""
  if path.suffix != '.json' or path.stem not in NETWORKS:
    return False
  golden = golden_rule.load(path)
  return golden['trainable_params'] * sum(np.prod(e['shape'][2:]) for e in golden['input'].values()) > 1.5e12


def files(pattern: str) -> list[Any]:
  """The fixtures as test parameters."""
  return [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if _is_slow(path) else [])
    for path in sorted(FOLDER.glob(pattern))
  ]


def test_the_folder_has_fixtures():
  assert files('*.json') and files('ops/*.npz'), f'{FOLDER} holds no fixtures'


@pytest.mark.parametrize('path', files('*.json'))
def test_network(path: pathlib.Path):
  if path.stem in golden_mask_rcnn.CHECKS:
    results = golden_mask_rcnn.CHECKS[path.stem](path)
    _report(path.stem, results)
    assert all(result['ok'] for result in results), [result for result in results if not result['ok']]
    return
  if path.stem not in NETWORKS:
    pytest.skip(f'{path.stem}: {LEFT_OUT.get(path.stem, NO_ROW)}')
  row, golden = NETWORKS[path.stem], golden_rule.load(path)
  arrays = golden_rule.state_dict(golden)
  model, variables = row.build(arrays), row.convert(arrays)
  inputs = golden_rule.inputs(golden)
  assert sum(a.size for a in jax.tree.leaves(variables['params'])) == golden['trainable_params']
  (logits, out), state = jax.jit(functools.partial(row.call, model))(
    variables, {name: np.moveaxis(x, 1, -1) for name, x in inputs.items()}
  )
  layout = 'NHWC' if logits.ndim == 4 else 'NDHWC'
  maps = {}
  scores = [logits.shape[i] for i in (0, logits.ndim - 1, *range(1, logits.ndim - 1))]
  for name, recorded in golden['output'].items():
    if recorded['shape'] == scores:  # the others are maps on the way, like the taps
      maps[name] = row.out(name, logits)
  last = set(maps)
  for name in [*golden['output'], *golden.get('taps', {})]:
    if name in maps:
      continue
    place = row.tap(name)
    if isinstance(place, str):
      maps[name] = out[place]
    elif place is not None:
      node = state['intermediates']
      for key in place:
        node = node[key]
      maps[name] = node['__call__'][0]
  # A golden without taps has maps on the way among its outputs.
  others = len(golden['output']) if golden.get('taps') else len(last)
  assert len(maps) > others, 'no tap was compared'
  results = [
    golden_rule.compare(golden, value, output=name, layout=layout, outliers=row.outliers)
    for name, value in maps.items()
  ]
  _report(path.stem, results)
  assert all(result['ok'] for result in results), [result for result in results if not result['ok']]


def _report(stem: str, results: list[dict[str, Any]]) -> None:
  if 'JSEG_GOLDEN_REPORT' in os.environ:
    line = {
      'golden': stem,
      'maps': len(results),
      'max_error': max(result.get('max_abs_over_std', math.inf) for result in results),
    }
    with open(os.environ['JSEG_GOLDEN_REPORT'], 'a') as file:
      file.write(json.dumps(line) + '\n')


@pytest.mark.parametrize('path', files('train/*.json'))
@pytest.mark.slow
def test_training_step(path: pathlib.Path):
  if path.stem not in NETWORKS:
    pytest.skip(f'train/{path.stem}: {NO_ROW}')
  row = NETWORKS[path.stem]
  golden_training.check_step(golden_rule.load(path), row)


def cases(pattern: str) -> list[Any]:
  """All cases of the operators' files, or of those of other stages without weights."""
  found = []
  for path in sorted(FOLDER.glob(pattern)):
    with np.load(path) as file:
      names = json.loads(str(file['meta']))['cases']
    found += [pytest.param(path, name, id=f'{path.stem}-{name}') for name in names]
  return found


@pytest.mark.parametrize(('path', 'name'), cases('ops/*.npz'))
def test_operator(path: pathlib.Path, name: str):
  _check_case(path, name, OPERATORS)


@pytest.mark.parametrize(('path', 'name'), cases('maskrcnn/*.npz'))
def test_detection_stage(path: pathlib.Path, name: str):
  _check_case(path, name, {**STAGES, **golden_mask_rcnn.STAGES})


def _check_case(path: pathlib.Path, name: str, rows: dict[str, Callable[[Case], None]]) -> None:
  if path.stem not in rows:
    pytest.skip(f'{path.parent.name}/{path.stem}: {NO_ROW}')
  with np.load(path) as file:
    options = json.loads(str(file['meta']))['cases'][name]
    prefix = f'{name}/' if name else ''  # the only case of a file may have no name
    arrays = {key.removeprefix(prefix): file[key] for key in file.files if key.startswith(prefix)}
  rows[path.stem](Case(name, options, arrays, path))
