# Which points a sweep has, and how long they may take.
# shellcheck shell=bash source=bench/scaling/settings.sh
source "${BASH_SOURCE[0]%/*}/settings.sh"
# shellcheck source=jobs/launch/machine.sh
source "${BASH_SOURCE[0]%/*}/../../jobs/launch/machine.sh"
# shellcheck source=jobs/launch/program.sh
source "${BASH_SOURCE[0]%/*}/../../jobs/launch/program.sh"
plan=()       # "NAME KIND RANKS NODES DP TP PP SCHEDULE MICROBATCHES GLOBAL_BATCH"
left_out=()

# What there is to run on: num_nodes, per_node (ranks of a full node), all, and threads of a rank. Nodes, cores and GPUs are
# found by the launcher's own functions.
find_machine() {
  local ranks most=0
  read_variables
  find_nodes
  find_cores
  find_ranks "${DEVICE:-auto}"
  ((${#problems[@]} == 0)) || fail "${problems[0]}"
  for ranks in ${RANKS:-}; do ((ranks <= most)) || most=$ranks; done
  if [[ -z ${NPROC_PER_NODE:-} && ! -v SLURM_JOB_ID && ${#hosts[@]} == 0 && (${gpus:-0} == 0 || ${DEVICE:-auto} == cpu) ]]; then
    # On a workstation whoever asks for more ranks than cores gets them: they share cores, which is said.
    per_node=$((most > 0 ? most : cores))
  fi
  all=$((num_nodes * per_node))
  threads=${NUM_THREADS:-$((cores / per_node))}
  ((threads > 0)) || threads=1
}

default_ranks() {
  local n
  for ((n = 1; n < all; n *= 2)); do echo "$n"; done
  echo "$all"
}

leave_out() { left_out+=("left out: $1"); }

add_point() { # KIND RANKS NODES TP PP SCHEDULE MICROBATCHES
  local kind=$1 ranks=$2 n=$3 tp=$4 pp=$5 schedule=$6 m=$7 dp=$(($2 / ($4 * $5))) batch name
  case $kind in
    strong) batch=$((BATCH_PER_RANK * most_ranks)) ;;
    weak) batch=$((BATCH_PER_RANK * ranks)) ;;
    bubble) batch=$((MICRO_BATCH_SIZE * m * dp)) ;;
  esac
  if ((batch % (MICRO_BATCH_SIZE * dp) != 0)); then
    leave_out "$kind, $ranks ranks: a batch of $batch is no multiple of $MICRO_BATCH_SIZE x DP $dp"
    return
  fi
  m=$((batch / (MICRO_BATCH_SIZE * dp)))
  name=$kind-$ranks-${dp}x${tp}x$pp
  ((pp == 1)) || name+=-$schedule
  [[ $kind != bubble ]] || name+=-m$m
  plan+=("$name $kind $ranks $n $dp $tp $pp $schedule $m $batch")
}

plan_sweep() {
  local kind ranks grid tp pp n schedule m counts
  counts=${RANKS:-$(default_ranks)}
  most_ranks=0
  for ranks in $counts; do ((ranks > most_ranks && ranks <= all)) && most_ranks=$ranks; done
  for kind in $KINDS; do
    for ranks in $counts; do
      n=$(((ranks + per_node - 1) / per_node))
      if ((ranks > all || ranks % n != 0)); then
        leave_out "$ranks ranks on nodes of $per_node, $all in all"
        continue
      fi
      for grid in $GRIDS; do
        tp=${grid%x*} pp=${grid#*x}
        if [[ $kind == bubble ]] && ((pp == 1)); then continue; fi
        if ((ranks % (tp * pp) != 0)); then
          [[ ! -v is_given[GRIDS] || $kind == bubble ]] || leave_out "grid $grid (TPxPP) on $ranks ranks"
          continue
        fi
        for schedule in $SCHEDULES; do
          ((pp > 1)) || schedule=-
          if [[ $kind == bubble ]]; then
            for m in $MICROBATCHES; do add_point "$kind" "$ranks" "$n" "$tp" "$pp" "$schedule" "$m"; done
          else
            add_point "$kind" "$ranks" "$n" "$tp" "$pp" "$schedule" 0
          fi
        done
      done
    done
  done
  ((${#plan[@]} == 0)) || mapfile -t plan < <(printf '%s\n' "${plan[@]}" | awk '!seen[$1]++')
  ((${#left_out[@]} == 0)) || printf '%s\n' "${left_out[@]}" | awk '!seen[$0]++'
  ((${#plan[@]})) || fail "the ranks ($(tr '\n' ' ' <<<"$counts" | sed 's/ $//')), grids ($GRIDS) and kinds ($KINDS) leave no point to measure; at most $all ranks, and --grids that divide them"
}

# ---- Time
finished_runs() { find "$OUTPUT_DIR/points" -name seconds -size +0 2>/dev/null || true; }

# unfinished: the points' lines, once for each run that is not finished.
unfinished() {
  local entry run
  for entry in "${plan[@]}"; do
    for ((run = 1; run <= REPEATS; ++run)); do
      [[ -s $OUTPUT_DIR/points/${entry%% *}/$run/seconds ]] || echo "$entry"
    done
  done
}

# seconds_left: at the mean of the runs that are finished; else by FLOPs, where the rate is a guess.
seconds_left() {
  local files=()
  mapfile -t files < <(finished_runs)
  if ((${#files[@]})); then
    cat "${files[@]}" | awk -v left="$(unfinished | wc -l)" '{ sum += $1 } END { printf "%d\n", left * sum / NR + 0.5 }'
  else
    unfinished | awk -v flops="$(flops_of_sequence)" -v steps="$STEPS" -v rate="$(rate_of_rank)" '
      { seconds += 4 + steps * $10 * flops / ($3 * rate) } END { printf "%d\n", seconds + 0.5 }'
  fi
}

# A guess, in FLOP/s: a good part of what a core can in fp32, a fifth of what a GPU can in bf16.
rate_of_rank() {
  if [[ ${DEVICE:-auto} != cpu && ${gpus:-0} != 0 ]]; then echo 200e12; else echo $((threads * 50))e9; fi
}

# FLOPs of a sequence: 6 for each parameter and token.
flops_of_sequence() {
  local text parameters length folder
  folder=$(mktemp -d)
  text=$(CUDA_VISIBLE_DEVICES='' "$program" pretrain ${PRESET:+--preset "$PRESET"} "${arguments[@]}" --output-dir "$folder" --dry-run 2>/dev/null) || true
  rm -rf "$folder"
  parameters=$(sed -nE 's/^Parameters: ([0-9,]+).*/\1/p' <<<"$text" | tr -d ,)
  length=$(sed -nE 's/^ +seq-length +([0-9]+).*/\1/p' <<<"$text")
  echo "$((6 * ${parameters:-1000000} * ${length:-64}))"
}

many() { echo "$1 $2$( (($1 == 1)) || echo s)"; }

say_time() { # SECONDS
  if (($1 < 100)); then echo "$1 s"; elif (($1 < 6000)); then echo "$((($1 + 30) / 60)) min"; else awk "BEGIN { printf \"%.1f h\n\", $1 / 3600 }"; fi
}

print_estimate() {
  local how
  how="by the $(finished_runs | wc -l) that are finished"
  [[ -n $(finished_runs) ]] || how="by a guess of the speed; better once a run is finished"
  echo "$(many "$(unfinished | wc -l)" run) to do, about $(say_time "$(seconds_left)") ($how)"
}

print_plan() {
  local entry name kind ranks n dp tp pp schedule m batch
  printf '%-26s %6s %5s %7s %-9s %-8s %5s %6s\n' point ranks nodes threads DPxTPxPP schedule m batch
  for entry in "${plan[@]}"; do
    read -r name kind ranks n dp tp pp schedule m batch <<<"$entry"
    printf '%-26s %6d %5d %7d %-9s %-8s %5d %6d\n' "$name" "$ranks" "$n" "$threads" "${dp}x${tp}x$pp" "$schedule" "$m" "$batch"
  done
  echo "$(many "${#plan[@]}" point) x $(many "$REPEATS" run) of $(many "$STEPS" step), in turns; m: micro-batches of a step, batch: sequences of a step"
}
