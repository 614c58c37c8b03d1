# The settings of sweep.sh, from one table: --help prints it, read_arguments reads by it.
# shellcheck shell=bash disable=SC2034  # the variables are read by what sources this
fail() { printf 'sweep: error: %s\n' "$1" >&2; exit "${2:-2}"; }

# variable | legal | default | what it is. The option is the variable's name in small letters: --batch-per-rank.
# legal: count (1 or more), count0, counts (a list), grids (a list of TPxPP), text, one of the words after it, or any of them (a list).
sweep_settings=(
  'RANKS|counts|1 2 4 ... and all|rank counts; nodes are filled one after the other'
  'GRIDS|grids|1x1 2x1 1x2|TPxPP of a point, DP being what is left; what does not divide is left out'
  'KINDS|any strong weak bubble|strong weak bubble|strong: one batch for all; weak: a batch for each rank; bubble: PP over MICROBATCHES'
  'SCHEDULES|any 1f1b gpipe|1f1b|schedules of points with PP > 1'
  'MICROBATCHES|counts|2 4 8 16|micro-batches of a step, for the kind bubble'
  'MICRO_BATCH_SIZE|count|4|sequences of a micro-batch'
  'BATCH_PER_RANK|count|4 x MICRO_BATCH_SIZE|sequences of a step for each rank; strong: as many for all as for the most ranks'
  'REPEATS|count|3|runs of each point, in turns: A B C, A B C'
  'STEPS|count|30|steps of a run'
  'WARMUP|count0|10|of these, how many of the first do not count'
  'OUTPUT_DIR|text|./scaling|the folder; what is finished in it is not run again'
  'PLOTS|one auto yes no|auto|auto: where matplotlib is; yes: fetch it first (env/setup.sh plots)'
)

sweep_help() {
  cat <<'HELP'
Measures how training scales over ranks, grids and schedules, on this machine or inside one SLURM allocation.

  bench/scaling/sweep.sh [--dry-run] [settings] [any other option of cuboid pretrain]
  bench/scaling/sweep.sh --report FOLDER      tables, report and plots again, from what was measured

  --dry-run   print the plan, with an estimate of its time, and stop
  --help      this text
  --          what follows goes to cuboid pretrain

Settings, as options or as variables (--steps 50 is STEPS=50; lists are one word: --ranks '1 2 4'):

HELP
  local row name legal default what
  for row in "${sweep_settings[@]}"; do
    IFS='|' read -r name legal default what <<<"$row"
    printf '  --%-17s %-20s %s\n' "$(option_of "$name")" "$default" "$what"
  done
  cat <<'HELP'

The ranks, where they are not given: those of the SLURM job; else GPUs; else cores. NPROC_PER_NODE says how many a full
node has. Each rank has the same threads in every point: the cores of a node shared out among the ranks of a full
one (NUM_THREADS). Without a model (--preset, --config, --hidden-size, PRESET) it is the preset demo. The ranks are
started by jobs/launch_pretrain.sh, whose variables count here (jobs/launch_pretrain.sh --help).

Writes scaling.csv, scaling.json, report.md and plots into the folder. A sweep that was stopped, or that lacks a point, goes
on with the same command; one of other options is refused. Exit code: 0; 1 a run failed; 2 a mistake; 75 stopped.

  bench/scaling/sweep.sh                                              about five minutes on two cores
  bench/scaling/sweep.sh --preset 124m --dtype bf16 --kinds strong --ranks '1 2 4 8' --grids '1x1 2x1'
  bench/scaling/sweep.sh --kinds bubble --grids 1x2 --schedules 'gpipe 1f1b' --preset 124m --seq-length 256
HELP
}

option_of() { tr 'A-Z_' 'a-z-' <<<"$1"; }

# No zeros ahead: to the shell that would be octal.
is_count() { [[ $1 =~ ^[1-9][0-9]{0,8}$ ]]; }

say_legal_setting() {
  local list
  case $1 in
    count) echo '1 or more' ;;
    count0) echo '0 or more' ;;
    counts) echo 'numbers of 1 or more, with blanks between' ;;
    grids) echo "TPxPP, with blanks between, as in '1x1 2x1'" ;;
    *) list=${1#* } && echo "${list// /, }" ;;
  esac
}

