#!/usr/bin/env bash
# Runs every test program at the rank counts that its source names ("// ranks: 1 2 4"), and the
# test scripts (test/*/*_test.sh, which print "N passed, N failed" last). Each run has a time limit
# ("// timeout: 300" in its source, in seconds; default 120), so that a hang fails instead of
# waiting. Runs with the longest limits start first, as many at once as JOBS says (default: the
# cores, up to 8). Those of more ranks than that, and those that name a reason ("// alone: why"),
# come last, one by one.
#
#   test/run.sh [PATTERN]     only sources whose path matches the extended regular expression
#
# Ends with "N passed, N failed" over all runs; exit 1 when anything failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
pattern=${1:-.}
mode=${MODE:-release}
logs=build/$mode/test-logs
cores=$(env -u OMP_NUM_THREADS nproc)
jobs=${JOBS:-$((cores > 8 ? 8 : cores))}
mkdir -p "$logs"
: >"$logs/tally"

# Runs share the cores: ranks give way while they wait, threads sleep, nothing is bound to a core.
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none OMP_WAIT_POLICY=passive
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} GTEST_COLOR=no
deps=$(realpath -m "${DEPS_DIR:-.deps}")
export PYTHONPATH=$deps/libtorch:$deps/python MODE=$mode

header() { sed -nE "1,10s@^(//|#) $2: *(.*)@\2@p" "$1" | head -n 1; }
# Lines like "[  SKIPPED ] Suite.Name (0 ms)"; the summary at the end has no times.
count() { grep -cE "^\[ +$1 +\] .* \([0-9]+ ms\)" "$2"; }

report() { # source ranks rc log seconds passed failed skipped
  printf '%-46s %5s %7s passed %3s failed %3s skipped %6s s\n' "$1" "$2" "$6" "$7" "$8" "$5"
  # Skipped tests are named, with their reasons.
  if (($8 > 0)); then
    sed -nE 's/^\[  SKIPPED \] (.*) \([0-9]+ ms\).*/\1/p; s/^SKIPPED (.*)/\1/p' "$4" | sort -u | paste -sd, |
      sed 's/,/, /g; s/^/skipped: /' | fold -sw 100 | sed 's/^/    /'
    grep -hA1 ': Skipped' "$4" | grep -vE ': Skipped|^--' | sort -u | sed 's/^/    because: /'
  fi
  if (($3 != 0 || $7 > 0)); then
    (($3 == 124 || $3 == 137)) && echo "    TIMED OUT"
    tail -n 40 "$4" | sed 's/^/    | /'
    echo "    whole output: $4"
  fi
}

# limited SECONDS LOG COMMAND...: a run that is told to end passes it on.
limited() {
  local seconds=$1 log=$2
  shift 2
  timeout -k 5 "$seconds" "$@" >"$log" 2>&1 </dev/null &
  trap 'kill $!; wait $!; exit 143' TERM
  wait $!
}

run_program() { # source ranks log -> rc passed failed
  limited "$(limit "$1")" "$3" mpirun -np "$2" "build/$mode/${1%.cpp}"
  rc=$?
  passed=$(count OK "$3") failed=$(count FAILED "$3")
}

run_script() { # source log -> rc passed failed
  limited "$(limit "$1")" "$2" bash "$1"
  rc=$?
  read -r passed failed < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$2" | tail -n 1)
}

run() { # source ranks, which is - for a script
  local log start=$SECONDS rc passed failed skipped
  log=$logs/$(tr / - <<<"${1%.*}")
  if [[ $2 == - ]]; then
    log+=.log
    run_script "$1" "$log"
    skipped=$(grep -c '^SKIPPED' "$log")
  else
    log+=-$2.log
    run_program "$1" "$2" "$log"
    skipped=$(count SKIPPED "$log")
  fi
  ((rc != 0 && ${failed:-0} == 0)) && failed=1
  {
    flock 9
    report "$1" "$2" "$rc" "$log" $((SECONDS - start)) "${passed:-0}" "${failed:-0}" "$skipped"
    echo "${passed:-0} ${failed:-0} $skipped" >&9
  } 9>>"$logs/tally"
}

limit() { local seconds; seconds=$(header "$1" timeout); echo "${seconds:-120}"; }

# all_runs: a line for each run: whether it is alone, its limit, source, ranks.
all_runs() {
  local source ranks alone
  for source in $(find test -name '*_test.cpp' -o -name '*_test.sh' | sort); do
    [[ $source =~ $pattern ]] || continue
    ranks=-
    [[ $source == *.cpp ]] && ranks=$(header "$source" ranks)
    [[ -n $ranks ]] || { echo "$source names no rank counts (// ranks: ...)" >&2; exit 1; }
    for ranks in $ranks; do
      alone=0
      [[ -n $(header "$source" alone) ]] || { [[ $ranks != - ]] && ((ranks > jobs)); } && alone=1
      echo "$alone $(limit "$source") $source $ranks"
    done
  done | sort -s -k1,1n -k2,2nr
}

runs=$(all_runs) || exit 1
trap 'kill $(jobs -p) 2>/dev/null; wait; exit 130' INT TERM
running=0
while read -r alone _ source ranks; do
  [[ -n $source ]] || continue
  while ((running > 0 && (alone || running >= jobs))); do
    wait -n
    running=$((running - 1))
  done
  run "$source" "$ranks" &
  running=$((running + 1))
done <<<"$runs"
wait

read -r passed failed skipped < <(awk '{p += $1; f += $2; s += $3} END {print p + 0, f + 0, s + 0}' "$logs/tally")
((skipped)) && echo "$skipped skipped (named above)"
echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))
