#!/usr/bin/env bash
# The FLOPs that MFU is made of, against PyTorch's own counter.
# timeout: 200
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
# As in compare_test.sh: the pinned wheels are for Python 3.11.
if ! python3 -c 'import torch' &&
  { [[ -n ${TORCH_DIR:-} ]] || ! python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; }; then
  echo "SKIPPED PyTorch's count of FLOPs: this $(python3 --version) has no torch (env/README.md)"
  exit 0
fi
OMP_NUM_THREADS=1 python3 test/witness/flops_test.py "build/${MODE:-release}/bin/cuboid"
