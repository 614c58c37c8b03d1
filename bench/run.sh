#!/usr/bin/env bash
# Measures this machine in about five minutes: every benchmark program on its quick set, tables on
# standard output, all results in one file, bench/results/NAME-DATE.json. `make bench` builds what it
# needs and calls it.
#
#   bench/run.sh [--only PATTERN] [--ranks N] [--name NAME] [--folder DIR] [--results DIR] [--all] [--min-time S]
#     --only PATTERN  only programs whose name (as it is shown) matches the extended regular expression
#     --ranks N       of the programs that communicate (default: the cores, 2 to 8; on GPUs, one each)
#     --name NAME     of the file and the machine (default: the short host name)
#     --folder DIR    where checkpoints and other files are written (default: build)
#     --results DIR   where the file goes (default: bench/results)
#     --all           every size and shape: takes hours
#     --min-time S    seconds measured for each benchmark (default 0.3)
#
# Programs with one rank use all cores as threads; those with several share them out. Where there are
# GPUs, what can run on them runs there as well. Needs python3. Exit 1 where a program failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() { echo "run.sh: error: $*" >&2; exit 2; }
only=. name='' folder=build results=bench/results ranks='' min_time=0.3 all=()
while (($#)); do
  case $1 in
    -h | --help) sed -nE '2,/^set/{/^set/d;s/^# ?//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --all) all=(--all); shift ;;
    --only | --ranks | --name | --folder | --results | --min-time)
      (($# > 1)) || die "$1 needs a value"
      case $1 in
        --only) only=$2 ;;
        --ranks) ranks=$2 ;;
        --name) name=$2 ;;
        --folder) folder=$2 ;;
        --results) results=$2 ;;
        --min-time) min_time=$2 ;;
      esac
      shift 2 ;;
    *) die "unknown argument '$1'; --help lists them" ;;
  esac
done
command -v python3 >/dev/null || die "python3 is not on PATH: it writes the results"
programs=$PWD/build/${MODE:-release}/bench
[[ -x $programs/model_bench ]] || die "$programs holds no benchmarks: run make bench-programs"
[[ -z $ranks || $ranks =~ ^[1-9][0-9]*$ ]] || die "--ranks '$ranks' is not a number of ranks; legal: 1 or more"
[[ $min_time =~ ^[0-9]*\.?[0-9]+$ ]] || die "--min-time '$min_time' is not a time; legal: seconds"
[[ -z $name || $name =~ ^[A-Za-z0-9._-]+$ ]] || die "--name '$name': legal are letters, digits, '.', '_' and '-'"
[[ -d $folder && -w $folder ]] || die "--folder '$folder' is not a folder that can be written to"
name=${name:-$(uname -n | cut -d. -f1)}

cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)  # which would count threads
gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU') || gpus=0
many=${ranks:-$((cores > 8 ? 8 : cores < 2 ? 2 : cores))}
many_gpus=${ranks:-$gpus}
((many_gpus > gpus)) && many_gpus=$gpus

export OMPI_MCA_rmaps_base_oversubscribe=1
((EUID)) || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# program, ranks, options: what the five minutes are spent on.
set_of_programs=(
  "machine $many"
  "base 1"
  "model 1"
  "optimizer 1"
  "collective $many"
  "pipeline $many"
  "data 1"
  "checkpoint $many --benchmark_filter=save|load|digest"
  "checkpoint 1 --benchmark_filter=verify|plain_pread"
  "trainer $many"
)
on_gpus=()
if ((gpus)); then
  on_gpus=("machine $many_gpus" "model 1" "optimizer 1" "collective $many_gpus" "pipeline $many_gpus")
fi

work=$(mktemp -d -p "$(realpath "$folder")" bench.XXXXXX)
trap 'rm -rf "$work"' EXIT
failed=0 started=$SECONDS runs=()
load=$(cut -d' ' -f1 /proc/loadavg)

# measure POSITION DEVICE PROGRAM RANKS [OPTION...]
measure() {
  local position=$1 device=$2 program=$3 count=$4 threads command out
  shift 4
  threads=$((cores / count > 0 ? cores / count : 1))
  out=$work/${position%%/*}.json
  command=(mpirun -np "$count" --bind-to none "$programs/${program}_bench" "--device=$device"
    "--benchmark_min_time=$min_time" "${all[@]}" "$@")
  printf '\n[%s] %s on %s: %s rank(s) x %s thread(s), %s s so far\n' "$position" "$program" "$device" "$count" "$threads" $((SECONDS - started))
  if (cd "$work" && OMP_NUM_THREADS=$threads "${command[@]}" "--benchmark_out=$out" </dev/null); then
    runs+=("$program=$out")
  else
    echo "run.sh: error: $program ended with status $?; it is missing from the results" >&2
    failed=1
  fi
}

if awk "BEGIN { exit !($load > 0.5) }"; then
  echo "warning: the load is $load before anything was started: other programs keep the processors busy"
fi
chosen=()
for entry in "${set_of_programs[@]}"; do [[ ${entry%% *} =~ $only ]] && chosen+=("cpu $entry"); done
for entry in "${on_gpus[@]}"; do [[ ${entry%% *} =~ $only ]] && chosen+=("cuda $entry"); done
((${#chosen[@]})) || die "--only '$only' matches none of: $(printf '%s\n' "${set_of_programs[@]%% *}" | uniq | xargs)"
((gpus)) || echo "SKIPPED benchmarks on GPUs: there is none here"
for i in "${!chosen[@]}"; do
  read -ra words <<<"${chosen[i]}"
  measure "$((i + 1))/${#chosen[@]}" "${words[@]}"
done
((${#runs[@]})) || { echo "run.sh: error: no program ran to its end" >&2; exit 1; }

# A later run of the same day gets a number: nothing is overwritten.
mkdir -p "$results"
result=$results/$name-$(date +%F)
number=1
while [[ -e $result$( ((number == 1)) || echo "-$number").json ]]; do number=$((number + 1)); done
result=$result$( ((number == 1)) || echo "-$number").json
seconds=$((SECONDS - started))
python3 bench/gather.py --name "$name" --load "$load" --seconds "$seconds" --out "$result" "${runs[@]}"
echo "$result: all results, $seconds s"
exit "$failed"
