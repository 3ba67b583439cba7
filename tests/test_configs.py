"""Every config loads, is locked, can be overridden, and has no key that nothing reads."""

import ast
import importlib
import inspect
import pathlib

import ml_collections
import pytest
import runs

from configs import base
from jseg.engine import workdirs

REPO = pathlib.Path(__file__).resolve().parent.parent
NAMES = sorted(p.stem for p in (REPO / 'configs').glob('*.py') if p.stem not in ('__init__', 'base'))
# Sections whose keys are the options of a constructor: it, not base.py, says what exists.
OPEN = ('model', 'task', 'data.options')


def load(name, arg=''):
  return importlib.import_module(f'configs.{name}').get_config(arg)


def leaves(config, prefix=''):
  for key, value in config.items():
    path = f'{prefix}{key}'
    if isinstance(value, ml_collections.ConfigDict):
      yield from leaves(value, f'{path}.')
    else:
      yield path, value


def is_open(path):
  return any(path.startswith(f'{section}.') for section in OPEN) and path not in ('model.name', 'task.name')


@pytest.mark.parametrize('arg', ['', 'quick'])
@pytest.mark.parametrize('name', NAMES)
def test_loads_and_is_locked(name, arg):
  config = load(name, arg)
  with pytest.raises(AttributeError):
    config.optim.learning_rate = 0.1
  with pytest.raises(AttributeError):
    config.sead = 1
  with pytest.raises((TypeError, ValueError)):
    config.train.steps = 'many'
  known = {path: value for path, value in leaves(base.get_config()) if not is_open(path)}
  found = {path: value for path, value in leaves(config) if not is_open(path)}
  assert found.keys() == known.keys()
  for path, value in leaves(config):
    assert isinstance(value, (int, float, str, bool, tuple)), f'{path}: {value!r} cannot be overridden'
    if path in known:
      assert type(value) is type(known[path]), f'{path}: {value!r} has another type than in base.py'


@pytest.mark.parametrize('name', NAMES)
def test_memory_can_be_saved_where_the_network_knows_how(name):
  """README says so of every such network; an option that a config does not name cannot be overridden."""
  config = load(name)
  options = inspect.signature(importlib.import_module(f'jseg.models.{config.model.name}').Model).parameters
  assert ('remat' in options) == ('remat' in config.model)


@pytest.mark.parametrize('name', NAMES)
def test_quick_is_quick(name):
  config = load(name, 'quick')
  assert config.data.name == 'shapes' and config.data.source == ''
  assert config.train.steps <= 5
  # Instances are learned of whole images.
  assert max(config.data.crop or config.instances.buckets[0]) <= 64
  assert config.model.name == load(name).model.name


@pytest.mark.parametrize('name', NAMES)
def test_unknown_variant_is_named(name):
  with pytest.raises(ValueError, match="variant 'fast' is unknown; there are: '' .* and 'quick'"):
    load(name, 'fast')


@pytest.mark.parametrize('name', NAMES)
def test_file_is_short_documented_and_imports_only_base(name):
  path = REPO / 'configs' / f'{name}.py'
  tree = ast.parse(path.read_text())
  assert len(path.read_text().splitlines()) <= 60
  assert f'configs/{name}.py' in ast.get_docstring(tree), 'the docstring says what to type'
  for node in ast.walk(tree):
    assert not isinstance(node, ast.Import) or node.names[0].name == 'ml_collections'
    assert not isinstance(node, ast.ImportFrom) or node.module == 'configs'


@pytest.mark.parametrize('arg', ['', 'quick'])
@pytest.mark.parametrize('name', NAMES)
def test_sections_fit_their_constructors(name, arg):
  """What a run would only find out after reading its data: every option exists, every group may match."""
  from jseg.engine import optimizers, resolve

  config = load(name, arg)
  for section, function in (
    (config.model, resolve.module('model', config.model.name).Model),
    (config.task, resolve.module('task', config.task.name).make),
    (config.data.options, resolve.module('data', config.data.name).open_split),
  ):
    unknown = set(section) - {'name'} - set(inspect.signature(function).parameters)
    assert not unknown, f'{function.__module__} has no option {sorted(unknown)}'
  optimizers.schedule(config.optim, config.train.steps)
  if config.data.name == 'folder':  # whose classes are known once its source is
    with pytest.raises(ValueError, match='give --config.data.source=FOLDER'):
      resolve.spec(config)
  else:
    assert resolve.spec(config).num_classes > 1


def assignments(tree):
  for node in ast.walk(tree):
    if isinstance(node, ast.Assign):
      target = node.targets[0]
      pairs = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
      pairs = pairs and not any(isinstance(part, ast.Starred) for part in (*target.elts, *node.value.elts))
      yield from zip(target.elts, node.value.elts, strict=True) if pairs else [(target, node.value)]


