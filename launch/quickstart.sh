#!/usr/bin/env bash
# From nothing to a trained network, on any machine: bash launch/quickstart.sh [flags of jseg.main]
# Makes .venv, trains the U-Net on drawn shapes and evaluates it.
set -euo pipefail
. "$(dirname "$0")/venv.sh"

exec python -m jseg.main --config=configs/unet_shapes.py --workdir=runs/quickstart "$@" </dev/null
