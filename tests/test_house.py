"""The house rules that a machine can check: who imports whom, sizes, docstrings, what is banned."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parent.parent
FILES = sorted((REPO / 'jseg').rglob('*.py'))
TREES = {path: ast.parse(path.read_text()) for path in FILES}

# Imports go down only. A door is a file directly in jseg/ (jseg itself too), except typing, and a __main__.
MAY_IMPORT = {
  'doors': {'doors', 'engine', 'tasks', 'models', 'ops', 'data', 'convert', 'typing'},
  'engine': {'engine', 'tasks', 'models', 'ops', 'data', 'convert', 'typing'},
  'tasks': {'tasks', 'models', 'ops', 'typing'},
  'models': {'models', 'ops', 'typing'},
  'ops': {'ops', 'typing'},
  'data': {'data', 'typing'},
  'convert': {'convert', 'typing'},
  'typing': set(),
}
# Libraries that a room must not touch. A peer for comparison is imported where it is used, never on top.
BANNED = {
  'data': {'jax', 'flax', 'optax', 'orbax'},
  'models': {'optax', 'orbax', 'grain', 'cv2', 'ml_collections', 'absl'},
  'ops': {'flax', 'optax', 'orbax', 'grain', 'cv2', 'ml_collections', 'absl'},
}
NOT_ON_TOP = {'torch', 'torchvision', 'tensorflow', 'transformers', 'pycocotools', 'huggingface_hub'}
MAX_FILE, MAX_FUNCTION = 350, 70


def module_of(path):
  parts = path.relative_to(REPO).with_suffix('').parts
  return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


MODULES = {module_of(path): path for path in FILES}


def room_of(module):
  parts = module.split('.')
  if len(parts) == 1 or parts[-1] == '__main__':
    return 'doors'
  if parts[1] in MAY_IMPORT:
    return parts[1]
  assert len(parts) == 2, f'{module} is in no room of MAY_IMPORT'
  return 'doors'


def imports_of(tree, top=False):
  """Names of imported modules; `top`: only what runs when the file is imported."""
  nodes = ast.walk(tree) if not top else _top_level(tree)
  for node in nodes:
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, 'relative import'
      for alias in node.names:
        full = f'{node.module}.{alias.name}'
        yield full if full in MODULES else node.module


def _top_level(tree):
  nodes = list(tree.body)
  while nodes:
    node = nodes.pop()
    yield node
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
      nodes += list(ast.iter_child_nodes(node))


def each_file(function):
  return pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(REPO)))(function)


@each_file
def test_imports_go_down(path):
  room = room_of(module_of(path))
  for name in imports_of(TREES[path]):
    top = name.split('.')[0]
    if top == 'jseg':
      assert name in MODULES, f'{name} does not exist'
      assert room_of(name) in MAY_IMPORT[room], f'{room} must not import {name}'
    assert top not in BANNED.get(room, ()), f'{room} must not import {name}'
    assert top not in ('configs', 'tests'), f'jseg must not import {name}'
  for name in imports_of(TREES[path], top=True):
    assert name.split('.')[0] not in NOT_ON_TOP, f'import {name} where it is used'


def test_no_cycles():
  below = {
    name: {other for other in imports_of(TREES[path], top=True) if other in MODULES and other != name}
    for name, path in MODULES.items()
  }
  while below:
    free = [name for name, needs in below.items() if not needs & below.keys()]
    assert free, f'these import each other in a circle: {sorted(below)}'
    for name in free:
      del below[name]


@each_file
def test_sizes(path):
  lines = path.read_text().count('\n')
  assert lines <= MAX_FILE, f'{lines} lines are two files'
  for node in ast.walk(TREES[path]):
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
      length = node.end_lineno - node.lineno + 1
      assert length <= MAX_FUNCTION, f'{node.name}: {length} lines are two functions'


@each_file
def test_what_is_public_is_documented(path):
  tree = TREES[path]
  if path.name != '__init__.py' or tree.body:
    assert ast.get_docstring(tree), 'the module has no docstring'
  public = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
  for node in public:
    if not node.name.startswith('_'):
      public += (
        [n for n in node.body if isinstance(n, ast.FunctionDef)] if isinstance(node, ast.ClassDef) else []
      )
      assert ast.get_docstring(node), f'{node.name} has no docstring'


@each_file
def test_options_are_never_guessed(path):
  """A default at the place of reading hides a misspelt key: none on configs, and no getattr with one."""
  for node in ast.walk(TREES[path]):
    if not isinstance(node, ast.Call):
      continue
    if isinstance(node.func, ast.Attribute) and node.func.attr in ('get', 'get_ref', 'pop', 'setdefault'):
      of = ast.unparse(node.func.value)
      assert not re.search(r'config|options|section|optim\b', of, re.I), f'{ast.unparse(node)}: read the key'
    if isinstance(node.func, ast.Name) and node.func.id == 'getattr':
      assert len(node.args) < 3, f'{ast.unparse(node)}: no default'


@each_file
def test_nothing_happens_on_import(path):
  """Top level holds definitions: no loops, no calls but a gradient's definition, no files, no arrays."""
  for node in TREES[path].body:
    if isinstance(node, ast.If):
      assert ast.unparse(node.test) in ("__name__ == '__main__'", 'TYPE_CHECKING'), ast.unparse(node.test)
      continue
    assert not isinstance(node, (ast.For, ast.While, ast.With, ast.Delete)), f'line {node.lineno}'
    if isinstance(node, ast.Expr) and not re.match(r'\w+\.defvjp\(', ast.unparse(node)):
      assert isinstance(node.value, ast.Constant), f'line {node.lineno}: {ast.unparse(node)}'
    for call in ast.walk(node) if isinstance(node, (ast.Assign, ast.AnnAssign)) else ():
      if isinstance(call, ast.Call):
        name = ast.unparse(call.func)
        assert not re.search(r'^(open|jnp\.|jax\.(random|numpy|device|local)|np\.load)|read_', name), name