def reads():
  """(section, key) for every attribute of a section that jseg reads; the section '' is the config itself."""
  sections = {path.split('.')[0] for path, _ in leaves(base.get_config()) if '.' in path}
  found = set()
  for path in (REPO / 'jseg').rglob('*.py'):
    tree = ast.parse(path.read_text())
    alias = {}  # data = self.config.data
    for target, value in assignments(tree):
      if isinstance(target, ast.Name) and isinstance(value, ast.Attribute) and value.attr in sections:
        alias[target.id] = value.attr
    for node in ast.walk(tree):
      if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load):
        continue
      of = ast.unparse(node.value)
      last = of.split('.')[-1]
      if last.strip('_') == 'config':
        found.add(('', node.attr))
      elif last in sections and 'config' in of.lower():
        found.add((last, node.attr))
      elif of in alias:
        found.add((alias[of], node.attr))
      elif path.name == 'optimizers.py' and of == 'o':
        found.add(('optim', node.attr))
  return found


def test_every_key_is_read():
  found = reads()
  for path, _ in leaves(base.get_config()):
    *section, key = path.split('.')
    if not is_open(path) and section not in (['augment'], ['instances']):  # a constructor takes it whole
      assert (section[0] if section else '', key) in found, f'config.{path} is read by nothing in jseg'
  for section in ('model', 'task', 'augment', 'instances'):
    assert ('', section) in found
  assert ('data', 'options') in found


def test_optim_options_are_the_section():
  from jseg.engine import optimizers

  section = base.get_config().optim
  assert optimizers._options(section) == optimizers.Options()


def test_augment_options_are_the_section():
  from jseg.data import augment
  from jseg.engine import resolve

  section = resolve.options(base.get_config().augment)
  assert augment.Augment(**section) == augment.Augment()
  assert section.keys() | {'crop'} == augment.Augment.__dataclass_fields__.keys()


def test_instances_options_are_the_section():
  from jseg.data import buckets
  from jseg.engine import resolve

  section = resolve.options(base.get_config().instances)
  assert buckets.Layout(**section) == buckets.Layout()
  assert section.keys() == buckets.Layout.__dataclass_fields__.keys()


@pytest.mark.parametrize('name', NAMES)
def test_options_that_a_file_does_not_mention_can_be_overridden(name):
  from jseg.engine import resolve

  config = load(name)
  whole = resolve.complete(config, {})
  assert whole.is_locked and resolve.complete(whole, {}) == whole
  known = dict(leaves(config))
  for path, value in leaves(whole):
    assert known[path] == value if path in known else is_open(path)
    assert isinstance(value, (int, float, str, bool, tuple)), f'{path}: {value!r} cannot be overridden'
  assert whole.model.dtype == 'float32'
  # They are what the constructors take anyway.
  assert resolve.model(whole, 5) == resolve.model(config, 5)


def test_options_are_those_of_what_is_chosen():
  from jseg.engine import resolve

  config = resolve.complete(load('unet_shapes'), {'model': 'linknet', 'task': 'instance', 'data': 'coco'})
  assert config.model.sum_relu is True and 'upsample' not in config.model
  assert config.task.nms_threshold == 0.5 and config.data.options.classes == 81
  with pytest.raises(ValueError, match="model.name 'linkent' is unknown .did you mean linknet"):
    resolve.complete(config, {'model': 'linkent'})


@pytest.mark.slow
def test_options_on_the_command_line(tmp_path):
  done = runs.run(
    tmp_path / 'run', '--config.model.dtype=bfloat16', '--config.model.upsample=bilinear',
    '--config.task.label_smoothing=0.1', '--config.data.options.seed=3',
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  config = workdirs.get_config(str(tmp_path / 'run'))
  assert (config.model.dtype, config.model.upsample) == ('bfloat16', 'bilinear')
  assert (config.task.label_smoothing, config.data.options.seed) == (0.1, 3)
  # An evaluation takes it up again.
  again = runs.run(tmp_path / 'run', '--config.data.options.seed=4', mode='evaluate')
  assert again.returncode == 0, again.stderr
  for flag, message in (
    ('--config.model.dtype=half', "model.dtype 'half' is unknown; there are: float32, bfloat16"),
    ('--config.model.upsampel=bilinear', "no key 'upsampel'; did you mean 'upsample'?"),
    ('--config.model.name=unnet', "model.name 'unnet' is unknown (did you mean unet?)"),
  ):
    wrong = runs.run(tmp_path / 'wrong', flag)
    assert wrong.returncode == 2 and message in wrong.stderr.splitlines()[-1]


def test_misspelt_keys_are_named_with_the_nearest():
  config = base.get_config()
  for write, message in (
    (lambda: config.optim.__setattr__('lrr', 1), "no key 'lrr'; did you mean 'lr'?"),
    (lambda: config.optm, "no key 'optm'; did you mean 'optim'?"),
    (lambda: config['optm'], "no key 'optm'; did you mean 'optim'?"),
    (lambda: config.optim.__setattr__('qqqqqq', 1), "no key 'qqqqqq'; configs/base.py lists"),
    (lambda: config.qqqqqq, "no key 'qqqqqq'; configs/base.py lists"),
  ):
    with pytest.raises((AttributeError, KeyError)) as caught:
      write()
    assert message in workdirs._unknown_key(str(caught.value))
