#!/usr/bin/env bash
# From nothing to a trained network, on any machine: bash launch/quickstart.sh [flags of jseg.main]
# Makes .venv, trains the U-Net on drawn shapes and evaluates it.
set -euo pipefail
. "$(dirname "$0")/venv.sh"

workdir=runs/quickstart
python -m jseg.main --config=configs/unet_shapes.py --workdir="$workdir" "$@" </dev/null

printf '\nresults and checkpoints are in %s; pictures beside the numbers:\n' "$repo/$workdir"
find "$workdir" \( -name '*.json' -o -name '*.png' \) -not -path '*/checkpoints/*' | sort | head -20