def test_importing_everything_starts_nothing(tmp_path):
  """No device is touched, nothing is printed, nothing is written, when all modules are imported."""
  code = """
import importlib, os, sys, threading, warnings
doors = [name for name in sys.argv[1:] if name.startswith('door:')]
for name in sys.argv[1 + len(doors):]:
  importlib.import_module(name)
from jax._src import xla_bridge
for door in ['', *doors]:
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # jax warns of every fork; nothing runs yet
    child = os.fork()
  if not child:
    importlib.import_module(door.removeprefix('door:') or 'jseg')  # each alone: their flags may share names
    assert not xla_bridge.backends_are_initialized(), 'a device was touched'
    assert threading.active_count() == 1, threading.enumerate()
    sys.stdout.flush()
    os._exit(0)
  assert os.waitpid(child, 0)[1] == 0, door
"""
  doors = [f'door:{name}' for name in MODULES if room_of(name) == 'doors' and name != 'jseg']
  names = [*doors, *(name for name in MODULES if room_of(name) != 'doors' and not name.endswith('__main__'))]
  done = subprocess.run(
    [sys.executable, '-W', 'error', '-c', code, *names], cwd=tmp_path, text=True, capture_output=True,
    env={'PYTHONPATH': str(REPO), 'HOME': str(tmp_path), 'PATH': '', 'PYTHONDONTWRITEBYTECODE': '1'},
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert done.stdout == '' and list(tmp_path.iterdir()) == []


def test_no_loose_ends():
  """No notes to self, no silenced type errors without their rule, and no place that only one machine has."""
  files = [*FILES, *(REPO / 'configs').glob('*.py'), *(REPO / 'launch').rglob('*.*')]
  for path in files:
    for number, line in enumerate(path.read_text().splitlines(), 1):
      where = f'{path.relative_to(REPO)}:{number}: {line.strip()}'
      assert not re.search(r'\b(TODO|FIXME|XXX|HACK)\b', line), where
      assert not re.search(r'type: ignore(?!\[)|pyright: ignore(?!\[)|noqa(?!: [A-Z])', line), where
      assert not re.search(r'(?<![\w.])/(work|tmp/w|root|home)/', line), where
