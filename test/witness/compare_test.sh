#!/usr/bin/env bash
# The outside witness is itself tested: it accepts its own fp32 and refuses 24 kinds of mistakes.
# timeout: 300
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
# The pinned wheels are for Python 3.11, and a LibTorch of the site's own may have no Python side:
# only there may the import fail.
if ! python3 -c 'import torch, h5py' &&
  { [[ -n ${TORCH_DIR:-} ]] || ! python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; }; then
  echo "SKIPPED the witness: this $(python3 --version) has no torch and h5py (env/README.md)"
  exit 0
fi
python3 test/witness/compare_test.py
