"""Published beside measured: what is read, what is compared and what is not, tables, one-line errors."""

import ast
import importlib
import json
import re
import subprocess
import sys

import pytest
from test_configs import NAMES, REPO, load

from configs import base
from jseg.data.builders import camvid
from jseg.engine import result_tables, results

RECIPE = """
from configs import base

PUBLISHED = (
  base.published('test', 'another & set', unlike='other images', mean_iu=90.0),
  base.published('test', 'the paper', within=1.0, mean_iu=50.0, pixel_accuracy=80.5),
  base.published('test', 'the paper', scales='several', mean_iu=55.25),
)


def get_config(arg=''):
  config = base.get_config()
  config.data.name = 'camvid'
  return base.variant(config, arg)
"""


@pytest.fixture
def known(tmp_path):
  folder = tmp_path / 'configs'
  folder.mkdir()
  (folder / 'unet_camvid.py').write_text(RECIPE)
  return results.recipes(str(folder))


def run(place, scores, *, split='test', step=100, images=None, change=(), **protocol):
  """A workdir as a run of the recipe leaves it, but for the keys of `change`."""
  config = base.get_config()
  config.data.name = 'camvid'
  for key, value in change:
    *section, name = key.split('.')
    setattr(getattr(config, section[0]) if section else config, name, value)
  (place / 'results').mkdir(parents=True, exist_ok=True)
  (place / 'config.json').write_text(config.to_json())
  count = camvid.SPEC.split_sizes[split] if images is None else images
  said = {
    'split': split,
    'images': count,
    'scales': [1.0],
    'flip': False,
    'window': [],
    'samples': 0,
  } | protocol
  content = {'step': step, 'scores': scores, 'protocol': said}
  (place / 'results' / f'{split}-{step}.json').write_text(json.dumps(content))
  return place


def lines(places, known):
  rows = results.rows(known, results.runs([str(place) for place in places], known))['camvid']
  return [row for row in rows if row.measured]


def test_beside_the_published_figures(tmp_path, known):
  place = run(tmp_path / 'one', {'mean_iu': 0.504, 'pixel_accuracy': 0.8, 'mean_accuracy': 0.6})
  (place / 'results' / 'test-100-detections.json').write_text('[]')
  run(place, {'mean_iu': 0.1}, step=50)
  (row,) = lines([place], known)
  assert row.recipe == 'unet_camvid' and row.split == 'test'
  assert row.scores == pytest.approx({'mean_iu': 50.4, 'pixel_accuracy': 80.0, 'mean_accuracy': 60.0})
  assert row.differences == pytest.approx({'mean_iu': 0.4, 'pixel_accuracy': -0.5})
  assert row.source == f'measured: step 100, {place}; beside the paper, within 1'


def test_every_score_has_to_be_near(tmp_path, known):
  (row,) = lines([run(tmp_path / 'one', {'mean_iu': 0.504, 'pixel_accuracy': 0.78})], known)
  assert row.source.endswith('; beside the paper, not within 1')


@pytest.mark.parametrize(
  ('change', 'told'),
  [
    ((('train.steps', 7),), 'train.steps 7 (1000)'),
    (
      (('optim.lr', 0.5), ('optim.milestones', (3, 4))),
      'optim.lr 0.5 (0.01), optim.milestones (3, 4) (none)',
    ),
    ((('data.subset', 'strong:4'),), 'data.subset strong:4 (none)'),
  ],
)
def test_another_recipe_is_told_and_never_counts_as_reproduced(tmp_path, known, change, told):
  (row,) = lines([run(tmp_path / 'one', {'mean_iu': 0.5, 'pixel_accuracy': 0.805}, change=change)], known)
  assert row.differences['mean_iu'] == pytest.approx(0)
  assert row.source.endswith(f'; beside the paper; otherwise than the config: {told}')


@pytest.mark.parametrize(
  ('options', 'told'),
  [
    ({'images': 12}, '12 of 233 images'),
    ({'flip': True}, 'eval.flip True (False)'),
    ({'window': [5, 6]}, 'eval.window (5, 6) (none)'),
  ],
)
def test_measured_in_another_way_is_not_compared(tmp_path, known, options, told):
  (row,) = lines([run(tmp_path / 'one', {'mean_iu': 0.5}, **options)], known)
  assert not row.differences and 'beside' not in row.source
  assert row.source.endswith(f'; otherwise than the config: {told}')


def test_another_split_is_not_compared(tmp_path, known):
  (row,) = lines([run(tmp_path / 'one', {'mean_iu': 0.5}, split='val')], known)
  assert row.split == 'val' and not row.differences and 'beside' not in row.source


def test_several_scales_have_their_own_figure(tmp_path, known):
  (row,) = lines([run(tmp_path / 'one', {'mean_iu': 0.5}, scales=[0.5, 1.0])], known)
  assert row.differences == pytest.approx({'mean_iu': -5.25})


def test_seeds_are_one_line(tmp_path, known):
  for seed, score in enumerate((0.48, 0.50, 0.52)):
    change = (('seed', seed), ('init_from', f'weights/w{seed}'))
    run(tmp_path / 'runs' / str(seed), {'mean_iu': score}, step=100 + seed, change=change)
  run(tmp_path / 'runs' / 'other', {'mean_iu': 0.9}, change=(('train.steps', 5),))
  one, other = sorted(lines([tmp_path / 'runs'], known), key=lambda row: row.scores['mean_iu'])
  assert one.scores['mean_iu'] == pytest.approx(50) and one.spread['mean_iu'] == pytest.approx(2)
  assert one.source.startswith('measured: step 100 to 102, 3 runs; beside the paper')
  assert one.source.endswith('; begun from w0, w1, w2')
  assert not other.spread


