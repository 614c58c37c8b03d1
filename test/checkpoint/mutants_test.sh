# timeout: 600
# A share of the damaged checkpoints of mutants.sh.
# shellcheck shell=bash source=test/app/lib.sh
source test/app/lib.sh
if test/checkpoint/mutants.sh 500 >"$work/out" 2>&1; then ok; else fail "mutants" "$(cat "$work/out")"; fi
finish
