#!/usr/bin/env bash
# Everything a change must pass: bash launch/check.sh [--fast | --all] [pytest arguments]
# --fast leaves out the tests marked slow; --all adds those marked long: every config, every network learns.
set -uo pipefail
. "$(dirname "$0")/venv.sh"

tests=(-m 'not long')
case "${1:-}" in
  --fast) tests=(-m 'not slow') && shift ;;
  --all) tests=() && shift ;;
esac

failed=()
step() {
  local name="$1" begin=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  if "$@" </dev/null; then
    printf '== %s: passed in %d s\n' "$name" $((SECONDS - begin))
  else
    printf '== %s: FAILED after %d s\n' "$name" $((SECONDS - begin))
    failed+=("$name")
  fi
}

# The Node that came with pyright's wheel, and no question to a registry about newer versions.
export PYRIGHT_PYTHON_GLOBAL_NODE=0 PYRIGHT_PYTHON_IGNORE_WARNINGS=1

step 'ruff format' ruff format --check .
step 'ruff check' ruff check .
step 'pyright' pyright --pythonpath .venv/bin/python jseg
step 'pytest' python -m pytest -n auto --maxprocesses=8 --dist=worksteal ${tests[@]+"${tests[@]}"} "$@"

printf '\n'
if [ ${#failed[@]} -gt 0 ]; then
  echo "FAILED: ${failed[*]} ($SECONDS s)"
  exit 1
fi
echo "all checks passed ($SECONDS s)"
