#!/usr/bin/env bash
# Does it learn, and the same on every grid? Trains nanoGPT's character model (preset
# shakespeare-char: 4 layers, 4 heads, 128 wide, context 64, 12 sequences, 2,000 steps) on one rank, on
# 2x1x2 and on 1x2x2, and prints the validation loss of each over the whole last tenth of the text.
#
#   bench/learning.sh TEXT [GRID...]       TEXT: tinyshakespeare.txt; GRID: 1x1x1 2x1x2 1x2x2 (all)
set -euo pipefail
cd "$(dirname "$0")/.."
text=${1:?bench/learning.sh: name the text file to train on (nanoGPT: tinyshakespeare.txt)}
shift
grids=("$@")
((${#grids[@]})) || grids=(1x1x1 2x1x2 1x2x2)

export OMPI_MCA_rmaps_base_oversubscribe=1
if ((EUID == 0)); then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

printf '%-8s %16s %14s %12s\n' grid 'validation loss' 'training loss' 'tokens/s'
for grid in "${grids[@]}"; do
  IFS=x read -r dp tp pp <<<"$grid"
  # Twelve sequences a step everywhere: four micro-batches a replica where there are stages.
  micro=$((pp > 1 ? 12 / dp / 4 : 12 / dp))
  mpirun -np $((dp * tp * pp)) --bind-to none bin/cuboid pretrain --preset shakespeare-char --device cpu \
    --data-dir "$text" --output-dir "$out/$grid" --micro-batch-size $((micro > 0 ? micro : 1)) \
    --tensor-parallel-size "$tp" --pipeline-parallel-size "$pp" --log-interval 2000 >"$out/log" 2>&1 ||
    { cat "$out/log"; exit 1; }
  last=$(tail -n 1 "$out/$grid/metrics.jsonl")
  number() { sed -E "s/.*\"$1\":([^,}]*).*/\1/" <<<"$last"; }
  printf '%-8s %16.4f %14.4f %12.0f\n' "$grid" "$(number validation_loss)" "$(number loss)" \
    "$(sed -nE 's/^ *Mean throughput +([0-9,]+) tokens.*/\1/p' "$out/log" | tr -d ,)"
done
