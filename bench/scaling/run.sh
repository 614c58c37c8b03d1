# Runs the points of a sweep.
# shellcheck shell=bash source=bench/scaling/machine.sh
source "${BASH_SOURCE[0]%/*}/machine.sh"
launcher=$(realpath "${BASH_SOURCE[0]%/*}/../../jobs/launch_pretrain.sh")
child='' stopped='' failures=0 done_runs=0 all_runs=0
declare -A failed=()

# What a run leaves is not kept, so the first signal asks it to stop (it saves, and ends all its ranks); the next ends it.
on_signal() {
  local signal=TERM
  if [[ -z $stopped ]]; then signal=USR1; elif [[ $1 == USR1 ]]; then return; fi
  stopped=$1
  [[ -z $child ]] || kill "-$signal" "$child" 2>/dev/null || true
}

# start FOLDER POINT...: the launcher in the background, its process in `child`. Should this script be killed with no chance to
# pass it on, the run ends, too.
start() {
  local folder=$1 ranks=$4 n=$5 tp=$7 pp=$8 schedule=$9 batch=${11} prefix=() of_point=() variables=()
  if setpriv --help 2>/dev/null | grep -q pdeathsig; then prefix=(setpriv --pdeathsig TERM --); fi
  ((pp == 1)) || of_point=(--pipeline-schedule "$schedule")
  ((num_nodes == 1)) || variables=(NUM_NODES="$n")
  "${prefix[@]}" env -u NUM_MICROBATCHES -u DP_SIZE -u NUM_NODES "${variables[@]}" OUTPUT_DIR="$folder" TP_SIZE="$tp" PP_SIZE="$pp" \
    NPROC_PER_NODE=$((ranks / n)) NUM_THREADS="$threads" GLOBAL_BATCH_SIZE="$batch" MICRO_BATCH_SIZE="$MICRO_BATCH_SIZE" \
    MAX_STEPS="$STEPS" SAVE_INTERVAL=0 RESUME=none \
    "$launcher" "${arguments[@]}" "${of_point[@]}" --eval-steps 0 --log-interval "$STEPS" >"$folder/log" 2>&1 </dev/null &
  child=$!
}

await_child() {
  local rc
  while true; do
    rc=0
    wait "$child" || rc=$?
    # A signal ends a wait early.
    kill -0 "$child" 2>/dev/null || break
  done
  child=''
  return "$rc"
}

# What a finished run says of itself, for the summary.
write_facts() { # FOLDER RUN BUSY POINT...
  local folder=$1 run=$2 busy=$3 shared=no
  shift 3
  grep -qE 'ranks share [0-9]+ cores' "$folder/log" && shared=yes
  printf '%s = %s\n' name "$1" kind "$2" run "$run" ranks "$3" nodes "$4" dp "$5" tp "$6" pp "$7" schedule "$8" threads "$threads" \
    micro_batch_size "$MICRO_BATCH_SIZE" microbatches "$9" global_batch "${10}" steps "$STEPS" warmup "$WARMUP" shared_cores "$shared" \
    busy "$busy" command "$(grep -m 1 ' pretrain ' "$folder/log")" device "$(sed -nE 's/^Device: //p' "$folder/log")" \
    mfu_of "$(sed -nE 's/^MFU: //p' "$folder/log")" date "$(date -u +%FT%TZ)"
}

# run_point RUN POINT...
run_point() {
  local run=$1 folder rc=0 begin=$SECONDS busy log
  shift
  folder=$OUTPUT_DIR/points/$1/$run
  rm -rf "$folder"
  mkdir -p "$folder"
  busy=$(busy_share)
  progress "$1, run $run of $REPEATS ..."
  [[ -n $stopped ]] || start "$folder" "$@"
  [[ -z $child ]] || await_child || rc=$?
  rm -rf "$folder"/checkpoint-*.h5 "$folder/data-cache"
  if [[ -n $stopped ]] || ((rc == 75)); then
    rm -rf "$folder"
    progress ''
    echo "stopped at $1, run $run; the same command goes on with it"
    exit 75
  fi
  done_runs=$((done_runs + 1))
  if ((rc == 0)); then
    write_facts "$folder" "$run" "$busy" "$@" >"$folder/facts"
    # The last file: with it, the run counts.
    echo $((SECONDS - begin)) >"$folder/seconds.part"
    mv "$folder/seconds.part" "$folder/seconds"
    say_done "$1" "$run" "$folder" $((SECONDS - begin))
  else
    log=$OUTPUT_DIR/points/$1/failed.log
    mv "$folder/log" "$log"
    rm -rf "$folder"
    # A mistake in the options is there in every run.
    ((rc != 2)) || fail "$1 cannot run: $(grep -m 1 error: "$log" | sed 's/^cuboid: error: //')"
    failed[$1]=1 failures=$((failures + 1))
    echo "$1 failed with exit code $rc: $(grep -m 1 error: "$log" || tail -n 1 "$log")"
  fi
}

progress() { [[ ! -t 2 ]] || printf '\r\e[K%s' "${1:+[$((done_runs + 1)) of $all_runs] $1}" >&2; }

say_done() { # NAME RUN FOLDER SECONDS
  progress ''
  echo "[$done_runs of $all_runs] $1, run $2: $(tail -n 1 "$3/metrics.jsonl" | sed -nE 's/.*"tokens_per_second":([0-9]+).*/\1/p') tokens/s in the last step," \
    "$4 s; $(say_time "$(seconds_left)") left"
}

# run_sweep: what is not finished, in turns, so that a machine that slows down does so for all points.
run_sweep() {
  local run entry point
  all_runs=$((${#plan[@]} * REPEATS))
  # Counted ahead, so that what is left is told of all.
  done_runs=0
  for ((run = 1; run <= REPEATS; ++run)); do
    for entry in "${plan[@]}"; do [[ ! -s $OUTPUT_DIR/points/${entry%% *}/$run/seconds ]] || done_runs=$((done_runs + 1)); done
  done
  for ((run = 1; run <= REPEATS; ++run)); do
    for entry in "${plan[@]}"; do
      read -ra point <<<"$entry"
      [[ ! -s $OUTPUT_DIR/points/${point[0]}/$run/seconds && ! -v failed[${point[0]}] ]] || continue
      run_point "$run" "${point[@]}"
    done
  done
}
