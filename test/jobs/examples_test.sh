#!/usr/bin/env bash
# timeout: 400
# Every example of jobs/examples.sh runs and keeps its claim; one whose claim does not hold says so.
# shellcheck source=test/app/lib.sh disable=SC2015
source test/app/lib.sh
export OUTPUT_DIR="$work/ex amples" CUBOID=$PWD/$program BIND=none
count=$(jobs/examples.sh --list | wc -l)
((count >= 9)) && ok || fail "the list" "$(jobs/examples.sh --list)"
for number in $(seq "$count"); do
  jobs/examples.sh --run "$number" >"$work/out" 2>"$work/err" </dev/null && grep -q '^Check: .*: OK$' "$work/out" && ok ||
    fail "example $number" "$(tail -n 5 "$work/out" "$work/err")"
done
jobs/examples.sh --dry-run 3 >"$work/out"
grep -q '^NPROC_PER_NODE=2 TP_SIZE=2 .*launch_pretrain.sh --output-dir' "$work/out" && (($(wc -l <"$work/out") <= 5)) && ok || fail "a dry run" "$(cat "$work/out")"
# A loss that is not that of example 1.
sed -i -E 's/("step":20,"loss":)[0-9]/\19/' "$OUTPUT_DIR/one/metrics.jsonl"
jobs/examples.sh --run 2 >"$work/out" 2>/dev/null
rc=$?
((rc == 1)) && grep -q '^Check: .*: NOT OK$' "$work/out" && ok || fail "a claim that does not hold" "exit $rc"
for bad in 0 10 x; do
  jobs/examples.sh --run "$bad" >"$work/out" 2>"$work/err"
  rc=$?
  ((rc == 2)) && grep -q "'$bad' is no example; legal: 1 to $count" "$work/err" && ok || fail "example $bad" "exit $rc" "$(cat "$work/err")"
done
finish
