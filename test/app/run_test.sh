# timeout: 600
# What a run prints, writes and resumes.
# shellcheck shell=bash source=test/app/lib.sh disable=SC2034,SC2015
source test/app/lib.sh
LIMIT=120
base=(--preset tiny-gpt2 --device cpu --data-dir README.md --max-steps 6 --eval-steps 2 --log-interval 2)

# ---- Printed lines and metrics
run 1 pretrain "${base[@]}" --output-dir "$work/a" --save-interval 3 --eval-interval 3
((rc == 0)) && ok || fail "a run" "exit $rc" "$(tail -n 5 "$work/err")"
line='^Step 2 \| Loss: [0-9]+\.[0-9]{4} \| LR: [0-9.]+e-[0-9]+ \| Throughput: [0-9.]+ samples/s \| Tokens/s: [0-9,]+ \| Grad norm: [0-9.]+ \| Step: [0-9.]+ ms \| MFU: [0-9.]+%'
grep -qE "$line" "$work/out" && ok || fail "log line" "$(grep ^Step "$work/out")"
(($(wc -l <"$work/a/metrics.jsonl") == 6)) && ok || fail "one object a step" "$(cat "$work/a/metrics.jsonl")"
keys='"step":6,"loss":[0-9.e-]+,"grad_norm":[0-9.e-]+,"learning_rate":[0-9.e-]+,"tokens":[0-9]+,"samples_per_second":[0-9.e+]+,"tokens_per_second":[0-9.e+]+,"step_ms":[0-9.e+]+,"mfu":[0-9.e-]+,"mfu_convention":"llmc","sample_digest":"[0-9a-f]{16}","validation_loss":[0-9.]+'
grep -qE "$keys" "$work/a/metrics.jsonl" && ok || fail "keys" "$(tail -n 1 "$work/a/metrics.jsonl")"
[[ -f $work/a/checkpoint-3.h5 && -f $work/a/checkpoint-6.h5 ]] && ok || fail "checkpoints" "$(ls "$work/a")"

# ---- Resume on the same grid: bit for bit, on one rank and on a grid
same_after_resume() { # NAME RANKS ARGS...
  local name=$1 ranks=$2 step
  shift 2
  run "$ranks" pretrain "${base[@]}" "$@" --save-interval 3 --output-dir "$work/straight"
  run "$ranks" pretrain "${base[@]}" "$@" --output-dir "$work/resumed" --resume "$work/straight/checkpoint-3.h5"
  if ((rc != 0)); then
    fail "$name" "exit $rc" "$(tail -n 5 "$work/err")"
  else
    for step in 4 5 6; do
      for key in loss grad_norm learning_rate sample_digest tokens; do
        if [[ $(metric "$work/straight/metrics.jsonl" $step $key) == "$(metric "$work/resumed/metrics.jsonl" $step $key)" ]]; then
          ok
        else
          fail "$name: $key of step $step" "$(metric "$work/straight/metrics.jsonl" $step $key)" "$(metric "$work/resumed/metrics.jsonl" $step $key)"
        fi
      done
    done
    h5diff "$work/straight/checkpoint-6.h5" "$work/resumed/checkpoint-6.h5" /parameters /parameters && ok || fail "$name: weights differ"
    h5diff "$work/straight/checkpoint-6.h5" "$work/resumed/checkpoint-6.h5" /optimizer /optimizer && ok || fail "$name: moments differ"
  fi
  rm -rf "$work/straight" "$work/resumed"
}
same_after_resume "resume on one rank" 1 --micro-batch-size 2 --num-microbatches 2
same_after_resume "resume in bf16" 1 --micro-batch-size 2 --dtype bf16
same_after_resume "resume with dropout" 1 --micro-batch-size 2 --dropout 0.1
same_after_resume "resume on 2x2x1" 4 --tensor-parallel-size 2 --micro-batch-size 2
same_after_resume "resume on 1x1x2" 2 --pipeline-parallel-size 2 --micro-batch-size 2 --num-microbatches 4

# ---- The same samples and losses on another grid
run 1 pretrain "${base[@]}" --output-dir "$work/one" --micro-batch-size 4 --num-microbatches 2
run 4 pretrain "${base[@]}" --output-dir "$work/four" --micro-batch-size 2 --global-batch-size 8 --tensor-parallel-size 2
for step in 1 6; do
  [[ $(metric "$work/one/metrics.jsonl" $step sample_digest) == "$(metric "$work/four/metrics.jsonl" $step sample_digest)" ]] && ok || fail "samples of step $step"
  awk -v a="$(metric "$work/one/metrics.jsonl" $step loss)" -v b="$(metric "$work/four/metrics.jsonl" $step loss)" \
    'BEGIN { exit !((a - b) ^ 2 < (1e-5 * a) ^ 2) }' && ok || fail "losses of step $step"
