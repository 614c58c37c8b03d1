#!/usr/bin/env bash
# A small share of each class of faults; `make test-faults` runs the full counts.
# timeout: 600
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
python3 test/faults/faults.py --build "build/${MODE:-release}" --quick
