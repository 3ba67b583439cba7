import os
import pathlib
import subprocess
import sys
import time

import pytest
import yaml

REPO = pathlib.Path(__file__).resolve().parent.parent
SCRIPTS = sorted([*REPO.glob('launch/**/*.sh'), *REPO.glob('launch/**/*.sbatch'), REPO / '.ci' / 'run'])


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: str(path.relative_to(REPO)))
def test_scripts_parse_and_say_what_to_type(script):
  assert subprocess.run(['bash', '-n', script]).returncode == 0
  if script.suffix and script.name != 'venv.sh':
    head = script.read_text().split('\n\n')[0]
    assert 'bash launch/' in head or 'sbatch ' in head


def local(tmp_path, body, *arguments, **env):
  """Runs launch/local.sh with an interpreter that is this shell script."""
  python = tmp_path / 'py thon'
  python.write_text(f'#!/bin/bash\n{body}\n')
  python.chmod(0o755)
  return subprocess.run(
    ['bash', REPO / 'launch' / 'local.sh', *arguments], env=os.environ | {'PYTHON': str(python)} | env,
    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=60,
  )  # fmt: skip


def test_local_passes_the_same_command_to_all(tmp_path):
  done = local(tmp_path, 'printf "<%s>" "$@"; echo', '3', '--config=a b', '--workdir=w')
  assert done.returncode == 0
  lines = sorted(done.stdout.splitlines())
  assert len(lines) == 3
  for i, line in enumerate(lines):
    assert line.startswith(f'[{i}] <-m><jseg.main><--config=a b><--workdir=w><--coordinator=127.0.0.1:')
    assert line.endswith(f'<--num_processes=3><--process_id={i}>')


def test_local_ends_all_with_the_first_failure(tmp_path):
  begin = time.time()
  done = local(tmp_path, 'case "$*" in *--process_id=1) echo bad; exit 7;; esac; exec sleep 50', '3')
  assert done.returncode == 7 and '[1] bad' in done.stdout and time.time() - begin < 20


@pytest.mark.slow
def test_local_kills_what_does_not_listen(tmp_path):
  body = 'case "$*" in *--process_id=1) exit 3;; esac; trap "" TERM; while :; do read -t 1 <> <(:); done'
  assert local(tmp_path, body, '2').returncode == 3


def test_local_gives_each_process_its_devices(tmp_path):
  done = local(tmp_path, 'echo $JAX_PLATFORMS $JAX_NUM_CPU_DEVICES $NPROC', '1', JSEG_DEVICES_PER_PROCESS='3')
  assert done.stdout == '[0] cpu 3 32\n'


@pytest.mark.parametrize('count', [(), ('0',), ('two',), ('--config=x',)])
def test_local_wants_a_number(tmp_path, count):
  assert local(tmp_path, 'echo never', *count).returncode == 2


def test_kubernetes_fields():
  service, job = yaml.safe_load_all((REPO / 'launch' / 'kubernetes' / 'train.yaml').read_text())
  assert service['kind'] == 'Service' and service['spec']['clusterIP'] == 'None'
  assert service['spec']['selector'] == {'job-name': job['metadata']['name']}
  spec = job['spec']
  assert job['kind'] == 'Job' and spec['completionMode'] == 'Indexed'
  pod = spec['template']['spec']
  (container,) = pod['containers']
  env = {row['name']: row['value'] for row in container['env']}
  # What parallel.initialise reads; JOB_COMPLETION_INDEX comes from the Job itself.
  assert int(env['JSEG_NUM_PROCESSES']) == spec['completions'] == spec['parallelism']
  host, port = env['JSEG_COORDINATOR'].split(':')
  assert host == f'{job["metadata"]["name"]}-0.{service["metadata"]["name"]}' and port.isdigit()
  assert pod['subdomain'] == service['metadata']['name']
  assert container['command'] == ['python', '-m', 'jseg.main']
  mounts = {mount['name'] for mount in container['volumeMounts']}
  assert mounts == {volume['name'] for volume in pod['volumes']}
  (config,) = [word.removeprefix('--config=') for word in container['args'] if word.startswith('--config=')]
  (workdir,) = [
    word.removeprefix('--workdir=') for word in container['args'] if word.startswith('--workdir=')
  ]
  assert workdir.startswith('/runs') and config.startswith('configs/')


def test_tpu_sends_the_command_to_all_hosts(tmp_path):
  gcloud = tmp_path / 'gcloud'
  gcloud.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
  gcloud.chmod(0o755)
  env = os.environ | {'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'TPU': 'slice', 'ZONE': 'z'}
  command = ['bash', REPO / 'launch' / 'tpu' / 'train.sh', '--config=c.py', '--config.data.crop=(1, 2)']
  words = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
  assert words[:7] == ['compute', 'tpus', 'tpu-vm', 'ssh', 'slice', '--zone=z', '--worker=all']
  sent = words[7].removeprefix('--command=')
  echoed = subprocess.run(
    ['bash', '-c', sent.split('&&')[1].replace('.venv/bin/python', 'printf "%s\\n"')],
    stdout=subprocess.PIPE,
    text=True,
  )
  assert echoed.stdout.splitlines() == ['-m', 'jseg.main', '--config=c.py', '--config.data.crop=(1, 2)']
  del env['ZONE']
  assert subprocess.run(command, env=env, capture_output=True).returncode != 0


def test_find_python_wants_one_that_runs(tmp_path):
  """A stub that fails when run, as version managers leave them on the PATH, is passed over."""
  for name in ('python3.12', 'python3.13'):
    (tmp_path / name).write_text('#!/bin/sh\necho "command not found" >&2\nexit 127\n')
    (tmp_path / name).chmod(0o755)
  (tmp_path / 'python3.11').symlink_to(sys.executable)
  find = (REPO / 'launch' / 'venv.sh').read_text().split('find_python() {')[1].split('\n}\n')[0]
  script = f'find_python() {{{find}\n}}\nfind_python'
  env = {'PATH': f'{tmp_path}:/usr/bin:/bin'}
  found = subprocess.run(['bash', '-c', script], env=env, stdout=subprocess.PIPE, text=True)
  assert found.returncode == 0 and found.stdout.strip() in (
    f'{tmp_path}/python3.11',
    f'{tmp_path}/python3.12',
  )
  env = {'PATH': str(tmp_path / 'empty'), 'PYTHON': str(tmp_path / 'python3.12')}
  none = subprocess.run(['/bin/bash', '-c', script], env=env, capture_output=True, text=True)
  assert none.returncode == 1 and 'PYTHON=/path/to/python3' in none.stderr
