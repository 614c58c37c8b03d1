#!/usr/bin/env bash
# Starts `cuboid pretrain`: on this machine, on several hosts with mpirun, or inside a SLURM
# allocation with srun. Settings are environment variables or options; --help lists them.
#
#   jobs/launch_pretrain.sh [--dry-run] [--help] [any option of cuboid pretrain]
set -euo pipefail
jobs=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=jobs/launch/run.sh
source "$jobs/launch/run.sh"
# shellcheck source=jobs/launch/program.sh
source "$jobs/launch/program.sh"

stop_at_problems() {
  ((${#problems[@]})) || return 0
  printf 'launch_pretrain: error: %s\n' "${problems[@]}" >&2
  exit 2
}

# All options as cuboid reads them, presets and files included, into `merged`. What it objects to is
# a problem here, in its words.
merge_options() {
  local text name value line quiet=()
  declare -gA merged=()
  [[ -n ${program:-} ]] || return 0
  # Where something is wrong, a dry run makes no output folder.
  [[ " $* " == *' --dry-run '* ]] || quiet=(--dry-run)
  # A task of srun that is not the first would print nothing.
  if text=$(env -u SLURM_PROCID -u PMIX_RANK -u PMI_RANK -u OMPI_COMM_WORLD_RANK \
    "$program" pretrain "${options[@]}" "$@" --print-config "${quiet[@]}" 2>&1); then
    while IFS='=' read -r name value; do
      [[ $name == [a-z]* ]] || continue
      value=${value# }
      value=${value#\"}
      merged[${name% }]=${value%\"}
    done <<<"$text"
    return
  fi
  while read -r line; do
    # Of ranks and GPUs it knows only its own.
    [[ $line == '`'* || -z $line || $line == *'world of 1 rank'* || $line == *'not every rank sees'* ]] || problems+=("${line#cuboid: error: }")
  done <<<"$text"
}

check_grid() {
  local name
  # Where cuboid found mistakes, the grid is that of the variables, unless options may have changed it.
  ((${#merged[@]} > 0 || $# == 0)) || return 0
  for name in TP_SIZE PP_SIZE DP_SIZE NPROC_PER_NODE NUM_NODES; do
    [[ -z ${!name-} || -v variable[$name] ]] || return 0
  done
  local tp=${merged[tensor-parallel-size]:-${variable[TP_SIZE]:-1}} pp=${merged[pipeline-parallel-size]:-${variable[PP_SIZE]:-1}}
  local dp=${merged[data-parallel-size]:-${variable[DP_SIZE]:-auto}} batch=${merged[global-batch-size]:-auto}
  local of="$ranks ranks ($num_nodes x $per_node)"
  ((num_nodes > 1)) || of="$ranks ranks"
  if ((ranks % (tp * pp) != 0)); then
    problems+=("TP_SIZE=$tp x PP_SIZE=$pp does not divide $of; set NPROC_PER_NODE to a multiple of it")
  elif [[ $dp != auto ]] && ((dp * tp * pp != ranks)); then
    problems+=("DP_SIZE=$dp x TP_SIZE=$tp x PP_SIZE=$pp is $((dp * tp * pp)) ranks, but there are $of; legal: DP_SIZE=$((ranks / (tp * pp))) or unset")
  elif [[ $batch != auto && ${merged[num-microbatches]:-auto} != auto ]]; then
    local product=$((merged[micro-batch-size] * merged[num-microbatches] * (ranks / (tp * pp))))
    ((product == batch)) || problems+=("GLOBAL_BATCH_SIZE=$batch contradicts MICRO_BATCH_SIZE x NUM_MICROBATCHES x DP = $product; set one of the two")
  fi
  if ((tp > per_node)); then
    warn "TP_SIZE=$tp is more than the $per_node ranks of a node: every layer communicates between nodes"
  fi
}

check_machine() {
  local over=${variable[OVERSUBSCRIBE]:-auto} room=$cores data=${merged[data-dir]:-auto}
  if ((${#hosts[@]})); then room=$slots; fi
  if [[ $over == auto && ! -v SLURM_JOB_ID && ${#hosts[@]} == 0 ]]; then over=1; fi
  if [[ $over != 1 ]] && ((per_node > room)); then
    problems+=("NPROC_PER_NODE=$per_node is more than the $room cores or slots of a node; legal: up to $room, or OVERSUBSCRIBE=1")
  fi
  if [[ $device == cuda && ${gpus:-} == 0 ]]; then
    problems+=("DEVICE=cuda: no GPU is visible here; legal: cpu or auto")
  elif [[ $device == cuda && -n $gpus && ${variable[OVERSUBSCRIBE]:-auto} != 1 ]] && ((per_node > gpus)); then
    problems+=("NPROC_PER_NODE=$per_node is more than the $gpus GPUs of a node; legal: up to $gpus, or OVERSUBSCRIBE=1 to share them")
  fi
  [[ $data == auto || -e $data ]] || problems+=("DATA_DIR='$data' does not exist; legal: a text file, a folder of text, or token files")
}

dry_run=
arguments=()
while (($#)); do
  case $1 in
    --help | -h) print_help; exit ;;
    --dry-run) dry_run=1 ;;
    --) shift; arguments+=("$@"); break ;;
    *) arguments+=("$1") ;;
  esac
  shift
done

warn_of_near_names
read_variables
note_options "${arguments[@]}"
options_of_variables
missing=$(find_program "$jobs" 2>&1) && find_program "$jobs" || problems+=("$missing")
merge_options "${arguments[@]}"
device=${merged[device]:-${variable[DEVICE]:-auto}}
find_nodes
find_cores
find_ranks "$device"
choose_launcher
check_grid "${arguments[@]}"
check_machine
stop_at_problems

share_cores
threads=${merged[num-threads]}
if [[ $threads == auto ]]; then threads=$cores_per_rank; fi
set_environment "$threads"
case $launcher in
  srun) srun_command "$device" ;;
  mpirun) mpirun_command ;;
  alone) command=() ;;
esac
if [[ ${merged[num-threads]} == auto ]]; then options+=(--num-threads "$threads"); fi
command+=("$program" pretrain "${options[@]}" "${arguments[@]}")

if [[ -n $dry_run ]]; then
  print_command
  exit
fi
print_command >&2
run_command
