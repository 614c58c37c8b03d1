#!/usr/bin/env bash
# Damaged and hostile checkpoints, read under AddressSanitizer and UndefinedBehaviorSanitizer
# (test/checkpoint/mutants, built by `make mutants`). Exit 1 when one crashes the reader, hangs it,
# takes much memory or is read wrong.
#
#   test/checkpoint/mutants.sh COUNT [FORGERIES [SEED]]
#
# FORGERIES: as many more that were sealed again after the damage; what they do is counted only.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=build/${MODE:-release}/bin/cuboid
mutants=build/sanitize/test/checkpoint/mutants/mutants
count=${1:?the number of mutants}
forgeries=${2:-0}
seed=${3:-1}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
[[ -x $mutants ]] || { echo "FAILED $mutants is not built: make mutants"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$program" pretrain --device cpu --data-dir README.md --hidden-size 16 --num-layers 2 \
  --num-attention-heads 2 --seq-length 8 --eval-steps 0 --max-steps 2 --save-interval 1 \
  --output-dir "$work" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
"$mutants" "$work"/checkpoint-{1,2}.h5 "$count" "$seed"
((forgeries == 0)) || "$mutants" forged "$work/checkpoint-2.h5" "$forgeries" "$seed"
