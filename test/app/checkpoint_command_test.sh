#!/usr/bin/env bash
# timeout: 240
# cuboid checkpoint: what each command prints, how it ends, and that pruning never removes what a
# damaged file was meant to replace.
# shellcheck source=test/app/lib.sh
source test/app/lib.sh

# on NAME EXIT ARGS...: runs a command of `cuboid checkpoint`, which must end so.
on() {
  local name=$1 wanted=$2
  shift 2
  run 1 checkpoint "$@"
  if ((rc == wanted)); then ok; else fail "$name" "exit $rc, wanted $wanted" "$(tail -n 5 "$work/err")"; fi
}
# says NAME FILE TEXT...: each text stands in a line of $work/FILE.
says() {
  local name=$1 file=$work/$2 text
  shift 2
  for text in "$@"; do
    if grep -qF -- "$text" "$file"; then ok; else fail "$name" "wanted: $text" "$(head -n 20 "$file")"; fi
  done
}
# counts NAME N REGEX FILE
counts() {
  local n
  n=$(grep -cE -- "$3" "$work/$4")
  if ((n == $2)); then ok; else fail "$1" "$n lines are '$3', wanted $2" "$(head -n 20 "$work/$4")"; fi
}
# holds NAME FOLDER STEP...: these checkpoints and no others.
holds() {
  local name=$1 folder=$2 found
  shift 2
  found=$(find "$folder" -name 'checkpoint-*.h5' -printf '%f\n' | sed 's/checkpoint-//; s/\.h5//' | sort -n | xargs)
  if [[ $found == "$*" ]]; then ok; else fail "$name" "checkpoints $found, wanted $*"; fi
}
# flip FILE OFFSET: one bit.
flip() {
  local value
  value=$(od -An -tu1 -j "$2" -N 1 "$1")
  # shellcheck disable=SC2059  # the format is the byte
  printf "\\x$(printf %02x $((value ^ 4)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
# The first byte of the first tensor, from the seal.
first_tensor() { tail -c 4000 "$1" | sed -nE 's/^tensor_bytes ([0-9]+) .*/\1/p' | head -n 1; }
# A copy of the run with its five checkpoints.
copy_run() { rm -rf "$work/copy" && mkdir "$work/copy" && cp "$run_dir"/checkpoint-*.h5 "$work/copy"; }

run_dir="$work/run #1"  # a name that a configuration file must quote
run 2 pretrain --num-layers 2 --hidden-size 32 --num-attention-heads 2 --seq-length 16 --device cpu \
  --eval-steps 0 --tensor-parallel-size 2 --max-steps 10 --save-interval 2 --output-dir "$run_dir"
holds "a run to look at" "$run_dir" 2 4 6 8 10
last="$run_dir/checkpoint-10.h5"

# ---- info -----------------------------------------------------------------------------------
on "info" 0 info "$last"
says "info" out "$last" "1x2x1 (DP x TP x PP)" "hidden-size" "Optimizer" "group  "
counts "info gives steps and samples" 1 '^  samples +40$' out
counts "info has no empty options" 1 '^  max-steps +10$' out
counts "info sums up tensors by group" 1 '^  parameters +36 +34,176  fp32   133.5 KiB$' out
on "info of two files" 0 info "$last" "$run_dir/checkpoint-2.h5"
counts "info of two files" 2 '^Model$' out
on "info of a folder" 0 info "$run_dir"
counts "info of a folder" 5 'checkpoint-[0-9]+\.h5 .* 1x2x1 ' out
on "info --tensors" 0 info --tensors "$last"
counts "info --tensors" 108 '^[a-z_/]+/[a-z0-9_.]+ +fp32 +\[[0-9, ]+\] +[0-9,]+ +[0-9a-f]{16}$' out
on "info --history" 0 info --history "$last"
counts "info --history" 10 '^[0-9]+ +[0-9]\.[0-9]{6} +[0-9.]+ +[0-9.e+-]+ +[0-9]+$' out
on "info --options" 0 info --options "$last"
cp "$work/out" "$work/run.conf"
run 1 pretrain --config "$work/run.conf" --print-config
if diff <(grep -v '^#' "$work/run.conf") "$work/out" >"$work/diff"; then
  ok
else
  fail "info --options is read back by --config" "$(head -n 6 "$work/diff")" "$(head -n 3 "$work/err")"
fi
on "info of a missing file goes on" 2 info "$work/none.h5" "$last"
says "info of a missing file goes on" err "checkpoint '$work/none.h5': No such file or directory"
counts "info of a missing file goes on" 1 '^Model$' out

# ---- verify ---------------------------------------------------------------------------------
on "verify a file" 0 verify "$last"
counts "verify a file" 1 ': OK, 108 tensors, [0-9.]+ KiB, [0-9.]+ GB/s$' out
on "verify a folder" 0 verify --threads 3 "$run_dir"
counts "verify a folder" 5 ': OK, ' out
says "verify a folder" out "5 of 5 are OK"
on "verify from memory" 0 verify --cached --threads=1 -- "$last"
copy_run
flip "$work/copy/checkpoint-4.h5" "$(first_tensor "$work/copy/checkpoint-4.h5")"
flip "$work/copy/checkpoint-6.h5" 200
truncate -s -100 "$work/copy/checkpoint-8.h5"
on "verify damaged files" 2 verify "$work/copy" "$work/none.h5" "$last"
says "verify damaged files" out "$work/copy/checkpoint-2.h5: OK" "$work/copy/checkpoint-4.h5: NOT OK" \
  "$work/copy/checkpoint-6.h5: NOT OK" "$work/copy/checkpoint-8.h5: NOT OK" "$last: OK" "3 of 7 are OK"
counts "verify names the tensor" 1 "checkpoint-4.h5': tensor '[a-z/_.0-9]+' is damaged: its digest is" err
says "verify gives reasons" err "checkpoint-6.h5': it is damaged" "checkpoint-8.h5': it has no seal" \
  "checkpoint '$work/none.h5': No such file or directory"
mkdir "$work/empty"
on "verify an empty folder goes on" 2 verify "$work/empty" "$last"
says "verify an empty folder goes on" err "folder '$work/empty' holds no checkpoints"
says "verify an empty folder goes on" out "$last: OK"

# ---- diff -----------------------------------------------------------------------------------
on "diff of equal files" 0 diff "$last" "$last"
if [[ $(tail -n 1 "$work/out") == "bit-equal: all 108 tensors" ]]; then ok; else fail "diff of equal files" "$(tail -n 1 "$work/out")"; fi
on "diff of steps" 3 diff "$run_dir/checkpoint-8.h5" "$last"
if [[ $(tail -n 1 "$work/out") == "108 of 108 tensors differ" ]]; then ok; else fail "diff of steps" "$(tail -n 1 "$work/out")"; fi
counts "diff gives the steps" 1 '^step +8 +10$' out
counts "diff gives a tensor" 1 '^parameters/final_norm.bias +32 +32 +[0-9.]+e-[0-9]+ +[0-9.]+e-[0-9]+$' out
counts "diff gives groups" 1 '^parameters +36 +36 +[0-9.]+e-[0-9]+ ' out
on "diff --all" 0 diff --all "$last" "$last"
counts "diff --all" 108 '^[a-z_]+/[a-z0-9_./]+ +0 +[0-9,]+ +0 +0$' out
on "diff of a damaged file" 2 diff "$last" "$work/copy/checkpoint-4.h5"
says "diff of a damaged file" err "is damaged: its digest is"
run 1 pretrain --num-layers 2 --hidden-size 32 --num-attention-heads 2 --seq-length 16 --device cpu \
  --eval-steps 0 --max-steps 1 --dtype bf16 --num-key-value-heads 1 --output-dir "$work/other"
on "diff of other models" 3 diff "$run_dir/checkpoint-2.h5" "$work/other/checkpoint-1.h5"
counts "diff of other options" 1 '^num-key-value-heads +2 +1$' out
says "diff of other shapes" out "fp32 [32, 32] against fp32 [16, 32]"

# ---- prune ----------------------------------------------------------------------------------
copy_run
on "prune --dry-run" 0 prune --keep-last 2 --dry-run "$work/copy"
says "prune --dry-run" out "3 of 5 checkpoints would be removed"
holds "prune --dry-run" "$work/copy" 2 4 6 8 10
on "prune" 0 prune --keep-last 2 --keep-every 4 "$work/copy"
says "prune" out "2 of 5 checkpoints removed"
holds "prune" "$work/copy" 4 8 10
on "prune again" 0 prune --keep-last=2 --keep-every=4 "$work/copy"
says "prune again" out "0 of 3 checkpoints removed"
copy_run
flip "$work/copy/checkpoint-10.h5" "$(first_tensor "$work/copy/checkpoint-10.h5")"
flip "$work/copy/checkpoint-6.h5" 200
on "prune with damaged new files" 0 prune --keep-last 2 "$work/copy"
says "prune with damaged new files" err "checkpoint-10.h5': tensor" "checkpoint-6.h5': it is damaged"
holds "prune with damaged new files" "$work/copy" 4 6 8 10
copy_run
for step in 4 6 8 10; do
  truncate -s -1 "$work/copy/checkpoint-$step.h5"
done
on "prune with too few good files" 2 prune --keep-last 2 "$work/copy"
says "prune with too few good files" err "only 1 of its checkpoints are OK, and --keep-last is 2: nothing was removed"
holds "prune with too few good files" "$work/copy" 2 4 6 8 10
copy_run
rm "$work/copy/checkpoint-10.h5"
ln -s checkpoint-2.h5 "$work/copy/checkpoint-10.h5"
on "prune trusts no symbolic link" 0 prune --keep-last 1 "$work/copy"
says "prune trusts no symbolic link" err "checkpoint-10.h5' is a symbolic link"
holds "prune trusts no symbolic link" "$work/copy" 8 10
copy_run
on "prune goes on with the next folder" 2 prune --keep-last 1 "$work/none" "$work/empty" "$work/copy"
says "prune goes on with the next folder" err "'$work/none' is not a folder" "folder '$work/empty' holds no checkpoints"
holds "prune goes on with the next folder" "$work/copy" 10
copy_run
cat >"$work/lock.py" <<'PYTHON'
import fcntl, os, struct, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
print("locked", flush=True)
sys.stdin.read()
PYTHON
mkfifo "$work/end"
python3 "$work/lock.py" "$work/copy/cuboid.lock" <"$work/end" >"$work/locked" &
locker=$!
exec 9>"$work/end"
until [[ -s $work/locked ]]; do sleep 0.05; done
on "prune refuses a folder in use" 2 prune --keep-last 1 "$work/copy"
says "prune refuses a folder in use" err "'$work/copy' is in use by another process"
holds "prune refuses a folder in use" "$work/copy" 2 4 6 8 10
on "prune --dry-run looks at a folder in use" 0 prune --keep-last 1 --dry-run "$work/copy"
exec 9>&-
wait "$locker"
on "prune after the job" 0 prune --keep-last 1 "$work/copy"
holds "prune after the job" "$work/copy" 10

# ---- usage ----------------------------------------------------------------------------------
usage() { # NAME TEXT ARGS...
  local name=$1 text=$2
  shift 2
  on "$name" 2 "$@"
  says "$name" err "$text"
}
usage "no command" "which command?; legal are info, verify, diff, prune and --help"
usage "unknown command" "unknown command 'checkpoint verfy': did you mean 'verify'?" verfy
usage "unknown option" "unknown option '--thread': did you mean --threads?; legal are --threads, --cached, --help" verify --thread 2 "$last"
usage "bad number" "--threads 'two': legal is 1 to 1024" verify --threads two "$last"
usage "number out of range" "--keep-last '-1': legal is 1 to" prune --keep-last -1 "$work/copy"
usage "missing number" "--keep-last has no value" prune "$work/copy" --keep-last
usage "value of a switch" "--all takes no value, but was given 'yes'" diff --all=yes "$last" "$last"
usage "no --keep-last" "--keep-last is missing" prune "$work/copy"
usage "no file" "cuboid checkpoint verify wants FILE|FOLDER...; it was given 0" verify
usage "one file to compare" "cuboid checkpoint diff wants FILE FILE; it was given 1" diff "$last"
holds "usage errors remove nothing" "$work/copy" 10
for command in "" info verify diff prune; do
  # shellcheck disable=SC2086  # no command is no word
  on "help of '$command'" 0 $command --help
  says "help of '$command'" out "cuboid checkpoint ${command:-info}"
done
run 2 checkpoint verify "$last"
counts "under mpirun one rank does the work" 1 ': OK, ' out

finish
