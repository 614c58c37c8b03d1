#!/usr/bin/env bash
# The outside witness is itself tested: it accepts its own fp32 and refuses 24 kinds of mistakes.
# timeout: 240
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
python3 test/witness/compare_test.py
