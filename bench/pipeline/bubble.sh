#!/usr/bin/env bash
# The pipeline's bubble, measured and in theory, on two CPU ranks that compute all the time: both schedules, 2 to 16
# micro-batches. The stages are alike: a small vocabulary, an even number of layers.
#
#   bench/pipeline/bubble.sh [STEPS]      steps of each run (default: 20)
#
# measured: the share of forward, backward and waiting in which the stages wait for each other (step_times.json).
# theory: (p - 1) / (m + p - 1). Two cores that do nothing else are needed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
steps=${1:-20}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '%-9s %13s %10s %9s %12s\n' schedule micro-batches measured theory difference
for schedule in gpipe 1f1b; do
  for m in 2 4 8 16; do
    mpirun -np 2 bin/cuboid pretrain --pipeline-parallel-size 2 --pipeline-schedule "$schedule" --num-microbatches "$m" \
      --hidden-size 256 --num-layers 8 --seq-length 128 --micro-batch-size 4 --device cpu --num-threads 1 \
      --eval-steps 0 --max-steps "$steps" --output-dir "$work/$schedule-$m" >"$work/log" 2>&1 </dev/null ||
      { cat "$work/log"; exit 1; }
    python3 - "$work/$schedule-$m/step_times.json" "$schedule" "$m" <<'P'
import json, sys
with open(sys.argv[1], encoding="utf-8") as file:
    times = json.load(file)
measured, theory = (100 * times["bubble"][key] for key in ("measured", "theory"))
print(f"{sys.argv[2]:<9} {sys.argv[3]:>13} {measured:>8.1f} % {theory:>7.1f} % {measured - theory:>+5.1f} points")
P
  done
done
