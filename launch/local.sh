#!/usr/bin/env bash
# N processes of one run on this machine: bash launch/local.sh N [flags of jseg.main]
#   JSEG_DEVICES_PER_PROCESS=4 bash launch/local.sh 2 --config=configs/unet_shapes.py:quick --workdir=/tmp/two
# JSEG_DEVICES_PER_PROCESS: that many make-believe CPU devices in each; unset: what jax finds.
# PYTHON: the interpreter; otherwise .venv's, otherwise python3.
# When one process fails the others are ended, and its exit status is this script's.
set -u

count="${1:-}"
case "$count" in
  '' | *[!0-9]* | 0*) echo 'usage: bash launch/local.sh N [flags of jseg.main], N = 1, 2, ...' >&2; exit 2 ;;
esac
shift

repo="$(cd "$(dirname "$0")/.." && pwd)"
python="${PYTHON:-$repo/.venv/bin/python}"
command -v "$python" >/dev/null 2>&1 || python=python3

if [ -n "${JSEG_DEVICES_PER_PROCESS:-}" ]; then
  # More devices than cores abort in a collective unless XLA's thread pool holds them all.
  export JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES="$JSEG_DEVICES_PER_PROCESS" NPROC=32
fi

export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}" # as in venv.sh

port=$((20000 + RANDOM % 30000))
while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do # somebody answers: taken
  port=$((20000 + RANDOM % 30000))
done

prefix() {
  local line
  while IFS= read -r line || [ -n "$line" ]; do printf '[%s] %s\n' "$1" "$line"; done
}

pids=()
end_all() {
  local pid
  for pid in ${pids[@]+"${pids[@]}"}; do kill "-$1" "$pid" 2>/dev/null; done
}
trap 'end_all TERM; exit 143' TERM
trap 'end_all INT; exit 130' INT

for ((i = 0; i < count; i++)); do
  "$python" -m jseg.main "$@" --coordinator="127.0.0.1:$port" --num_processes="$count" --process_id="$i" \
    </dev/null > >(prefix "$i") 2>&1 &
  pids+=($!)
done

status=0
while [ ${#pids[@]} -gt 0 ]; do
  running=()
  for pid in "${pids[@]}"; do
    if kill -0 "$pid" 2>/dev/null; then
      running+=("$pid")
      continue
    fi
    wait "$pid"
    code=$?
    if [ "$code" -ne 0 ] && [ "$status" -eq 0 ]; then
      status=$code
      ended=$SECONDS
    fi
  done
  pids=(${running[@]+"${running[@]}"})
  if [ "$status" -ne 0 ] && [ ${#pids[@]} -gt 0 ]; then
    # They may sit in a collective that the failed one never joins: asked first, killed ten seconds later.
    if [ $((SECONDS - ended)) -lt 10 ]; then end_all TERM; else end_all KILL; fi
  fi
  sleep 0.2
done
exit "$status"
