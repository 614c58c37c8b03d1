#!/usr/bin/env bash
# Trains the same GPT-2 in Cuboid and in PyTorch (eager and compiled) in turns, and prints a table.
# Builds the program and fetches what it needs first. Options: bench/peers/compare.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
deps=${DEPS_DIR:-.deps}
make --no-print-directory bin/cuboid
env/setup.sh python
export PYTHONPATH=${TORCH_DIR:+$(dirname "$TORCH_DIR"):}$deps/libtorch:$deps/python
exec python3 bench/peers/compare.py "$@"
