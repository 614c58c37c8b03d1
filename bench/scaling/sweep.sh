#!/usr/bin/env bash
# Strong and weak scaling and pipeline bubbles over rank counts, grids (DP x TP x PP) and schedules, on this machine or inside
# one SLURM allocation: runs each point several times, in turns, and writes CSV, JSON, a report and plots. --help lists all.
#
#   bench/scaling/sweep.sh [--dry-run] [settings] [any other option of cuboid pretrain]
#   bench/scaling/sweep.sh --report FOLDER
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
root=$(realpath "$here/../..")
# shellcheck source=bench/scaling/run.sh
source "$here/run.sh"

# report FOLDER: tables, and plots with the matplotlib of this project or of the machine.
report() {
  local deps=${DEPS_DIR:-$root/.deps} path
  [[ -d $1 ]] || fail "there is no folder '$1'"
  command -v python3 >/dev/null || fail "python3 is not on PATH: what was measured stays in '$1'; where python3 is, run: $0 --report '$1'" 1
  python3 -B "$here/summary.py" "$1" || exit
  if [[ ${PLOTS:-auto} != no ]]; then
    for path in "$deps/plots" ''; do
      PYTHONPATH=$path python3 -c 'import matplotlib' 2>/dev/null || continue
      PYTHONPATH=$path python3 -B "$here/plots.py" "$1" || exit
      break
    done
    [[ -s $1/time.svg || -s $1/throughput.svg ]] ||
      echo "no plots: python3 finds no matplotlib; env/setup.sh plots fetches it (for Python 3.11), and $0 --report '$1' draws them"
  fi
  python3 -B "$here/report.py" "$1"
}

# What the launcher and cuboid have against a grid of the plan is said before anything runs.
check_grids() {
  local entry point seen=' ' out
  for entry in "${plan[@]}"; do
    read -ra point <<<"$entry"
    [[ $seen != *" ${point[5]}x${point[6]} "* ]] || continue
    seen+="${point[5]}x${point[6]} "
    out=$(NUM_NODES=${point[3]} NPROC_PER_NODE=$((point[2] / point[3])) TP_SIZE=${point[5]} PP_SIZE=${point[6]} NUM_THREADS=$threads \
      GLOBAL_BATCH_SIZE=${point[9]} MAX_STEPS=$STEPS RESUME=none "$root/jobs/launch_pretrain.sh" --dry-run "${arguments[@]}" 2>&1) ||
      fail "${point[0]} cannot run: $(sed -nE 's/^launch_pretrain: error: //p' <<<"$out" | head -n 1)"
  done
}

read_arguments "$@"
if [[ -n $report_of ]]; then
  report "$report_of"
  exit
fi
set_defaults
find_program "$root/jobs" || exit 2
export MICRO_BATCH_SIZE
find_machine
plan_sweep
check_grids
if [[ -n $dry_run ]]; then
  print_plan
  print_estimate
  exit
fi

mkdir -p "$OUTPUT_DIR/points"
OUTPUT_DIR=$(realpath "$OUTPUT_DIR")
exec 9>"$OUTPUT_DIR/lock"
flock -n 9 || fail "another sweep runs in '$OUTPUT_DIR'; legal: another --output-dir"
# Where nothing was measured, nothing can be mixed.
[[ -n $(finished_runs) ]] || rm -f "$OUTPUT_DIR/options"
describe_machine "$program" >"$OUTPUT_DIR/machine.now"
describe_options "$OUTPUT_DIR/machine.now" | same_as_before "$OUTPUT_DIR/options"
mv "$OUTPUT_DIR/machine.now" "$OUTPUT_DIR/machine"
if [[ $PLOTS == yes ]]; then
  [[ -x $root/env/setup.sh ]] || fail "--plots yes fetches matplotlib with env/setup.sh, which an installed Cuboid has not; legal: auto, with a matplotlib of the machine"
  "$root/env/setup.sh" plots
fi
for name in USR1 TERM INT HUP; do
  # shellcheck disable=SC2064  # the name is that of now
  trap "on_signal $name" "$name"
done
echo "$(many "${#plan[@]}" point) x $(many "$REPEATS" run) of $(many "$STEPS" step) into $OUTPUT_DIR"
print_estimate
run_sweep
report "$OUTPUT_DIR"
((failures == 0)) || fail "$(many "$failures" run) failed; the logs are $OUTPUT_DIR/points/*/failed.log" 1
