# The checks of test/gpu/check.sh, in their order. Sourced by it; check, check_ranks, skip and wanted are its functions.
# shellcheck shell=bash disable=SC2154,SC2034
tests=$build/test
sizes=(124m 350m 774m 1.5b)
# Sequences of 1024 tokens that fit one pass on a GPU of 80 GB, and are enough to fill it.
declare -A sequences=([124m]=32 [350m]=16 [774m]=8 [1.5b]=8)
MFU_STEPS=${MFU_STEPS:-14}

check "kernels/against formulas" "$tests/kernels/gpu_test"

for ranks in 1 2 8; do
  check_ranks "collectives/$ranks ranks" "$ranks" "$tests/collective/nccl_communicator_test"
done
# Over NCCL where each rank has a GPU, else over MPI on device memory.
check "collectives/bench, 2 ranks" mpirun -np 2 "$cuboid" bench collectives -e 1M -d all -o all --device cuda
check "collectives/the device's clock" "$tests/collective/device_clock_test"

for ranks in 1 2 8; do
  check_ranks "training/against the CPU, $ranks ranks" "$ranks" "$tests/trainer/gpu_test"
done
check "training/syncs and allocations" "$tests/trainer/gpu_step_test"
for ranks in 1 2; do
  check_ranks "training/replayed steps bit for bit, $ranks ranks" "$ranks" "$tests/trainer/gpu_graph_test"
done

demo() { # NAME OPTION...: the demo's first 50 steps
  "$cuboid" pretrain --preset demo --max-steps 50 --eval-steps 2 --output-dir "$work/demo-$1" "${@:2}"
}
last_loss() { tail -n 1 "$work/demo-$1/metrics.jsonl" | sed -E 's/.*"loss":([^,]*).*/\1/'; }
demo_on_gpu_and_cpu() {
  demo cpu --device cpu && demo fp32 --device cuda && demo bf16 --device cuda --dtype bf16 &&
    awk -v a="$(last_loss cpu)" -v b="$(last_loss fp32)" -v c="$(last_loss bf16)" 'BEGIN {
      printf "{\"loss_cpu\": %s, \"loss_fp32\": %s, \"loss_bf16\": %s}\n", a, b, c
      exit !(a > 0 && (a - b) ^ 2 < (0.02 * a) ^ 2 && (a - c) ^ 2 < (0.02 * a) ^ 2) }' >"$work/figures"
}
traced_run() {
  local out=$work/traced
  mkdir -p "$out" &&
    "$cuboid" pretrain --preset tiny-llama --device cuda --num-microbatches 4 --max-steps 10 --eval-steps 0 \
      --profile 8 --output-dir "$out" >"$work/said" && mv "$work/said" "$out/out" &&
    python3 test/app/trace_check.py "$out" 1 1 1 4 >"$work/checks" && grep -q '^ok' "$work/checks" && ! grep -v '^ok' "$work/checks"
}
# Functions of this shell, under the check's time limit.
export -f demo last_loss demo_on_gpu_and_cpu traced_run
export work=${work:-} cuboid
check "training/the demo agrees to 2 %" bash -c demo_on_gpu_and_cpu
check "training/trace and table of a run" bash -c traced_run

# ---- Memory errors and races, where NVIDIA's tool is installed (part of the CUDA Toolkit)
sanitizer=$(command -v compute-sanitizer || command -v "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer")
if [[ -n $sanitizer || -n $listing ]]; then
  for tool in memcheck racecheck synccheck initcheck; do
    check "sanitizer/kernels, $tool" "$sanitizer" --tool "$tool" --error-exitcode 9 "$tests/kernels/gpu_test"
  done
  check "sanitizer/a short run, memcheck" "$sanitizer" --tool memcheck --error-exitcode 9 \
    "$cuboid" pretrain --preset tiny-gpt2 --dtype bf16 --device cuda --max-steps 3 --eval-steps 0 --output-dir "$work/checked"
else
  for name in "kernels, memcheck" "kernels, racecheck" "kernels, synccheck" "kernels, initcheck" "a short run, memcheck"; do
    skip "sanitizer/$name" "compute-sanitizer is not installed (it is part of the CUDA Toolkit)"
  done
fi

# ---- Speed
limit=${LIMIT:-590}
measured() { # PROGRAM: its rows are the check's figures
  "$build/bench/${1}_bench" --device=cuda "--benchmark_out=$work/bench.json" &&
    python3 test/gpu/figures.py bench "$work/bench.json" >"$work/figures"
}
export -f measured
export build
for program in machine model optimizer collective pipeline; do
  check "bench/$program" bash -c "measured $program"
done

# Random ids in nanoGPT's format, as many as the largest of these runs reads.
random_tokens() {
  [[ -s $work/tokens/val.bin ]] || python3 test/gpu/figures.py tokens "$work/tokens" 50257 $((3 << 20))
}
trained() { # SIZE SEQUENCES OPTION...
  local out=$scratch/trained-$1
  random_tokens && "$cuboid" pretrain --preset "$1" --dtype bf16 --device cuda --micro-batch-size "$2" --num-microbatches 4 "${@:3}" \
    --max-steps "$MFU_STEPS" --log-interval 1 --eval-steps 0 --data-dir "$work/tokens" --output-dir "$out" &&
    python3 test/gpu/figures.py speed "$out/metrics.jsonl" >"$work/figures"
  local rc=$?
  rm -rf "$out"
  return "$rc"
}
compared() { # SIZE
  "$compare" --device cuda --shapes "gpt2-$1" --dtypes bf16 --rounds 1 --output "$work/peers.json" &&
    python3 test/gpu/figures.py peers "$work/peers.json" >"$work/figures"
}
export -f random_tokens trained compared
export scratch=${scratch:-}
export compare MFU_STEPS
for size in "${sizes[@]}"; do
  check "mfu/$size" bash -c "trained $size ${sequences[$size]}"
done
# What replaying steps is worth, and each attention kernel, where launches count most.
check "mfu/124m, replayed" bash -c "trained 124m ${sequences[124m]} --cuda-graph true"
check "mfu/124m, not replayed" bash -c "trained 124m ${sequences[124m]} --cuda-graph false"
for kernel in flash cudnn; do
  check "mfu/124m, $kernel attention" bash -c "trained 124m ${sequences[124m]} --attention-kernel $kernel"
done
for size in "${sizes[@]}"; do
  check "peer/$size" bash -c "compared $size"
done
