# timeout: 300
# A rank holds its slices and nothing more: on a model whose weights dominate, one rank of 1x2x2
# peaks below 40 % of the one rank of 1x1x1. A quarter would be ideal; the rest is what every process
# needs before it has a single weight.
# shellcheck shell=bash source=test/app/lib.sh disable=SC2034,SC2015
source test/app/lib.sh
LIMIT=140
model=(--hidden-size 1024 --num-layers 8 --seq-length 16 --micro-batch-size 1 --num-microbatches 2
  --max-steps 1 --eval-steps 0 --device cpu --data-dir README.md --num-threads 1)

# MiB of the largest rank, from the summary ("1.8 GiB resident on the largest rank, what it shares included").
peak() {
  sed -nE 's/^ *Peak memory +([0-9.]+) ([MG])iB.*/\1 \2/p' "$work/out" | awk '{ print $1 * ($2 == "G" ? 1024 : 1) }'
}
run 1 pretrain "${model[@]}" --output-dir "$work/one"
one=$(peak)
rm -rf "$work/one"
run 4 pretrain "${model[@]}" --tensor-parallel-size 2 --pipeline-parallel-size 2 --output-dir "$work/four"
four=$(peak)
echo "one rank of 1x1x1: $one MiB; largest rank of 1x2x2: $four MiB"
awk -v a="$one" -v b="$four" 'BEGIN { exit !(a > 1000 && b > 0 && b < 0.4 * a) }' && ok ||
  fail "memory" "$one MiB on one rank, $four MiB on the largest of four" "$(tail -n 5 "$work/err")"
grep -q 'Peak memory .* on the largest rank, what it shares included$' "$work/out" && ok || fail "says what counts" "$(grep 'Peak' "$work/out")"
finish