def test_the_nearest_recipe_takes_the_run(tmp_path, known):
  folder = tmp_path / 'configs'
  (folder / 'wide_camvid.py').write_text(RECIPE.replace("'camvid'\n", "'camvid'\n  config.optim.lr = 0.5\n"))
  found = results.runs(
    [str(run(tmp_path / 'one', {'mean_iu': 0.5}, change=(('optim.lr', 0.5),)))], results.recipes(str(folder))
  )
  assert found[0].recipe.name == 'wide_camvid' and not found[0].departures


def test_an_option_that_an_early_run_does_not_mention_had_its_default(tmp_path, known):
  folder, place = tmp_path / 'configs', run(tmp_path / 'one', {'mean_iu': 0.5})
  assert 'upsample' not in json.loads((place / 'config.json').read_text())['model']
  bilinear = RECIPE.replace(
    "'camvid'\n", "'camvid'\n  config.model = base.section(name='unet', upsample='bilinear')\n"
  )
  (folder / 'another_camvid.py').write_text(bilinear)
  (found,) = results.runs([str(place)], results.recipes(str(folder)))
  assert found.recipe.name == 'unet_camvid' and not found.departures


def test_a_run_of_no_config_has_a_line(tmp_path, known):
  from configs import linknet_camvid

  place = run(tmp_path / 'one', {'mean_iu': 0.5})
  (place / 'config.json').write_text(linknet_camvid.get_config().to_json())
  (row,) = lines([place], known)
  assert row.recipe == 'linknet, of no config' and not row.differences


def test_tables(tmp_path, known):
  place = run(tmp_path / 'one', {'mean_iu': 0.504, 'pixel_accuracy': 0.8})
  tables = results.rows(known, results.runs([str(place)], known))
  text = result_tables.markdown(tables).splitlines()
  assert text[2] == '| config | split | mean IU | pixel accuracy | source |'
  assert text[4] == (
    '| unet_camvid | test | 90.0 |  | published: another & set; not to be compared: other images |'
  )
  assert text[6] == '|  | test | 55.25 |  | published: the paper; several scales |'
  assert text[7].startswith('|  | test | **50.4 (+0.4)** | **80.0 (-0.5)** | measured: step 100, ')
  page = result_tables.page(tables)
  assert 'another &amp; set' in page and '<tr class="measured">' in page


@pytest.mark.parametrize(
  'damage', ['', '[]', '{"scores": {}}', '{"scores": {"mean_iu": "x"}, "protocol": {}}']
)
def test_a_damaged_result_is_named(tmp_path, known, damage):
  place = run(tmp_path / 'one', {'mean_iu': 0.5})
  (place / 'results' / 'test-100.json').write_text(damage)
  with pytest.raises(ValueError, match=r'one/results/test-100.json: no result \(.*\); measure the run again'):
    results.runs([str(place)], known)


def test_a_place_without_results_is_named(tmp_path, known):
  with pytest.raises(ValueError, match='holds no run with results; --mode=evaluate makes them'):
    results.runs([str(tmp_path)], known)


def door(*flags):
  command = [sys.executable, '-m', 'jseg.tables', *flags]
  return subprocess.run(command, capture_output=True, text=True, cwd=REPO)


def test_the_door(tmp_path, known):
  place = run(tmp_path / 'one', {'mean_iu': 0.504})
  done = door(f'--configs={tmp_path / "configs"}', f'--runs={place}', f'--output={tmp_path / "out" / "t"}')
  assert done.returncode == 0, done.stderr
  text = (tmp_path / 'out' / 't.md').read_text()
  assert '**50.4 (+0.4)**' in text and done.stdout.startswith(text)
  assert '50.4 (+0.4)' in (tmp_path / 'out' / 't.html').read_text()
  wrong = door(f'--configs={tmp_path / "configs"}', '--dataset=voc')
  assert wrong.returncode == 2
  assert wrong.stderr.splitlines()[-1] == (
    'jseg.tables: error: --dataset=voc: no figure is known; there are: camvid'
  )


def test_all_configs_and_what_they_publish():
  done = door()
  assert done.returncode == 0, done.stderr
  assert '| refinenet_voc | server | 83.4 |' in done.stdout


@pytest.mark.parametrize('name', NAMES)
def test_published_rows_are_those_of_the_docstring(name):
  module = importlib.import_module(f'configs.{name}')
  said = re.findall(
    r'\d+(?:\.\d+)?', ast.get_docstring(ast.parse((REPO / 'configs' / f'{name}.py').read_text()))
  )
  numbers = {float(word) for word in said}
  splits = {*camvid.SPEC.split_sizes, 'server', 'seg11valid'}
  for row in getattr(module, 'PUBLISHED', ()):
    assert set(row['scores'].values()) <= numbers, row
    assert row['within'] in {0.0, *numbers} and row['split'] in splits, row
    assert load(name).data.name != 'shapes'


def test_every_score_that_a_row_may_give_has_a_column():
  assert tuple(result_tables._COLUMNS) == base.SCORES


def test_a_wrong_row_says_what_there_is():
  with pytest.raises(
    ValueError, match=r"'miou'\] is unknown .* there are: mean_iu, .*keypoint_ap, scales one"
  ):
    base.published('test', 'x', miou=5.0)
  with pytest.raises(ValueError, match='two is unknown'):
    base.published('test', 'x', scales='two', mean_iu=5.0)
