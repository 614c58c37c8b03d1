#!/usr/bin/env bash
# make gpu-check: what only a machine with a GPU can prove. Every check is a line here and an entry of
# one JSON file, to which runs of other checks on the same day are added: outcome, seconds, figures.
#
#   test/gpu/check.sh [PATTERN]    only checks whose name matches the extended regular expression
#   test/gpu/check.sh --list       the names (needs no GPU)
#
#   kernels/...       the CUDA kernels against formulas in fp64
#   collectives/...   NCCL and MPI on device memory, at 1, 2 and 8 ranks; ranks that share a GPU talk over NCCL where
#                     that is 2.30 or later, under MPS where nvidia-cuda-mps-control is installed and starts
#   training/...      losses against the CPU's in fp32 and bf16, on one rank, two and a 2x2x2 grid; syncs and allocations;
#                     steps replayed from a CUDA graph against eager ones, bit for bit
#   sanitizer/...     compute-sanitizer on the kernels and on a short run, where it is installed
#   bench/...         the benchmarks, each row beside this device's own limit
#   mfu/SIZE          a GPT-2 of that size in bf16, sequences of 1024: tokens/s and MFU (6N + 6LhT); 124m also with each
#                     attention kernel, and with and without replayed steps
#   peer/SIZE         the same beside PyTorch with flash attention, eager and compiled, in turns
#
# SIZE is 124m, 350m, 774m, 1.5b. A check that takes longer than its limit is stopped, and has failed.
# Exit 0: nothing failed; 1: something did, or there is no GPU; 2: usage.
#
#   NCCL_LIB=DIR      a folder with another libnccl.so.2, put before the built-in one
#   RESULTS=FILE      default bench/results/gpu-DEVICE-DATE.json
#   LIMIT=SECONDS     for one check (default 300; of bench, mfu and peer 590)
#   MFU_STEPS=N       steps of each check of mfu, the first four of which do not count (default 14)
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
build=${BUILD:-build/${MODE:-release}}
cuboid=${CUBOID:-bin/cuboid}
compare=${COMPARE:-bench/peers/compare.sh}
pattern=${1:-.} listing=''
case $pattern in
  --list) listing=yes pattern=. ;;
  -*) echo "gpu-check: error: unknown option '$pattern'; legal: --list, or a pattern of names" >&2; exit 2 ;;
esac
(($# < 2)) || { echo "gpu-check: error: more than one pattern; legal: one extended regular expression" >&2; exit 2; }
[[ ${LIMIT:-1} =~ ^[1-9][0-9]*$ ]] || { echo "gpu-check: error: LIMIT '$LIMIT' is not a number of seconds; legal: 1 or more" >&2; exit 2; }

# shellcheck source=test/gpu/mps.sh
source test/gpu/mps.sh
if [[ -z $listing ]]; then
  devices=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null)
  if [[ -z $devices ]]; then
    echo "gpu-check: no GPU on this machine (nvidia-smi lists none); the checks that need none are in 'make test'" >&2
    exit 1
  fi
  command -v python3 >/dev/null || { echo "gpu-check: error: python3 is not on PATH: it writes the results" >&2; exit 1; }
  sort <<<"$devices" | uniq -c
  device=$(head -n 1 <<<"$devices" | tr '[:upper:]' '[:lower:]' | tr -cs '[:alnum:]\n' -)
  results=${RESULTS:-bench/results/gpu-$device-$(date +%F).json}
  work=$(mktemp -d)
  # For checkpoints, which every run leaves at its end and nobody wants here: memory, where the largest (of 1.5b: 18 GB) fits,
  # and what it is written from.
  scratch=$work
  shm_gib=$(df --output=avail -BG /dev/shm 2>/dev/null | tr -dc '0-9\n' | tail -n 1)
  memory_gib=$(free -g 2>/dev/null | awk '/^Mem:/ { print $7 }')
  if ((${shm_gib:-0} >= 20 && ${memory_gib:-0} >= 48)) && in_memory=$(mktemp -d /dev/shm/gpu-check.XXXXXX 2>/dev/null); then
    scratch=$in_memory
  fi
  trap 'stop_mps; rm -rf "$work" "$scratch"' EXIT
fi

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export NCCL_MULTI_RANK_GPU_ENABLE=1 GTEST_COLOR=no
[[ -n ${NCCL_LIB:-} ]] && export LD_LIBRARY_PATH=$NCCL_LIB${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

passed=0 failed=0 skipped=0 matched=0
limit=${LIMIT:-300}

# wanted NAME: whether this check is to run; prints it where names are asked for.
wanted() {
  [[ $1 =~ $pattern ]] || return 1
  matched=$((matched + 1))
  [[ -z $listing ]] || { echo "$1"; return 1; }
}

# outcome NAME passed|failed|skipped SECONDS [REASON]: the line, and the entry with the figures that lie in $work/figures.
outcome() {
  case $2 in
    passed) passed=$((passed + 1)) ;;
    failed) failed=$((failed + 1)) ;;
    skipped) skipped=$((skipped + 1)) ;;
  esac
  printf '%-44s %-7s %5s s%s\n' "$1" "${2/#failed/FAILED}" "$3" "${4:+  $4}"
  MPS=${mps:-} python3 test/gpu/record.py "$results" "$1" "$2" "$3" "$work/figures" "${4:-}" || failed=$((failed + 1))
  rm -f "$work/figures"
}

