#!/usr/bin/env bash
# A live table of a run: step, loss, speed, the last checkpoint, and each rank with its CPU, GPU and
# memory. It only reads: OUTPUT_DIR and /proc; ranks on other nodes of a SLURM job through srun.
#
#   jobs/monitor.sh [OUTPUT_DIR] [--job ID] [--interval SECONDS] [--once]
#
#   OUTPUT_DIR   the run's --output-dir (default ./checkpoints; with --job, that of the job)
#   --job ID     a SLURM job whose ranks to look at (default: what OUTPUT_DIR/cuboid.lock names)
#   --interval   seconds between two looks (default 2)
#   --once       print the table once and stop
#
# On a terminal the table stays in place until Ctrl-C or the end of the run; elsewhere it is printed
# each time. Exit code: 0; 2 where there is no run to be seen.
set -euo pipefail
jobs=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=jobs/launch/program.sh
source "$jobs/launch/program.sh"

die() {
  echo "monitor: error: $1" >&2
  exit 2
}

folder='' job='' interval=2 once=''
while (($#)); do
  case $1 in
    --help | -h) sed -nE '2,/^set /{ /^#/s/^# ?//p }' "${BASH_SOURCE[0]}"; exit ;;
    --job | --interval)
      (($# > 1)) || die "$1 needs a value"
      if [[ $1 == --job ]]; then job=$2; else interval=$2; fi
      shift ;;
    --once) once=1 ;;
    -*) die "unknown option '$1'; legal: --job ID, --interval SECONDS, --once, --help" ;;
    *)
      [[ -z $folder ]] || die "two folders, '$folder' and '$1'; legal: one"
      folder=$1 ;;
  esac
  shift
done
[[ $interval =~ ^[0-9]+(\.[0-9]+)?$ && $interval =~ [1-9] ]] || die "--interval '$interval' is not a time; legal: seconds above 0"
[[ -z $job || $job =~ ^[0-9]+([_.+][0-9]+)?$ ]] || die "--job '$job' is not the number of a SLURM job"
[[ -z $job ]] || command -v srun >/dev/null || die "--job $job: there is no srun on PATH"

# ---- Which processes
owner() { sed -n "s/^$1 //p" "$folder/cuboid.lock" 2>/dev/null || true; }

# owner_state: what is known of the process that the lock names: alive, dead, elsewhere or none.
owner_state() {
  local pid stat
  [[ -e $folder/cuboid.lock ]] || { echo none; return; }
  [[ $(owner host) == "$(uname -n)" ]] || { echo elsewhere; return; }
  pid=$(owner pid)
  # A later process may have the same number: the time when it started tells.
  if [[ -n $pid ]] && stat=$(cat "/proc/$pid/stat" 2>/dev/null) &&
    [[ $(cut -d ' ' -f 20 <<<"${stat##*) }") == "$(owner start)" ]]; then echo alive; else echo dead; fi
}

# find_ranks: the lines of ranks.sh, of all nodes, by rank.
find_ranks() {
  local number=$job pid name nodes
  [[ -n $number ]] || number=$(owner job | sed -n 's/^SLURM job //p')
  if [[ -n $number ]] && command -v srun >/dev/null; then
    nodes=$(squeue -h -j "$number" -o %D 2>/dev/null | head -n 1) || nodes=''
    [[ -z $nodes ]] || srun --jobid="$number" --overlap --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --cpus-per-task=1 --mpi=none --quiet \
      "$jobs/monitor/ranks.sh" job "${number%%[_.+]*}" 2>/dev/null </dev/null || true
  elif [[ $(owner_state) == alive ]]; then
    pid=$(owner pid)
    name=$(tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | sed -n 's/^PMIX_NAMESPACE=//p') || true
    if [[ -n $name ]]; then "$jobs/monitor/ranks.sh" namespace "$name"; else "$jobs/monitor/ranks.sh" pid "$pid"; fi
  else
    "$jobs/monitor/ranks.sh" folder "$folder"
  fi | sort -n
}

# ---- What is shown
last_of() { sed -nE 's/.*"'"$1"'":([^,}]*).*/\1/p' <<<"$metrics" | tail -n 1; }

newest_checkpoint() {
  find "$folder" -maxdepth 1 -name 'checkpoint-*.h5' -printf '%f %s %T@\n' 2>/dev/null | sort -t - -k 2 -n | tail -n 1
}

# The run's --max-steps: of the living process, else of the newest checkpoint.
find_max_steps() {
  local pid words text=''
  find_program "$jobs" 2>/dev/null || return 0
  pid=$(awk 'NR == 1 { print $3 }' <<<"$ranks")
  if [[ -n $pid ]] && mapfile -d '' words 2>/dev/null <"/proc/$pid/cmdline" && [[ ${words[1]:-} == pretrain ]]; then
    text=$(cd "/proc/$pid/cwd" 2>/dev/null && env -u SLURM_PROCID "$program" "${words[@]:1}" --print-config 2>/dev/null) || text=''
  fi
  if [[ -z $text && -n $checkpoint ]]; then
    text=$("$program" checkpoint info --options "$folder/${checkpoint%% *}" 2>/dev/null) || text=''
  fi
  sed -n 's/^max-steps = //p' <<<"$text"
}

say_state() { # STEP
  local of=${max_steps:+ of $max_steps}
  case $state in
    running) echo running ;;
    elsewhere) echo "locked by process $(owner pid) on $(owner host), which cannot be looked at from here" ;;
    dead) echo "dead: its last step is ${1:-0}$of; the same command with --resume auto goes on" ;;
    ended) if [[ -n $max_steps && ${1:-0} -ge $max_steps ]]; then echo finished; else
      echo "stopped after step ${1:-0}$of; the same command with --resume auto goes on"
    fi ;;
  esac
}

