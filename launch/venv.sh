# Sourced by the other scripts: makes .venv in the repository if it is missing or out of date, and enters it.
# $PYTHON chooses the interpreter. Nothing is read from the keyboard, and nothing of the home folder is needed.

repo="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$repo" || exit 1

find_python() {
  # A name on the PATH proves nothing (version managers leave stubs there): it must run and have venv.
  local python
  for python in ${PYTHON:+"$PYTHON"} python3.12 python3.13 python3.11 python3; do
    if "$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
      >/dev/null 2>&1; then
      command -v "$python"
      return 0
    fi
  done
  echo 'No Python 3.11, 3.12 or 3.13 with the venv module runs here; name one: PYTHON=/path/to/python3' >&2
  return 1
}

make_venv() {
  local python stamp log
  stamp="$(cat requirements.txt pyproject.toml | cksum)"
  if [ "$(cat .venv/stamp 2>/dev/null)" = "$stamp" ] && .venv/bin/python -c '' 2>/dev/null; then
    return 0
  fi
  if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python="$(find_python)" || return 1
    echo "making .venv with $("$python" --version) ($python)"
    rm -rf .venv
    "$python" -m venv .venv || return 1
  fi
  echo 'installing jseg and its tools into .venv (about a minute)'
  log="$(mktemp)"
  if ! .venv/bin/python -m pip install -q --disable-pip-version-check -e '.[test]' </dev/null >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    echo 'installing failed; the lines above are from pip' >&2
    return 1
  fi
  rm -f "$log"
  printf '%s\n' "$stamp" >.venv/stamp
}

make_venv || exit 1
export PATH="$repo/.venv/bin:$PATH"
# Large pages for what XLA allocates anew at every step: a tenth of a U-Net's CPU step, otherwise spent on faults.
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"
