"""Eight CPU devices, types checked at run time, nothing fetched: settled before jax starts."""

import os
import pathlib
import tempfile

import pytest

os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['JAX_NUM_CPU_DEVICES'] = '8'
# More fake devices than cores abort in a collective unless XLA's thread pool holds them all.
os.environ['NPROC'] = '32'
os.environ['HF_HUB_OFFLINE'] = '1'

_REPO = pathlib.Path(__file__).resolve().parent.parent


def pytest_configure(config):
  """Checks shape annotations in every module of jseg that is imported from here on."""
  import jax
  import jaxtyping

  jaxtyping.install_import_hook('jseg', 'typecheck.check')
  cache = pathlib.Path(tempfile.gettempdir()) / f'jseg-tests-{os.getuid()}'
  jax.config.update('jax_compilation_cache_dir', str(cache))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)


@pytest.fixture(autouse=True, scope='module')
def _no_programs_kept():
  """Compiled programs of a finished module are let go: a worker that keeps them all comes to 7 GB."""
  yield
  import jax

  jax.clear_caches()


@pytest.fixture(autouse=True)
def _few_mappings():
  """Every compiled program maps pieces of memory, of which Linux grants a process 65,530; then it crashes."""
  yield
  maps = pathlib.Path('/proc/self/maps')
  if maps.exists() and maps.read_bytes().count(b'\n') > 20_000:
    import jax

    jax.clear_caches()


@pytest.fixture
def unoptimised():
  """Programs that run a few steps only are compiled in two thirds of the time."""
  import jax

  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


@pytest.fixture(scope='session')
def camvid_source() -> pathlib.Path:
  """The folder of the real CamVid; tests that ask for it are skipped where it is absent."""
  root = os.environ.get('JSEG_DATA_SOURCES', str(_REPO.parent / 'shared' / 'data'))
  folder = pathlib.Path(root) / 'CamVid'
  if not folder.is_dir():
    pytest.skip(f'no {folder}; set JSEG_DATA_SOURCES to the folder that holds CamVid')
  return folder
