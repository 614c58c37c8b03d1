#!/usr/bin/env bash
# The same model, batch and cores on several grids, in turns: what dividing a process into ranks costs, or
# gains. Options: bench/peers/grids.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
deps=${DEPS_DIR:-.deps}
make --no-print-directory bin/cuboid
env/setup.sh python
export PYTHONPATH=${TORCH_DIR:+$(dirname "$TORCH_DIR"):}$deps/libtorch:$deps/python
exec python3 bench/peers/grids.py "$@"
