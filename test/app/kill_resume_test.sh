# timeout: 400
# 40 steps straight are 20 steps, kill -9, and the rest: bit for bit, on five grids. All ranks are killed
# while rank 0 writes the metrics of step 27; step 20 was saved.
# shellcheck shell=bash source=test/app/lib.sh disable=SC2034,SC2015
source test/app/lib.sh
LIMIT=120
shim=$PWD/build/${MODE:-release}/test/faults/libfaultshim.so
[[ -f $shim ]] || { fail "the shim" "$shim is not built: make test does"; finish; exit; }
base=(--preset tiny-gpt2 --device cpu --data-dir README.md --max-steps 40 --save-interval 20 --eval-steps 2 --eval-interval 10
  --num-threads 1 --micro-batch-size 1 --num-microbatches 2 --dropout 0.1 --peak-tflops 1)

check_grid() { # DP TP PP
  local ranks=$(($1 * $2 * $3)) name="$1x$2x$3" key
  local grid=(--tensor-parallel-size "$2" --pipeline-parallel-size "$3")
  run "$ranks" pretrain "${base[@]}" "${grid[@]}" --output-dir "$work/straight"
  ((rc == 0)) || { fail "$name: straight" "exit $rc" "$(tail -n 5 "$work/err")"; return; }
  FAULT_PATH=$work/broken/metrics.jsonl FAULT_CALL=write FAULT_NTH=27 FAULT_RANK=0 FAULT_KIND=kill-all \
    LD_PRELOAD_FOR_RANKS=$shim run_shimmed "$ranks" pretrain "${base[@]}" "${grid[@]}" --output-dir "$work/broken"
  { ((rc != 0 && rc != 124)) && [[ -f $work/broken/checkpoint-20.h5 && ! -f $work/broken/checkpoint-40.h5 ]] &&
    (($(grep -c . "$work/broken/metrics.jsonl") >= 26)); } && ok || fail "$name: killed" "exit $rc" "$(ls "$work/broken")"
  run "$ranks" pretrain "${base[@]}" "${grid[@]}" --output-dir "$work/broken" --resume auto
  { ((rc == 0)) && grep -q 'Resumed from .*checkpoint-20.h5 at step 20' "$work/out"; } && ok || fail "$name: resumed" "exit $rc" "$(tail -n 5 "$work/err")"
  for key in loss grad_norm learning_rate sample_digest tokens validation_loss; do
    if cmp -s <(column "$work/straight/metrics.jsonl" $key) <(column "$work/broken/metrics.jsonl" $key); then ok; else
      fail "$name: $key" "$(diff <(column "$work/straight/metrics.jsonl" $key) <(column "$work/broken/metrics.jsonl" $key) | head -n 4)"
    fi
  done
  (($(grep -c . "$work/broken/metrics.jsonl") == 40)) && ok || fail "$name: 40 lines of metrics"
  "$program" checkpoint diff "$work/straight/checkpoint-40.h5" "$work/broken/checkpoint-40.h5" >"$work/diff"
  grep -q 'bit-equal' "$work/diff" && ok || fail "$name: weights and moments" "$(tail -n 3 "$work/diff")"
  rm -rf "$work/straight" "$work/broken"
}

# column FILE KEY: step and value of each line that has the key.
column() { sed -nE "s/^\{\"step\":([0-9]+),(.*,)?\"$2\":(\"[^\"]*\"|[^,}]*).*/\1 \3/p" "$1"; }

# run with the shim preloaded into the ranks, not into mpirun.
run_shimmed() {
  local ranks=$1
  shift
  if ((ranks == 1)); then
    LD_PRELOAD=$LD_PRELOAD_FOR_RANKS timeout -k 5 "$LIMIT" "$program" "$@" >"$work/out" 2>"$work/err" </dev/null
  else
    timeout -k 5 "$LIMIT" mpirun -np "$ranks" -x LD_PRELOAD="$LD_PRELOAD_FOR_RANKS" "$program" "$@" >"$work/out" 2>"$work/err" </dev/null
  fi
  rc=$?
}

check_grid 1 1 1
check_grid 2 1 1
check_grid 1 2 1
check_grid 1 1 2
check_grid 2 2 2

# ---- A save that fails in the background, on one rank, ends all of them at a next step
FAULT_PATH=$work/async/checkpoint FAULT_CALL=fsync FAULT_NTH=2 FAULT_RANK=1 FAULT_KIND=EIO LD_PRELOAD_FOR_RANKS=$shim \
  run_shimmed 2 pretrain --preset tiny-gpt2 --device cpu --data-dir README.md --max-steps 100000 --save-interval 10 --save-async true --eval-steps 0 \
  --num-threads 1 --micro-batch-size 1 --tensor-parallel-size 2 --peak-tflops 1 --output-dir "$work/async"
{ ((rc == 1)) && (($(grep -c "cannot save checkpoint '$work/async/checkpoint-[0-9]*.h5': Input/output error" "$work/err") == 1)); } && ok ||
  fail "a failure in the background" "exit $rc" "$(head -n 5 "$work/err")"
saved=("$work"/async/checkpoint-*)
{ ((${#saved[@]} == 1)) && "$program" checkpoint verify "${saved[0]}" >"$work/out" 2>&1; } && ok || fail "the save before it" "$(ls "$work/async")" "$(cat "$work/out")"
finish