# check NAME COMMAND...: what it prints is shown where it fails, and kept in build/gpu-check.
check() {
  local name=$1 log start=$SECONDS rc tests
  shift
  wanted "$name" || return 0
  mkdir -p build/gpu-check
  log=build/gpu-check/$(tr '/ ' '--' <<<"$name").log
  timeout -k 5 "$limit" "$@" >"$log" 2>&1 </dev/null
  rc=$?
  tests=$(grep -cE '^\[ +OK +\] .* \([0-9]+ ms\)' "$log")
  # Not what the programs are to be asked here: their driver may be too old for them.
  if ((rc == 0)) && grep -q 'no CUDA device' "$log"; then
    outcome "$name" failed $((SECONDS - start)) "nvidia-smi lists a GPU, but the program sees none (bin/cuboid pretrain --device cuda --dry-run says why)"
    return
  fi
  # A program of tests that skipped all of them has proved nothing.
  if ((rc == 0 && tests == 0)) && grep -q '^\[  SKIPPED \]' "$log"; then
    outcome "$name" skipped $((SECONDS - start)) "$(grep -hA1 ': Skipped' "$log" | grep -vE ': Skipped|^--' | sort -u | head -n 1)"
    return
  fi
  if ((rc == 0)); then
    outcome "$name" passed $((SECONDS - start))
  else
    outcome "$name" failed $((SECONDS - start)) "$( ((rc == 124 || rc == 137)) && echo "timed out after $limit s" || echo "exit $rc")"
    tail -n 30 "$log" | sed 's/^/    | /'
  fi
  grep -h '^\[  SKIPPED \] .*ms)' "$log" | sort -u | sed 's/^/    /'
}

# check_ranks NAME RANKS PROGRAM: a program of tests, with a thread a rank as test/run.sh has it; under MPS where there are
# more ranks than GPUs.
check_ranks() {
  local mps='' words=(OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}")
  if [[ -z $listing && $1 =~ $pattern ]] && (($2 > $(wc -l <<<"$devices"))); then
    start_mps
    mps=$mps_said words+=("${mps_words[@]}")
  fi
  check "$1" env "${words[@]}" mpirun -np "$2" "$3"
}

skip() { # NAME REASON
  wanted "$1" && outcome "$1" skipped 0 "$2"
}

# shellcheck source=test/gpu/checks.sh
source test/gpu/checks.sh

if ((matched == 0)); then
  echo "gpu-check: error: '$pattern' matches no check; test/gpu/check.sh --list prints the names" >&2
  exit 2
fi
[[ -z $listing ]] || exit 0
echo "$results: every check's outcome, time and figures"
((skipped)) && echo "$skipped skipped (named above)"
echo "$passed passed, $failed failed"
((failed == 0))
