#!/usr/bin/env bash
# From nothing to a trained network, on any machine: bash launch/quickstart.sh [flags of jseg.main]
# Makes .venv, trains the U-Net on drawn shapes and evaluates it.
set -euo pipefail
. "$(dirname "$0")/venv.sh"

workdir=runs/quickstart
python -m jseg.main --config=configs/unet_shapes.py --workdir="$workdir" "$@" </dev/null

printf '\nimage, truth and prediction side by side: %s\nscores and protocol: %s\n' \
  "$repo/$workdir/overlays/" "$repo/$workdir/results/"
