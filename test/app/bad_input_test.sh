# timeout: 400
# Bad input gets one error on rank 0 that names the option or file, its value and what would be
# legal; exit 2, on any rank count, without a hang.
# shellcheck shell=bash source=test/app/lib.sh disable=SC2034,SC2015
source test/app/lib.sh
LIMIT=30
tiny=(--preset tiny-gpt2 --max-steps 1 --output-dir "$work/o")

# ---- Options
expect_error "unknown option" 1 "--hidden-siz" "--hidden-size" -- --hidden-siz 64
expect_error "not a number" 1 "--num-layers" "abc" -- --num-layers abc
expect_error "out of range" 1 "--num-layers" "0" -- --num-layers 0
expect_error "not finite" 1 "--learning-rate" "nan" -- --learning-rate nan
expect_error "unknown value" 1 "--pipeline-schedule" "zigzag" "1f1b" -- --pipeline-schedule zigzag
expect_error "unknown preset" 1 "--preset" "tiny-gpt3" "tiny-gpt2" -- --preset tiny-gpt3
expect_error "all problems at once" 1 "--num-layers" "--seq-lenght" "--adam-beta1" -- \
  --num-layers 0 --seq-lenght 5 --adam-beta1 1.5

# ---- Model and grid, on one rank and on several
expect_error "heads and TP" 2 "--num-attention-heads 3" -- "${tiny[@]}" --hidden-size 48 --num-attention-heads 3 --tensor-parallel-size 2
expect_error "kv heads and TP" 2 "--num-key-value-heads 1" -- "${tiny[@]}" --num-key-value-heads 1 --tensor-parallel-size 2
expect_error "world size" 3 "--tensor-parallel-size 2" -- "${tiny[@]}" --tensor-parallel-size 2
expect_error "more ranks wanted" 1 "--pipeline-parallel-size 2" -- "${tiny[@]}" --pipeline-parallel-size 2
expect_error "more stages than layers" 4 "--pipeline-parallel-size 4" -- "${tiny[@]}" --num-layers 2 --pipeline-parallel-size 4
expect_error "contradicting batches" 2 "--global-batch-size 7" -- "${tiny[@]}" --micro-batch-size 2 --global-batch-size 7
expect_error "an attention kernel on a CPU" 1 "--attention-kernel flash does not work with --device cpu" -- "${tiny[@]}" --device cpu --attention-kernel flash
expect_error "a CUDA graph on a CPU" 1 "--cuda-graph true does not work with --device cpu" -- "${tiny[@]}" --device cpu --cuda-graph true
expect_error "nccl on a CPU" 1 "--comm-backend nccl" -- "${tiny[@]}" --device cpu --comm-backend nccl
if ! command -v nvidia-smi >/dev/null; then
  expect_error "no GPU" 2 "--device cuda" -- "${tiny[@]}" --device cuda
fi

# ---- Data
mkdir "$work/empty" "$work/binary"
: >"$work/nothing.txt"
printf 'short' >"$work/short.txt"
head -c 100000 /dev/zero | tr '\0' 'x' >"$work/long.txt"
head -c 20001 /dev/zero >"$work/odd.bin"
printf '\xff\xff%.0s' $(seq 20000) >"$work/ids.bin"
{ printf '\x01\x02\x03\x04'; head -c 30000 /dev/zero; } >"$work/binary/junk.dat"
# A header of llm.c with another count than the file's size.
{ printf '\xd8\x5c\x34\x01\x01\x00\x00\x00\x40\x42\x0f\x00'; head -c 3000 /dev/zero; } >"$work/count.bin"
expect_error "missing data" 2 "$work/none" -- "${tiny[@]}" --data-dir "$work/none"
expect_error "empty folder" 1 "$work/empty" -- "${tiny[@]}" --data-dir "$work/empty"
expect_error "empty file" 1 "$work/nothing.txt" -- "${tiny[@]}" --data-dir "$work/nothing.txt"
expect_error "too short" 4 "short.txt: is too short: 4 training tokens" -- "${tiny[@]}" --data-dir "$work/short.txt"
expect_error "odd size" 1 "$work/odd.bin" -- "${tiny[@]}" --data-dir "$work/odd.bin"
expect_error "token ids beyond the vocabulary" 2 "$work/ids.bin" "65535" -- "${tiny[@]}" --data-dir "$work/ids.bin" --vocab-size 50257
expect_error "folder without text" 1 "$work/binary" -- "${tiny[@]}" --data-dir "$work/binary"
expect_error "header against size" 1 "$work/count.bin" -- "${tiny[@]}" --data-dir "$work/count.bin"
# Root reads everything, so as root another user looks at the file.
chmod 000 "$work/long.txt"
((EUID == 0)) && as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
mkdir -m 777 "$work/open"
chmod 755 "$work"
expect_error "unreadable" 1 "$work/long.txt" -- --preset tiny-gpt2 --max-steps 1 --output-dir "$work/open" --data-dir "$work/long.txt"
mkdir -m 555 "$work/closed"
expect_error "a folder that may not be written" 1 "$work/closed" -- --preset tiny-gpt2 --max-steps 1 --output-dir "$work/closed"
as_user=()
chmod 600 "$work/long.txt"

# ---- Output and checkpoints
: >"$work/file"
expect_error "output below a file" 2 "$work/file/out" -- --preset tiny-gpt2 --max-steps 1 --output-dir "$work/file/out"
expect_error "no checkpoint" 2 "$work/gone.h5" -- "${tiny[@]}" --resume "$work/gone.h5"
expect_error "no HDF5" 1 "$work/long.txt" -- "${tiny[@]}" --resume "$work/long.txt"

# ---- Eight ranks, one message, soon
SECONDS=0
expect_error "eight ranks" 8 "--num-layers" -- --num-layers -3
((SECONDS <= 10)) && ok || fail "eight ranks end soon" "$SECONDS s"

# ---- The command itself
run 1 pretrian
{ ((rc == 2)) && grep -q "'pretrain'" "$work/err"; } && ok || fail "unknown command" "exit $rc" "$(cat "$work/err")"
# Without a run to check there is no rank to start and no folder to make.
expect_error "print-config" 1 "--num-layers -3: not legal" "unknown option '--bogus'" \
  -- --num-layers -3 --bogus 1 --print-config --output-dir "$work/not-made"
if [[ -e $work/not-made ]]; then fail "print-config" "it made the output folder"; else ok; fi

finish
