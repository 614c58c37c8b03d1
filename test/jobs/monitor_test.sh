#!/usr/bin/env bash
# timeout: 120
# monitor.sh on a run that lives, is stopped, is killed and is finished; on a terminal and without one.
# shellcheck source=test/app/lib.sh disable=SC2015
source test/app/lib.sh
export CUBOID=$PWD/$program PRESET=tiny-gpt2 DEVICE=cpu DATA_DIR=README.md NPROC_PER_NODE=2 TP_SIZE=2 BIND=none NUM_THREADS=1 \
  OUTPUT_DIR=$work/run
shows() { # NAME REGEX...: each in a line of $work/out
  local name=$1 regex
  shift
  for regex in "$@"; do
    grep -qE "$regex" "$work/out" && ok || fail "$name" "wanted: $regex" "$(cat "$work/out" "$work/err")"
  done
}
look() { jobs/monitor.sh "$@" >"$work/out" 2>"$work/err" </dev/null; }
# begin: a run in the background, with a checkpoint of its own.
begin() {
  rm -rf "$OUTPUT_DIR"
  jobs/launch_pretrain.sh --max-steps 100000 --save-interval 20 --keep-last 1 --eval-steps 0 >"$work/log" 2>&1 </dev/null &
  child=$!
  for _ in $(seq 400); do compgen -G "$OUTPUT_DIR/checkpoint-*.h5" >/dev/null && break; sleep 0.05; done
}
refuses() { # NAME TEXT ARGS...
  local name=$1 text=$2
  shift 2
  look "$@"
  rc=$?
  ((rc == 2)) && grep -qF -- "$text" "$work/err" && ok || fail "$name" "exit $rc" "$(cat "$work/err")"
}

refuses "no run" "holds no run" "$work"
refuses "bad interval" "--interval '0'" "$work" --interval 0
refuses "unknown option" "'--onec'" --onec

# ---- Alive: both ranks, busy, with their process numbers
begin
look "$OUTPUT_DIR" --once
shows "a live run" '/run  running$' '^step [0-9]+ of 100000 \(0 %\)  loss [0-9.]+  [0-9]+ tokens/s  MFU [0-9.]+ % \(llmc\)  .* or more to go$' \
  '^last checkpoint checkpoint-[0-9]+\.h5, [0-9.]+MiB' '^ *rank  node +pid +CPU % +threads +memory MiB'
for rank in 0 1; do
  read -r _ node pid cpu _ memory _ < <(grep -E "^ +$rank " "$work/out")
  [[ $node == "$(uname -n)" && $cpu =~ ^[1-9] && $memory =~ ^[1-9][0-9]+ ]] &&
    tr '\0' '\n' <"/proc/$pid/environ" | grep -qx "OMPI_COMM_WORLD_RANK=$rank" && ok || fail "rank $rank" "$(cat "$work/out")"
done
# A GPU, by a stand-in for nvidia-smi that knows rank 0's process.
mkdir "$work/gpus"
cat >"$work/gpus/nvidia-smi" <<END
#!/bin/sh
case \$1 in
  --query-gpu=*) echo 'GPU-7, 5, 88' ;;
  --query-compute-apps=*) echo '$(sed -n 's/^pid //p' "$OUTPUT_DIR/cuboid.lock"), GPU-7, 1234' ;;
esac
END
chmod +x "$work/gpus/nvidia-smi"
PATH=$work/gpus:$PATH look "$OUTPUT_DIR" --once
shows "a GPU" '^ +0 .* 5 +88 +1234$' '^ +1 .* - +- +-$'
# On a terminal: one place, redrawn; no colour where NO_COLOR asks for none.
if command -v script >/dev/null; then
  TERM=xterm NO_COLOR=1 timeout -s INT 3 script -qec "jobs/monitor.sh $OUTPUT_DIR --interval 0.5" /dev/null >"$work/screen" 2>&1 </dev/null
  (($(grep -c $'\e\[H' "$work/screen") >= 2)) && ! grep -q $'\e\[1m' "$work/screen" && ok || fail "on a terminal" "$(cat -v "$work/screen" | head -n 20)"
fi

# ---- Stopped in order, then killed, then finished
kill -USR1 "$child"
wait "$child"
look "$OUTPUT_DIR"
shows "a stopped run" '/run  stopped after step [0-9]+ of 100000; .*--resume auto'
(($(wc -l <"$work/out") == 3)) && ok || fail "no ranks of a stopped run" "$(cat "$work/out")"
begin
kill -KILL "$(sed -n 's/^pid //p' "$OUTPUT_DIR/cuboid.lock")"
wait "$child"
look "$OUTPUT_DIR"
shows "a dead run" '/run  dead: its last step is [0-9]+ of 100000'
NPROC_PER_NODE=1 TP_SIZE=1 OUTPUT_DIR=$work/short jobs/launch_pretrain.sh --max-steps 2 --eval-steps 1 >"$work/log" 2>&1 </dev/null
look "$work/short"
shows "a finished run" '/short  finished$' '^step 2 of 2 \(100 %\)  loss [0-9.]+  validation loss [0-9.]+'
finish
