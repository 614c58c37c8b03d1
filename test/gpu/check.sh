#!/usr/bin/env bash
# make gpu-check: what only a machine with a GPU can prove. Collectives over NCCL, MPI with device
# memory, training on the GPU against the CPU's losses in fp32 and bf16, on one rank, two and a
# 2x2x2 grid. Ranks that share a GPU talk over NCCL where NCCL is 2.30 or later.
#
#   NCCL_LIB=DIR   a folder with another libnccl.so.2, put before the built-in one
set -uo pipefail
cd "$(dirname "$0")/.." || exit
mode=${MODE:-release}

devices=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null)
if [[ -z $devices ]]; then
  echo "gpu-check: no GPU on this machine (nvidia-smi lists none); the checks that need none are in 'make test'" >&2
  exit 1
fi
echo "$devices" | sort | uniq -c

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export NCCL_MULTI_RANK_GPU_ENABLE=1 GTEST_COLOR=no
[[ -n ${NCCL_LIB:-} ]] && export LD_LIBRARY_PATH=$NCCL_LIB${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

passed=0 failed=0
check() { # NAME COMMAND...
  local name=$1 log start=$SECONDS
  shift
  log=$(mktemp)
  if timeout -k 5 300 "$@" >"$log" 2>&1 </dev/null; then
    passed=$((passed + 1))
    printf '%-44s ok      %4s s\n' "$name" $((SECONDS - start))
  else
    failed=$((failed + 1))
    printf '%-44s FAILED  %4s s\n' "$name" $((SECONDS - start))
    tail -n 30 "$log" | sed 's/^/    | /'
  fi
  grep -h '^\[  SKIPPED \] .*ms)' "$log" | sort -u | sed 's/^/    /'
  rm -f "$log"
}

tests=build/$mode/test
for ranks in 1 2 8; do
  check "collectives, $ranks ranks" mpirun -np "$ranks" "$tests/collective/nccl_communicator_test"
done
# Over NCCL where each rank has a GPU, else over MPI on device memory.
check "bench collectives, 2 ranks" mpirun -np 2 bin/cuboid bench collectives -e 1M -d all -o all --device cuda
for ranks in 1 2 8; do
  check "training against the CPU, $ranks ranks" mpirun -np "$ranks" "$tests/trainer/gpu_test"
done
for program in machine model optimizer collective pipeline; do
  check "benchmarks of $program on one GPU" "build/$mode/bench/${program}_bench" --device=cuda --benchmark_min_time=0
done
check "the device's clock" "$tests/collective/device_clock_test"
out=$(mktemp -d)
run=(bin/cuboid pretrain --preset demo --max-steps 50 --device cuda --eval-steps 2)
check "demo on one GPU, fp32" "${run[@]}" --output-dir "$out/fp32"
check "demo on one GPU, bf16" "${run[@]}" --output-dir "$out/bf16" --dtype bf16
check "demo on the CPU" bin/cuboid pretrain --preset demo --max-steps 50 --device cpu --eval-steps 2 --output-dir "$out/cpu"
# shellcheck disable=SC2016  # the inner shell expands it
check "the last losses agree to 2 %" bash -c '
  last() { tail -n 1 "$1/metrics.jsonl" | sed -E "s/.*\"loss\":([^,]*).*/\1/"; }
  awk -v a="$(last "$0/cpu")" -v b="$(last "$0/fp32")" -v c="$(last "$0/bf16")" \
    "BEGIN { exit !(a > 0 && (a - b) ^ 2 < (0.02 * a) ^ 2 && (a - c) ^ 2 < (0.02 * a) ^ 2) }"' "$out"
# shellcheck disable=SC2016
check "the trace and the table of a run on a GPU" bash -c '
  mkdir -p "$0/traced" &&
    bin/cuboid pretrain --preset tiny-llama --device cuda --num-microbatches 4 --max-steps 10 --eval-steps 0 \
      --profile 8 --output-dir "$0/traced" >"$0/said" &&
    mv "$0/said" "$0/traced/out" &&
    python3 test/app/trace_check.py "$0/traced" 1 1 1 4 | tee "$0/checks" &&
    ! grep -v "^ok" "$0/checks"' "$out"
rm -rf "$out"
echo "$passed passed, $failed failed"
((failed == 0))