done
awk -v a="$(metric "$work/one/metrics.jsonl" 6 validation_loss)" -v b="$(metric "$work/four/metrics.jsonl" 6 validation_loss)" \
  'BEGIN { exit !(a > 0 && (a - b) ^ 2 < (1e-5 * a) ^ 2) }' && ok || fail "validation losses"

# ---- An earlier run is set aside, not overwritten
run 1 pretrain "${base[@]}" --output-dir "$work/a"
[[ -f $work/a/run-1/checkpoint-3.h5 && -f $work/a/run-1/metrics.jsonl && -f $work/a/checkpoint-6.h5 ]] && ok || fail "earlier run" "$(ls -R "$work/a")"

# ---- bf16 learns what fp32 learns, roughly
run 1 pretrain "${base[@]}" --output-dir "$work/bf16" --micro-batch-size 4 --num-microbatches 2 --dtype bf16
awk -v a="$(metric "$work/one/metrics.jsonl" 6 loss)" -v b="$(metric "$work/bf16/metrics.jsonl" 6 loss)" \
  'BEGIN { exit !((a - b) ^ 2 < 0.03 ^ 2) }' && ok || fail "bf16" "$(metric "$work/one/metrics.jsonl" 6 loss) $(metric "$work/bf16/metrics.jsonl" 6 loss)"

# ---- Dry run, printed configuration, help
run 2 pretrain "${base[@]}" --output-dir "$work/dry" --dry-run --tensor-parallel-size 2
{ ((rc == 0)) && grep -q '^Dry run' "$work/out" && [[ ! -e $work/dry/metrics.jsonl ]]; } && ok || fail "dry run" "$(cat "$work/err")"
run 1 pretrain "${base[@]}" --print-config
cp "$work/out" "$work/run.conf"
run 1 pretrain --config "$work/run.conf" --print-config
cmp -s "$work/out" "$work/run.conf" && ok || fail "printed configuration reads back"
run 1 pretrain --help
{ ((rc == 0)) && grep -q -- '--pipeline-parallel-size' "$work/out"; } && ok || fail "help"
run 2 presets
(($(grep -c '^124m' "$work/out") == 1)) && ok || fail "presets are printed once"

# ---- A rank that dies ends the job, and is named
timeout -k 5 60 mpirun -np 4 "$program" pretrain --preset tiny-gpt2 --device cpu --data-dir README.md --output-dir "$work/dies" --max-steps 100000 \
  --tensor-parallel-size 2 >"$work/out" 2>"$work/err" </dev/null &
job=$!
for _ in $(seq 100); do grep -q '^Step' "$work/out" && break; sleep 0.2; done
victim=$(pgrep -f "$work/dies" | while read -r pid; do tr '\0' '\n' <"/proc/$pid/environ" | grep -qx OMPI_COMM_WORLD_RANK=2 && echo "$pid"; done | head -n 1)
kill -SEGV "$victim"
wait $job
rc=$?
{ ((rc != 0 && rc != 124)) && grep -q 'rank 2 (dp 1, tp 0, pp 0) died of SIGSEGV' "$work/err"; } && ok || fail "dying rank" "exit $rc" "$(head -n 5 "$work/err")"

# ---- Another batch size goes on where the samples stopped; another seed is refused
run 1 pretrain "${base[@]}" --output-dir "$work/small" --micro-batch-size 4 --save-interval 3
run 1 pretrain "${base[@]}" --output-dir "$work/large" --micro-batch-size 8 --resume "$work/small/checkpoint-3.h5"
[[ $(metric "$work/large/metrics.jsonl" 4 tokens) == $(((3 * 4 + 8) * 32)) ]] && ok || fail "consumed samples" "$(head -n 1 "$work/large/metrics.jsonl")"
expect_error "another seed" 2 "--seed 5" -- "${base[@]}" --output-dir "$work/seed" --micro-batch-size 2 --seed 5 --resume "$work/small/checkpoint-3.h5"

# ---- A rank that throws alone ends the job, and is named: only rank 0 writes metrics
mkdir -p "$work/throws/metrics.jsonl"
run 4 pretrain "${base[@]}" --output-dir "$work/throws" --tensor-parallel-size 2 --micro-batch-size 2
{ ((rc == 1)) && grep -q 'rank 0 (dp 0, tp 0, pp 0) failed' "$work/err" && grep -q "$work/throws/metrics.jsonl" "$work/err"; } && ok ||
  fail "throwing rank" "exit $rc" "$(head -n 5 "$work/err")"

# ---- A checkpoint cut in half is refused and named
head -c 500000 "$work/a/checkpoint-6.h5" >"$work/half.h5"
run 2 pretrain "${base[@]}" --output-dir "$work/half" --micro-batch-size 2 --resume "$work/half.h5"
{ ((rc == 2)) && grep -q "$work/half.h5" "$work/err"; } && ok || fail "half a checkpoint" "exit $rc" "$(head -n 5 "$work/err")"
finish
