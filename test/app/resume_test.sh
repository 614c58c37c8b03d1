# timeout: 400
# Which checkpoint a run goes on from, what it refuses, and what it leaves in the output folder.
# shellcheck shell=bash source=test/app/lib.sh disable=SC2034,SC2015
source test/app/lib.sh
LIMIT=120
base=(--preset tiny-gpt2 --device cpu --data-dir README.md --eval-steps 0 --num-threads 1 --micro-batch-size 2 --peak-tflops 1)

# flip FILE: one bit of the largest tensor, which HDF5 would not notice.
flip() {
  local at byte
  at=$(sed -nE 's/^tensor_bytes ([0-9]+) [0-9]+$/\1/p' <(tail -c 4000 "$1" | strings) | tail -n 1)
  at=$((at + 77))
  byte=$(od -An -tu1 -j "$at" -N 1 "$1")
  printf '%b' "\\x$(printf %x $((byte ^ 4)))" | dd of="$1" bs=1 seek="$at" conv=notrunc status=none
}
same() { # FILE FILE: weights and moments
  "$program" checkpoint diff "$1" "$2" >"$work/diff" 2>&1 || grep -q 'bit-equal' "$work/diff"
}

# ---- auto: the newest, or the beginning
run 1 pretrain "${base[@]}" --max-steps 6 --output-dir "$work/straight" --save-interval 2
run 1 pretrain "${base[@]}" --output-dir "$work/auto" --save-interval 2 --max-steps 4 --lr-schedule constant --resume auto
{ ((rc == 0)) && grep -q 'no checkpoint in' "$work/out"; } && ok || fail "auto, from the beginning" "$(tail -n 3 "$work/err")"
cp -r "$work/straight" "$work/auto2"
rm "$work/auto2/checkpoint-6.h5"
run 1 pretrain "${base[@]}" --max-steps 6 --output-dir "$work/auto2" --save-interval 2 --resume auto
{ ((rc == 0)) && grep -q "Resumed from $work/auto2/checkpoint-4.h5 at step 4" "$work/out"; } && ok || fail "auto, newest" "$(tail -n 3 "$work/err")"
same "$work/straight/checkpoint-6.h5" "$work/auto2/checkpoint-6.h5" && ok || fail "auto, the same weights" "$(cat "$work/diff")"

# ---- auto passes over damage, of the structure and of a tensor, and says why
for kind in structure tensor; do
  rm -rf "$work/damaged"
  cp -r "$work/straight" "$work/damaged"
  if [[ $kind == tensor ]]; then flip "$work/damaged/checkpoint-6.h5"; else truncate -s -1 "$work/damaged/checkpoint-6.h5"; fi
  cp "$work/damaged/checkpoint-6.h5" "$work/evidence.h5"
  run 2 pretrain "${base[@]}" --max-steps 6 --output-dir "$work/damaged" --resume auto --tensor-parallel-size 2
  { ((rc == 0)) && grep -q "Passed over: checkpoint '$work/damaged/checkpoint-6.h5'" "$work/out" &&
    grep -q "Resumed from $work/damaged/checkpoint-4.h5" "$work/out"; } && ok || fail "auto over a damaged $kind" "exit $rc" "$(tail -n 5 "$work/out" "$work/err")"
  cmp -s "$work/evidence.h5" "$work/damaged/run-1/checkpoint-6.h5" && ok || fail "the damaged file stays" "$(ls -R "$work/damaged")"
done
rm -rf "$work/damaged" && mkdir "$work/damaged"
cp "$work/straight/checkpoint-6.h5" "$work/damaged"
flip "$work/damaged/checkpoint-6.h5"
expect_error "auto, all damaged" 2 "--resume none to start anew" -- "${base[@]}" --max-steps 6 --output-dir "$work/damaged" --resume auto --data-parallel-size 2
[[ -f $work/damaged/checkpoint-6.h5 && ! -e $work/damaged/cuboid.lock ]] && ok || fail "all damaged: nothing is moved, no lock stays" "$(ls "$work/damaged")"
expect_error "a damaged file" 2 "is damaged" -- "${base[@]}" --max-steps 6 --output-dir "$work/other" --resume "$work/damaged/checkpoint-6.h5" --data-parallel-size 2

# ---- Going on from an earlier step keeps the later files
run 1 pretrain "${base[@]}" --output-dir "$work/straight" --save-interval 2 --max-steps 5 --resume "$work/straight/checkpoint-2.h5"
{ ((rc == 0)) && [[ -f $work/straight/run-1/checkpoint-6.h5 && -f $work/straight/run-1/checkpoint-4.h5 && -f $work/straight/checkpoint-4.h5 &&
  -f $work/straight/checkpoint-2.h5 && ! -e $work/straight/checkpoint-6.h5 && ! -e $work/straight/cuboid.lock ]]; } && ok || fail "later files" "$(ls -R "$work/straight")"
