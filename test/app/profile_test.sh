#!/usr/bin/env bash
# Where the time went: the table at a run's end, step_times.json, and --profile's trace, each checked
# against the others and against the wall clock of metrics.jsonl.
# timeout: 300
# alone: it compares the clocks of ranks
source test/app/lib.sh

expect() { # NAME WANTED GOT
  if [[ $2 == "$3" ]]; then ok; else fail "$1" "wanted: $2" "got:    $3" "$(head -n 5 "$work/err")"; fi
}
# check NAME RUN-FOLDER MODE: what test/app/trace_check.py finds; one line a check.
check() {
  local line
  while IFS= read -r line; do
    if [[ $line == ok* ]]; then ok; else fail "$1" "$line"; fi
  done < <(python3 test/app/trace_check.py "${@:2}" 2>&1 || echo "trace_check.py ended with $?")
}

text=$work/text.txt
cat README.md src/*/README.md >"$text"
common=(--hidden-size 64 --num-layers 4 --num-attention-heads 4 --seq-length 32 --micro-batch-size 2
  --eval-steps 0 --data-dir "$text")

# One rank, and every axis at once. Steps 3 to 10 are traced and are those that the table counts.
for grid in "1 1x1x1" "2 2x1x1" "2 1x2x1" "2 1x1x2" "8 2x2x2"; do
  read -r ranks shape <<<"$grid"
  IFS=x read -r dp tp pp <<<"$shape"
  folder=$work/$shape
  run "$ranks" pretrain "${common[@]}" --data-parallel-size "$dp" --tensor-parallel-size "$tp" \
    --pipeline-parallel-size "$pp" --num-microbatches 4 --max-steps 10 --profile 8 --output-dir "$folder"
  expect "$shape ends well" 0 "$rc"
  expect "$shape names the trace" 1 "$(grep -c "^Traced to $folder/trace-steps-3-10.json" "$work/out")"
  expect "$shape prints the table" 1 "$(grep -c '^Time of a step, mean of 8 steps from step 3 on$' "$work/out")"
  cp "$work/out" "$folder/out"
  check "$shape" "$folder" "$dp" "$tp" "$pp" 4
done

# Without --profile: the table, and no trace.
run 1 pretrain "${common[@]}" --max-steps 2 --output-dir "$work/plain"
expect "two steps are counted" 1 "$(grep -c '^Time of a step, mean of 2 steps from step 1 on$' "$work/out")"
expect "no trace" "" "$(find "$work/plain" -name 'trace*')"

# A range; a run that goes on keeps to it; one that is past it says so.
run 1 pretrain "${common[@]}" --max-steps 6 --profile 2-4 --output-dir "$work/range"
expect "a range of steps" trace-steps-2-4.json "$(cd "$work/range" && ls trace*)"
run 1 pretrain "${common[@]}" --max-steps 8 --profile 5-20 --output-dir "$work/range" --resume auto
expect "what is left of a range" "trace-steps-2-4.json trace-steps-7-8.json" "$(cd "$work/range" && echo trace*)"
run 1 pretrain "${common[@]}" --max-steps 9 --profile 2-4 --output-dir "$work/range" --resume auto
expect "past the range: a warning" 1 "$(grep -c 'warning: --profile: the run goes on from step 8' "$work/out")"
expect "past the range: it trains" 0 "$rc"
run 1 pretrain "${common[@]}" --max-steps 3 --profile 3 --output-dir "$work/short"
expect "a run too short to warm up" trace-steps-1-3.json "$(cd "$work/short" && echo trace*)"
# A new run in the folder overwrites nothing.
run 1 pretrain "${common[@]}" --max-steps 3 --profile 3 --output-dir "$work/short"
expect "an earlier trace is kept" "checkpoint-3.h5 metrics.jsonl step_times.json trace-steps-1-3.json" \
  "$(cd "$work/short/run-1" && echo *)"

# What cannot be written is said, and the run is not lost.
mkdir -p "$work/blocked/trace-steps-1-2.json.partial" "$work/blocked/step_times.json.partial"
run 2 pretrain "${common[@]}" --max-steps 2 --profile 2 --output-dir "$work/blocked"
expect "a trace that cannot be written" 0 "$rc"
expect "it is said" 2 "$(grep -c "warning: .*cannot write '$work/blocked/.*partial'" "$work/out")"
expect "the run is saved" 1 "$(find "$work/blocked" -name checkpoint-2.h5 | wc -l)"

legal="legal: none, a number of steps from 1 to 10000, or FIRST-LAST with as many steps at most"
for bad in 0 -3 10001 5-3 0-3 3- x 1-20000; do
  for ranks in 1 2; do
    expect_error "--profile $bad on $ranks" "$ranks" "--profile $bad: not legal" "$legal" -- --profile="$bad"
  done
done
expect_error "beyond the run" 2 "--profile 11-12 begins after --max-steps 10" -- \
  --max-steps 10 --profile 11-12 --data-dir "$text"
finish
