#!/usr/bin/env bash
# timeout: 240
# Signals to launch_pretrain.sh: what the run receives, how it ends, and that it goes on.
# shellcheck source=test/app/lib.sh disable=SC2015
source test/app/lib.sh
launcher=$PWD/jobs/launch_pretrain.sh

# ---- What a run receives: a stand-in for cuboid writes it down
cat >"$work/cuboid" <<'END'
#!/usr/bin/env bash
if [[ $* == *--print-config* ]]; then
  echo 'num-threads = 1'
  exit
fi
trap 'echo USR1 >>"$LOG"' USR1
trap 'echo TERM >>"$LOG"; exit 9' TERM
trap 'echo INT >>"$LOG"' INT
echo ready >>"$LOG"
for _ in $(seq 600); do sleep 0.05; done
END
chmod +x "$work/cuboid"
appears() { # TEXT FILE
  for _ in $(seq 400); do
    grep -q "$1" "$2" 2>/dev/null && return
    sleep 0.05
  done
  return 1
}
# stand_in SIGNAL...: sends them to the launcher, one after the other; $rc, and what came in $work/log.
stand_in() {
  local signal child count=1
  rm -f "$work/log"
  # A shell without job control starts what is in the background with INT ignored.
  LOG=$work/log CUBOID=$work/cuboid env --default-signal=INT "$launcher" >"$work/out" 2>"$work/err" </dev/null &
  child=$!
  appears ready "$work/log"
  for signal in "$@"; do
    kill -"$signal" "$child"
    for _ in $(seq 100); do (($(wc -l <"$work/log") > count)) && break; sleep 0.05; done
    count=$(wc -l <"$work/log")
  done
  rc=0
  wait "$child" || rc=$?
}
receives() { # NAME RC TEXT SIGNAL...
  local name=$1 wanted=$2 text=$3 got
  shift 3
  stand_in "$@"
  got=$(xargs <"$work/log")
  [[ $got == "ready $text" && $rc == "$wanted" ]] && ok || fail "$name" "exit $rc, wanted $wanted; received: $got; wanted: $text"
}
receives "USR1, then TERM" 9 'USR1 TERM' USR1 TERM
receives "TERM twice" 9 'USR1 TERM' TERM TERM
receives "INT twice" 9 'USR1 TERM' INT INT
receives "HUP, then TERM" 9 'USR1 TERM' HUP TERM
# A batch system may signal all that it knows, and again: USR1 is passed on once.
receives "USR1 twice, then TERM" 9 'USR1 TERM' USR1 USR1 TERM
LOG=$work/log2 CUBOID=$work/cuboid "$launcher" 2>/dev/null </dev/null &
child=$!
appears ready "$work/log2"
disown "$child"
kill -KILL "$child"
if setpriv --help 2>/dev/null | grep -q pdeathsig; then
  appears TERM "$work/log2" && ok || fail "a killed launcher takes its run along" "$(cat "$work/log2")"
else
  echo "SKIPPED a killed launcher takes its run along: setpriv has no --pdeathsig"
fi

# ---- Exit codes pass through
printf '#!/bin/sh\ncase "$*" in *--print-config*) echo "num-threads = 1" ;; *) exit 5 ;; esac\n' >"$work/five"
chmod +x "$work/five"
CUBOID=$work/five "$launcher" >/dev/null 2>&1 </dev/null
rc=$?
((rc == 5)) && ok || fail "exit code alone" "exit $rc"
NPROC_PER_NODE=2 CUBOID=$work/five "$launcher" >/dev/null 2>&1 </dev/null
rc=$?
((rc == 5)) && ok || fail "exit code of mpirun" "exit $rc"

# ---- A real run: USR1 and Ctrl-C save and stop with 75; the same command finishes what was left
export PRESET=tiny-gpt2 DEVICE=cpu DATA_DIR=README.md NPROC_PER_NODE=2 TP_SIZE=2 RESUME=auto BIND=none NUM_THREADS=1 \
  CUBOID=$PWD/$program OUTPUT_DIR=$work/run
steps_done() { if [[ -e $OUTPUT_DIR/metrics.jsonl ]]; then wc -l <"$OUTPUT_DIR/metrics.jsonl"; else echo 0; fi; }
stopped=0
for signal in USR1 INT; do
  before=$(steps_done)
  env --default-signal=INT "$launcher" --max-steps 4000 --eval-steps 0 >"$work/out" 2>"$work/err" </dev/null &
  child=$!
  for _ in $(seq 400); do (($(steps_done) > before)) && break; sleep 0.05; done
  kill -"$signal" "$child"
  rc=0
  wait "$child" || rc=$?
  stopped=$(sed -nE 's/.*checkpoint-([0-9]+)\.h5.*/\1/p' "$work/out" | tail -n 1)
  ((rc == 75)) && [[ -f $OUTPUT_DIR/checkpoint-$stopped.h5 ]] && ok || fail "$signal to a run" "exit $rc" "$(tail -n 5 "$work/out" "$work/err")"
done
rc=0
"$launcher" --max-steps $((stopped + 3)) --eval-steps 0 >"$work/out" 2>"$work/err" </dev/null || rc=$?
((rc == 0)) && grep -q "Resumed from .*checkpoint-$stopped.h5" "$work/out" && ok || fail "going on" "exit $rc" "$(tail -n 5 "$work/out" "$work/err")"
[[ $(sed -nE 's/^\{"step":([0-9]+),.*/\1/p' "$OUTPUT_DIR/metrics.jsonl") == "$(seq $((stopped + 3)))" ]] && ok || fail "every step once" "$(tail -n 3 "$OUTPUT_DIR/metrics.jsonl")"
finish