# A fork from another folder sets that folder's own run aside.
run 1 pretrain "${base[@]}" --max-steps 6 --output-dir "$work/auto" --resume "$work/straight/checkpoint-4.h5"
[[ -f $work/auto/run-1/checkpoint-2.h5 && -f $work/auto/checkpoint-6.h5 ]] && ok || fail "a fork" "$(ls -R "$work/auto")"

# ---- Contradictions are named, all at once, with other mistakes
expect_error "contradictions" 2 "--hidden-size 32 contradicts" "--num-layers 2 contradicts" "--seed 9 contradicts" "--tie-embeddings false contradicts" \
  "--max-steps 3 is below step 4" -- "${base[@]}" --output-dir "$work/new" --resume "$work/straight/checkpoint-4.h5" --hidden-size 32 --num-layers 2 --seed 9 --tie-embeddings false --max-steps 3 --data-parallel-size 2
expect_error "a missing file" 1 "$work/none.h5" -- "${base[@]}" --max-steps 6 --output-dir "$work/new" --resume "$work/none.h5"
expect_error "no checkpoint" 1 "README.md" -- "${base[@]}" --max-steps 6 --output-dir "$work/new" --resume README.md
run 1 pretrain "${base[@]/README.md/LICENSE}" --max-steps 6 --output-dir "$work/new" --resume "$work/straight/checkpoint-4.h5" --learning-rate 1e-4
{ ((rc == 0)) && grep -q 'Changed since then: .*learning-rate .* -> 1e-04' "$work/out" && grep -q 'warning: the data are not those' "$work/out"; } && ok ||
  fail "changes" "exit $rc" "$(tail -n 3 "$work/err")"
run 1 pretrain "${base[@]}" --max-steps 6 --output-dir "$work/new" --resume auto --dry-run
{ ((rc == 0)) && grep -q "It would go on from $work/new/checkpoint-6.h5" "$work/out" && [[ ! -e $work/new/cuboid.lock ]]; } && ok || fail "dry run"

# ---- In the background: the same files; retention
run 2 pretrain "${base[@]}" --max-steps 6 --output-dir "$work/sync" --save-interval 1 --tensor-parallel-size 2
run 2 pretrain "${base[@]}" --max-steps 6 --output-dir "$work/async" --save-interval 1 --tensor-parallel-size 2 --save-async true --keep-last 2 --keep-every 3
[[ $(cd "$work/async" && ls -d checkpoint-*) == $'checkpoint-3.h5\ncheckpoint-5.h5\ncheckpoint-6.h5' ]] && ok || fail "retention" "$(ls "$work/async")"
for step in 3 5 6; do
  same "$work/sync/checkpoint-$step.h5" "$work/async/checkpoint-$step.h5" && ok || fail "in the background, step $step" "$(cat "$work/diff")"
done
grep -q 'in the background (training waited' "$work/out" && ok || fail "says what it waited"
# Saves that the next step's follow at once are all reported, with what they removed.
[[ $(sed -nE 's/^Saved .*checkpoint-([0-9]+)\.h5 in .*/\1/p' "$work/out" | paste -sd' ') == '1 2 3 4 5 6' &&
  $(sed -nE 's/.*; removed that of step //p' "$work/out" | paste -sd' ') == '1 2 4' ]] && ok || fail "says every save" "$(grep Saved "$work/out")"

# ---- The batch system's clock
export SLURM_JOB_END_TIME=soon
expect_error "SLURM_JOB_END_TIME" 2 "SLURM_JOB_END_TIME='soon'" -- "${base[@]}" --max-steps 6 --output-dir "$work/time" --data-parallel-size 2
SLURM_JOB_END_TIME=$(($(date +%s) + 9))
run 2 pretrain "${base[@]}" --output-dir "$work/time" --data-parallel-size 2 --max-steps 1000000
{ ((rc == 75)) && grep -q 'Stopping after step [0-9]* for the time limit' "$work/out" && (($(find "$work/time" -name 'checkpoint-*' | wc -l) == 1)); } && ok ||
  fail "the end of the job" "exit $rc" "$(tail -n 12 "$work/out")"
unset SLURM_JOB_END_TIME
run 1 pretrain "${base[@]}" --output-dir "$work/time2" --max-steps 1000000 --time-limit 0:01
{ ((rc == 75)) && [[ -f $work/time2/checkpoint-0.h5 ]]; } && ok || fail "a limit that has passed" "exit $rc" "$(tail -n 12 "$work/out")"
finish
