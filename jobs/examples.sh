#!/usr/bin/env bash
# The examples of the guide, numbered: what each shows, its commands, what to look at, and a check of
# what it claims. They train a tiny model on CPU ranks, each for some seconds.
#
#   jobs/examples.sh                 a menu, on a terminal
#   jobs/examples.sh --list          the examples
#   jobs/examples.sh --run N|all     run one, or all; exit 1 where a claim does not hold
#   jobs/examples.sh --dry-run N     print its commands only
#
# OUTPUT_DIR: where their folders go (default ./cuboid-examples); CUBOID: the program.
set -euo pipefail
jobs=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=jobs/launch/program.sh
source "$jobs/launch/program.sh"

# One after another; the indented lines are the commands. LAUNCH, CUBOID and OUT stand for paths. `needs`
# are examples whose results are looked at.
read -rd '' table <<'END' || true
= One process
shows: a run without mpirun: configuration, model, lines of progress, a checkpoint at the end
look:  the loss falls; metrics.jsonl has a line for each step
check: has_steps one 20
  LAUNCH --output-dir OUT/one
= Data parallelism
shows: two replicas share each batch of 8 sequences
look:  "Grid" above says 2x1x1; the loss is that of example 1
check: same_loss data
needs: 1
  NPROC_PER_NODE=2 LAUNCH --output-dir OUT/data
= Tensor parallelism
shows: each layer is cut over two ranks
look:  half of the parameters are on each rank; the loss is that of example 1
check: same_loss tensor
needs: 1
  NPROC_PER_NODE=2 TP_SIZE=2 LAUNCH --output-dir OUT/tensor
= Pipeline parallelism
shows: each of two ranks holds half of the layers, and 4 micro-batches flow through them
look:  the two stages above; the loss is that of example 1
check: same_loss pipeline
needs: 1
  NPROC_PER_NODE=2 PP_SIZE=2 LAUNCH --output-dir OUT/pipeline
= All three
shows: eight ranks: two replicas of two stages, each cut in two
look:  "Grid" above says 2x2x2; more ranks than cores are slow, not wrong
check: same_loss all
needs: 1
  NPROC_PER_NODE=8 TP_SIZE=2 PP_SIZE=2 LAUNCH --output-dir OUT/all
= Going on on another grid
shows: ten steps on 1x2x1, then ten on 2x1x2 from the same file
look:  "Resumed from" above; the last loss is that of example 1, which was never stopped
check: same_loss reshaped
needs: 1
  NPROC_PER_NODE=2 TP_SIZE=2 SAVE_INTERVAL=10 LAUNCH --output-dir OUT/reshaped
  NPROC_PER_NODE=4 PP_SIZE=2 RESUME=OUT/reshaped/checkpoint-10.h5 LAUNCH --output-dir OUT/reshaped
= Evaluation
shows: the validation loss of a checkpoint, on one rank and on two
look:  both print the loss that the run ended with
check: same_evaluation
needs: 1
  CUBOID evaluate OUT/one | tee OUT/evaluation-1
  mpirun -np 2 CUBOID evaluate --pipeline-parallel-size 2 OUT/one | tee OUT/evaluation-2
= Checkpoint tools
shows: what is in a file, whether each byte is what was written, how two files differ
look:  the weights of examples 1 and 3 differ by rounding only, so diff ends with exit code 3
check: has_verified
needs: 1 3
  CUBOID checkpoint info OUT/one
  CUBOID checkpoint verify OUT/one OUT/tensor | tee OUT/verified
  CUBOID checkpoint diff OUT/one/checkpoint-20.h5 OUT/tensor/checkpoint-20.h5 || [ $? = 3 ]
= Preemption
shows: USR1 stops a run in the middle of its work; the same command goes on
look:  the first ends with exit code 75; no step is missing, and none is done twice
check: has_steps preempted 300
  MAX_STEPS=300 RESUME=auto LAUNCH --output-dir OUT/preempted &
  until [ -s OUT/preempted/metrics.jsonl ]; do sleep 0.1; done
  kill -USR1 $!
  wait $! || [ $? = 75 ]
  MAX_STEPS=300 RESUME=auto LAUNCH --output-dir OUT/preempted
