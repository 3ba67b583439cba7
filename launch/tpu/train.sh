#!/usr/bin/env bash
# One run on all hosts of a Cloud TPU slice. Once per slice, put the repository and its packages on every host:
#   gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all \
#     --command='git clone URL jseg && cd jseg && python3 -m venv .venv && .venv/bin/pip install -e ".[tpu]"'
# Then, from anywhere:
#   TPU=NAME ZONE=ZONE bash launch/tpu/train.sh --config=configs/fcn8s_camvid.py --workdir=/mnt/shared/fcn8s
# --workdir must be on storage that all hosts mount (Filestore). Typed again, it goes on where the run stands.
set -euo pipefail
: "${TPU:?name the slice: TPU=NAME}" "${ZONE:?name its zone: ZONE=us-central2-b}"
command='cd jseg && .venv/bin/python -m jseg.main'
for word in "$@"; do command+=" $(printf '%q' "$word")"; done
exec gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$command"
