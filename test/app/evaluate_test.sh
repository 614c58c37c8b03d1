#!/usr/bin/env bash
# cuboid evaluate: the loss that the run itself reported, on every grid; another number on other data;
# every mistake named.
# timeout: 240
source test/app/lib.sh

expect() { # NAME WANTED GOT
  if [[ $2 == "$3" ]]; then ok; else fail "$1" "wanted: $2" "got:    $3" "$(head -n 5 "$work/err")"; fi
}
loss() { sed -nE 's/^Validation loss +([0-9.]+) nats a token$/\1/p' "$work/out"; }
# near NAME A B: equal to 1e-4, the printed digits and a last one that rounding may turn.
near() {
  if awk -v a="$2" -v b="$3" 'BEGIN { exit !(a != "" && b != "" && (a - b) ^ 2 <= 1.0001e-8) }'; then
    ok
  else
    fail "$1" "'$2' and '$3' differ" "$(tail -n 5 "$work/err")"
  fi
}

text=$work/text.txt other=$work/other.txt
cat README.md src/*/README.md >"$text"
cat Makefile src/app/*.cpp >"$other"
folder=$work/run
run 2 pretrain --preset tiny-llama --max-steps 12 --save-interval 6 --eval-steps 3 --eval-interval 6 \
  --data-dir "$text" --output-dir "$folder" --global-batch-size 8 --micro-batch-size 2
expect "the run" 0 "$rc"
wanted=$(metric "$folder/metrics.jsonl" 12 validation_loss)
before=$(metric "$folder/metrics.jsonl" 6 validation_loss)
cp "$folder/metrics.jsonl" "$work/metrics"

run 1 evaluate "$folder"
expect "evaluate a folder" 0 "$rc"
near "the newest checkpoint's loss" "$wanted" "$(loss)"
tokens=$(sed -nE 's/^Tokens +([0-9,]+)$/\1/p' "$work/out")
# tiny-llama's sequences have 32 tokens: 3 batches of 8.
expect "tokens" "768" "$tokens"
perplexity=$(sed -nE 's/^Perplexity +([0-9.]+)$/\1/p' "$work/out")
near "perplexity is e^loss" "$(awk -v l="$(loss)" 'BEGIN { printf "%.1f", exp(l) }')" \
  "$(printf '%.1f' "$perplexity")"
run 1 evaluate "$folder/checkpoint-6.h5"
near "an older file's loss" "$before" "$(loss)"
for grid in "2 --tensor-parallel-size 2" "2 --pipeline-parallel-size 2" "2 --micro-batch-size 4" \
  "4 --tensor-parallel-size 2 --pipeline-parallel-size 2" "4 --data-parallel-size 4"; do
  # shellcheck disable=SC2086  # words
  run ${grid%% *} evaluate ${grid#* } "$folder"
  near "on $grid" "$wanted" "$(loss)"
done
expect "nothing of the run changed" "" "$(cmp "$folder/metrics.jsonl" "$work/metrics" 2>&1)"
expect "no new checkpoint" "2" "$(find "$folder" -name '*.h5' | wc -l)"

run 1 evaluate --data-dir "$other" --eval-steps=1 "$folder"
expect "other data" 0 "$rc"
if [[ $(loss) != "$wanted" ]]; then ok; else fail "other data" "the same loss"; fi
run 1 evaluate --dry-run "$folder"
expect "dry run" "0 " "$rc $(loss)"

# --- mistakes ----------------------------------------------------------------------------------
mistake() { # NAME RANKS TEXT ARGS...
  local name=$1 ranks=$2 text=$3
  shift 3
  run "$ranks" evaluate "$@"
  if ((rc == 2)) && (($(grep -cF -- "$text" "$work/err") == 1)); then
    ok
  else
    fail "$name" "exit $rc, wanted 2 and once: $text" "$(head -n 5 "$work/err")"
  fi
}
mistake "no file" 1 "wants one FILE or FOLDER; it was given 0"
mistake "two files" 2 "wants one FILE or FOLDER; it was given 2" a b
mistake "missing file" 2 "'$work/none.h5': No such file" "$work/none.h5"
mkdir "$work/empty"
mistake "empty folder" 1 "holds no checkpoints" "$work/empty"
mistake "not a checkpoint" 2 "$text" "$text"
mistake "an option of training" 1 "does not take --learning-rate" --learning-rate 1 "$folder"
mistake "an option of the model" 2 "does not take --num-layers: the checkpoint has it" --num-layers 2 "$folder"
mistake "a preset" 1 "does not take --preset" --preset tiny-gpt2 "$folder"
echo "seed = 3" >"$work/run.conf"
mistake "a file of options" 1 "does not take --config" --config "$work/run.conf" "$folder"
mistake "unknown option" 1 "unknown option '--eval-step': did you mean '--eval-steps'?" --eval-step 2 "$folder"
mistake "nothing to evaluate" 1 "--eval-steps 0" --eval-steps 0 "$folder"
mistake "a grid that does not fit" 2 "does not divide the world of 2 ranks" --tensor-parallel-size 3 "$folder"
cp "$folder/checkpoint-12.h5" "$work/damaged.h5"
# Optimizer state comes first in the file, the weights last.
printf 'XXXX' | dd of="$work/damaged.h5" bs=1 seek=$(($(stat -c %s "$work/damaged.h5") * 5 / 6)) conv=notrunc status=none
mistake "a damaged file" 2 "is damaged" "$work/damaged.h5"

finish