is_legal_setting() { # VALUE LEGAL
  local word
  [[ $1 != *$'\n'* && -n ${1// /} ]] || return 1
  case $2 in
    count) is_count "$1" ;;
    count0) [[ $1 == 0 ]] || is_count "$1" ;;
    counts) for word in $1; do is_count "$word" || return 1; done ;;
    grids) for word in $1; do [[ $word =~ ^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$ ]] || return 1; done ;;
    one*) [[ $1 != *' '* && " ${2#one } " == *" $1 "* ]] ;;
    any*) for word in $1; do [[ " ${2#any } " == *" $word "* ]] || return 1; done ;;
  esac
}

# What of `cuboid pretrain` the sweep decides for each point, and how to say it here.
declare -A owned=([--tensor-parallel-size]=--grids [--tensor-model-parallel-size]=--grids [--pipeline-parallel-size]=--grids
  [--pipeline-model-parallel-size]=--grids [--data-parallel-size]='--ranks and --grids' [--pipeline-schedule]=--schedules
  [--num-microbatches]='--microbatches, with --kinds bubble' [--global-batch-size]=--batch-per-rank [--max-steps]=--steps [--train-iters]=--steps
  [--save]=--output-dir [--save-interval]='' [--resume]='' [--eval-steps]='' [--eval-interval]='' [--log-interval]='' [--time-limit]='')

# setting_of OPTION: the variable that it sets; nothing where it is none of the sweep's.
setting_of() {
  local name row
  name=$(tr 'a-z-' 'A-Z_' <<<"${1#--}")
  for row in "${sweep_settings[@]}"; do
    [[ ${row%%|*} != "$name" ]] || echo "$name"
  done
}

# read_arguments WORD...: sets the settings' variables, dry_run, report_of, and `arguments`, the rest.
read_arguments() {
  local row name legal option value
  declare -gA is_given=()
  arguments=() dry_run='' report_of=''
  while (($#)); do
    option=${1%%=*} name=''
    case $1 in
      --help | -h) sweep_help; exit ;;
      --dry-run) dry_run=1; shift; continue ;;
      --) shift; arguments+=("$@"); break ;;
      --report | --report=*) name=report_of ;;
    esac
    if [[ $option =~ ^--[a-z0-9-]+$ ]]; then
      [[ ! -v owned[$option] ]] || fail "$option is the sweep's own${owned[$option]:+; legal: ${owned[$option]}}"
      name=${name:-$(setting_of "$option")}
    fi
    if [[ -z $name ]]; then
      arguments+=("$1")
    else
      value=${1#*=}
      if [[ $1 != *=* ]]; then
        (($# > 1)) || fail "$option has no value"
        value=$2
        shift
      fi
      printf -v "$name" %s "$value"
    fi
    shift
  done
  for row in "${sweep_settings[@]}"; do
    IFS='|' read -r name legal _ <<<"$row"
    [[ -z ${!name:-} ]] && continue
    is_given[$name]=1
    is_legal_setting "${!name}" "$legal" || fail "--$(option_of "$name") '${!name}' is not legal; legal: $(say_legal_setting "$legal")"
  done
}

set_defaults() {
  local word model=${PRESET:-}
  : "${GRIDS:=1x1 2x1 1x2}" "${KINDS:=strong weak bubble}" "${SCHEDULES:=1f1b}" "${MICROBATCHES:=2 4 8 16}"
  : "${MICRO_BATCH_SIZE:=4}" "${REPEATS:=3}" "${STEPS:=30}" "${WARMUP:=10}" "${OUTPUT_DIR:=scaling}" "${PLOTS:=auto}"
  : "${BATCH_PER_RANK:=$((4 * MICRO_BATCH_SIZE))}"
  ((WARMUP < STEPS)) || fail "--warmup $WARMUP leaves nothing of --steps $STEPS; legal: less than the steps"
  for word in "${arguments[@]}"; do
    [[ ! $word =~ ^(@|--preset|--config|--hidden-size|--num-layers) ]] || model=given
  done
  if [[ -z $model ]]; then export PRESET=demo; fi
}