END
mapfile -t titles < <(sed -n 's/^= //p' <<<"$table")
count=${#titles[@]}
entry() { awk -v n="$1" '/^= / { ++i } i == n' <<<"$table"; }          # N
field() { entry "$1" | sed -nE "s/^$2: +//p"; }                        # N NAME
# The commands with the paths in place: what is shown is what runs.
commands() {
  local text
  text=$(entry "$1" | sed -n 's/^  //p')
  text=${text//LAUNCH/$(printf %q "$jobs/launch_pretrain.sh")}
  text=${text//CUBOID/$(printf %q "$cuboid")}
  echo "${text//OUT\//$(printf %q "$out")/}"
}

# ---- Checks: each prints a sentence and returns whether it holds
last() { sed -nE 's/.*"'"$2"'":([^,}]*).*/\1/p' "$out/$1/metrics.jsonl" | tail -n 1; }
near() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > 0 && (a - b) ^ 2 <= (1e-4 * b) ^ 2) }'; }
same_loss() {
  local mine theirs
  mine=$(last "$1" loss) theirs=$(last one loss)
  echo "last loss $mine; example 1: $theirs (the same within 1e-4)"
  [[ $(last "$1" step) == 20 ]] && near "$mine" "$theirs"
}
has_steps() {
  local found
  found=$(sed -nE 's/^\{"step":([0-9]+),"loss".*/\1/p' "$out/$1/metrics.jsonl")
  echo "metrics.jsonl has $(wc -l <<<"$found") steps, $(sort -u <<<"$found" | wc -l) different ones, of $2"
  [[ $found == "$(seq "$2")" ]]
}
same_evaluation() {
  local one two
  one=$(evaluated 1) two=$(evaluated 2)
  echo "loss $one on one rank, $two on two; the run: $(last one validation_loss)"
  near "$one" "$two" && near "$one" "$(last one validation_loss)"
}
has_verified() {
  echo "$(grep -c ': OK' "$out/verified") of 2 files are OK"
  [[ $(grep -c ': OK' "$out/verified") == 2 ]]
}
evaluated() { sed -nE 's/.*[Ll]oss:? +([0-9.]+).*/\1/p' "$out/evaluation-$1" | tail -n 1; }

# ---- Running them
list() { printf '%s\n' "${titles[@]}" | nl -w 2 -s '  '; }

# The same small run for all; OUTPUT_DIR is that of the examples here, not of a run.
settings() {
  cat <<END
export PRESET=tiny-gpt2 DEVICE=cpu MAX_STEPS=20 DATA_DIR=$(printf %q "$out/text.txt")
export MICRO_BATCH_SIZE=2 GLOBAL_BATCH_SIZE=8 LEARNING_RATE=1e-3 NUM_THREADS=1 CUBOID=$(printf %q "$cuboid")
export OMPI_MCA_rmaps_base_oversubscribe=1
END
  ((EUID != 0)) || echo 'export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1'
}

prepare() {
  local name
  mkdir -p "$out"
  # The text to learn: this program's own manual.
  [[ -s $out/text.txt ]] || "$cuboid" man >"$out/text.txt"
  for name in $(compgen -e | grep -E '^(NPROC_PER_NODE|NUM_NODES|[TPD]P_SIZE|NUM_MICROBATCHES|RESUME|SAVE_INTERVAL|HOSTS|HOSTFILE|OUTPUT_DIR|SEED|DTYPE|TIME_LIMIT|BIND|OVERSUBSCRIBE|LAUNCHER)$'); do
    unset "$name"
  done
  eval "$(settings)"
}

# The folder goes first, so that a second run is no continuation of the first.
execute() { # N
  local text folder
  text=$(commands "$1")
  folder=$(entry "$1" | sed -nE 's/.*--output-dir OUT.([a-z]+).*/\1/p' | tail -n 1)
  if [[ -n $folder ]]; then rm -rf "${out:?}/$folder"; fi
  bash -euo pipefail -c "$text"
}

run_example() { # N
  local number=$1 need folder verdict check
  for need in $(field "$number" needs); do
    folder=$(field "$need" check | cut -d ' ' -f 2)
    [[ -f $out/$folder/checkpoint-20.h5 ]] || execute "$need" >"$out/example-$need.log" 2>&1
  done
  printf '%s\n' "${bold}Example $number: ${titles[number - 1]}${plain}" "Shows:    $(field "$number" shows)" 'Commands:'
  commands "$number" | sed 's/^/  /'
  echo
  if ! execute "$number"; then
    echo "Example $number ended with an error (above)"
    return 1
  fi
  printf '\n%s\n' "Look at:  $(field "$number" look)"
  read -ra check <<<"$(field "$number" check)"
  if verdict=$("${check[@]}"); then echo "Check:    $verdict: OK"; else
    echo "Check:    $verdict: NOT OK"
    return 1
  fi
}

run() { # N|all
  local number numbers=$1 rc=0
  [[ $numbers == all ]] && numbers=$(seq "$count")
  for number in $numbers; do
    run_example "$number" || rc=1
    echo
  done
  return $rc
}

require_number() {
  [[ $1 == all || ($1 =~ ^[0-9]{1,2}$ && $1 -ge 1 && $1 -le $count) ]] && return
  echo "examples: error: '$1' is no example; legal: 1 to $count, or all (--list names them)" >&2
  exit 2
}

menu() {
  local answer
  while true; do
    list
    read -rp 'Number, all, or q to leave: ' answer || return 0
    case $answer in
      q | '') return 0 ;;
      *) (require_number "$answer") && { run "$answer" || true; } ;;
    esac
  done
}

bold='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then bold=$'\e[1m' plain=$'\e[0m'; fi
out=$(realpath -m "${OUTPUT_DIR:-cuboid-examples}")
case ${1:-} in
  --list) list; exit ;;
  --help | -h) sed -nE '2,/^set /{ /^#/s/^# ?//p }' "${BASH_SOURCE[0]}"; exit ;;
  --run | --dry-run) require_number "${2:-nothing}" ;;
  '') [[ -t 0 && -t 1 ]] || { list; exit; } ;;
  *) echo "examples: error: unknown option '$1'; legal: --list, --run N, --run all, --dry-run N, --help" >&2; exit 2 ;;
esac
find_program "$jobs" || exit 2
cuboid=$program
case ${1:-} in
  --dry-run)
    [[ $2 != all ]] || set -- "$1" "$(seq "$count")"
    settings
    for number in $2; do commands "$number"; done ;;
  --run) prepare; run "$2" ;;
  *) prepare; menu ;;
esac