show_progress() {
  local step name size when at
  step=$(last_of step)
  printf '%s%s%s  %s\n' "$bold" "$folder" "$plain" "$(say_state "$step")"
  [[ -n $step ]] || echo 'no step is done yet'
  [[ -z $step ]] || awk -v step="$step" -v of="$max_steps" -v loss="$(last_of loss)" -v valid="$(last_of validation_loss)" \
    -v speed="$(mean tokens_per_second)" -v mfu="$(mean mfu)" -v convention="$(last_of mfu_convention | tr -d '"')" \
    -v ms="$(mean step_ms)" -v state="$state" 'BEGIN {
      printf "step %d%s  loss %.4f%s  %.0f tokens/s  MFU %.1f %%%s  %.1f ms a step", step,
        of ? sprintf(" of %d (%.0f %%)", of, 100 * step / of) : "", loss, valid ? sprintf("  validation loss %.4f", valid) : "",
        speed, 100 * mfu, convention ? " (" convention ")" : "", ms
      left = (of - step) * ms / 1000
      if (state == "running" && of > step) printf "  %d:%02d:%02d or more to go", left / 3600, left / 60 % 60, left % 60
      print "" }'
  read -r name size when <<<"$checkpoint"
  if [[ -n $name ]]; then
    at=$(date -d "@${when%.*}" '+%F %T')
    echo "last checkpoint $name, $(numfmt --to=iec-i --suffix=B "$size"), of $at"
  else
    echo 'no checkpoint yet'
  fi
}

# mean KEY: of the last 50 steps, weighed by their time; of step_ms itself the plain mean.
mean() {
  awk -v key="$1" 'function of(name) {
      return match($0, "\"" name "\":[^,}]*") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3) : 0
    }
    { ms = of("step_ms"); if (ms > 0) { time += ms; sum += ms * of(key); ++n } }
    END { if (n) print key == "step_ms" ? time / n : sum / time }' <<<"$metrics"
}

# CPU percent is over the time since the look before this one.
show_ranks() {
  [[ -n $ranks ]] || return 0
  awk -v before="$before" 'BEGIN {
      n = split(before, lines, "\n")
      for (i = 1; i <= n; ++i) { split(lines[i], f, " "); cpu[f[2] " " f[3]] = f[4]; at[f[2] " " f[3]] = f[5] }
      printf "%4s  %-16s %8s %6s %8s %12s %4s %6s %12s\n", "rank", "node", "pid", "CPU %", "threads", "memory MiB", "GPU", "GPU %", "GPU MiB" }
    { key = $2 " " $3
      busy = key in cpu && $5 > at[key] ? sprintf("%.0f", 100 * ($4 - cpu[key]) / ($5 - at[key])) : "-"
      printf "%4d  %-16s %8d %6s %8d %12.1f %4s %6s %12s\n", $1, $2, $3, busy, $6, $7, $8, $9, $10
      memory += $7 }
    END { if (NR > 1) printf "%4s  %-16s %8s %6s %8s %12.1f\n", "all", "", "", "", "", memory }' <<<"$ranks"
}

look() {
  before=$ranks
  ranks=$(find_ranks)
  if [[ -z $folder ]]; then folder=$(awk '$11 != "-" { print $11; exit }' <<<"$ranks"); fi
  [[ -n $folder ]] || die "no rank of job $job is to be seen (yet)"
  metrics=$(tail -n 50 "$folder/metrics.jsonl" 2>/dev/null) || metrics=''
  checkpoint=$(newest_checkpoint)
  case $(owner_state) in
    alive) state=running ;;
    dead) state=dead ;;
    none) state=ended ;;
    elsewhere) if [[ -n $ranks ]]; then state=running; else state=elsewhere; fi ;;
  esac
  if [[ $state == ended && -n $ranks ]]; then state=running; fi
  if [[ -z $max_steps ]]; then max_steps=$(find_max_steps); fi
}

# One write, each line cut to the terminal and cleared to its end: nothing flickers.
draw() {
  local text line frame=$'\e[H' columns
  text=$(show_progress; echo; show_ranks)
  columns=$(tput cols 2>/dev/null) || columns=80
  while IFS= read -r line; do frame+="${line:0:columns}"$'\e[K\n'; done <<<"$text"
  printf '%s\e[J' "$frame"
}

bold='' plain='' ranks='' before='' max_steps='' state='' metrics='' checkpoint=''
live=''
if [[ -z $once && -t 1 ]] && tput cup 0 0 >/dev/null 2>&1; then live=1; fi
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then bold=$'\e[1m' plain=$'\e[0m'; fi
if [[ -z $job ]]; then
  folder=$(realpath -m "${folder:-checkpoints}")
  [[ -e $folder/metrics.jsonl || -e $folder/cuboid.lock || -n $(newest_checkpoint) ]] || die "'$folder' holds no run: no metrics.jsonl, no cuboid.lock, no checkpoint"
elif [[ -n $folder ]]; then
  folder=$(realpath -m "$folder")
fi

if [[ -n $live ]]; then
  # Another screen and no cursor, until the end.
  tput smcup || true
  tput civis || true
  trap 'tput cnorm || true; tput rmcup || true' EXIT
  trap 'exit 0' INT TERM
fi
look
# How busy a rank is shows at the second look.
if [[ -n $once && $state == running ]]; then
  sleep 1
  look
fi
while true; do
  if [[ -n $live ]]; then draw; else show_progress; show_ranks; fi
  [[ -z $once && $state != ended && $state != dead ]] || break
  [[ -n $live ]] || echo
  sleep "$interval"
  look
done
if [[ -n $live ]]; then
  tput cnorm || true
  tput rmcup || true
  trap - EXIT
  show_progress
fi
