#!/usr/bin/env bash
# Runs every test program at the rank counts that its source names ("// ranks: 1 2 4"), then the
# test scripts (test/*/*_test.sh, which print "N passed, N failed" last). Each run has a time limit
# ("// timeout: 300" in its source, in seconds; default 120), so that a hang fails instead of waiting.
#
#   test/run.sh [PATTERN]     only sources whose path matches the extended regular expression
#
# Ends with "N passed, N failed" over all runs; exit 1 when anything failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
pattern=${1:-.}
mode=${MODE:-release}
logs=build/$mode/test-logs
mkdir -p "$logs"

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} GTEST_COLOR=no
deps=$(realpath -m "${DEPS_DIR:-.deps}")
export PYTHONPATH=$deps/libtorch:$deps/python
total_passed=0 total_failed=0 total_skipped=0

header() { sed -nE "1,10s@^(//|#) $2: *(.*)@\2@p" "$1" | head -n 1; }
# Lines like "[  SKIPPED ] Suite.Name (0 ms)"; the summary at the end has no times.
count() { grep -cE "^\[ +$1 +\] .* \([0-9]+ ms\)" "$2"; }

report() { # source ranks rc log seconds passed failed skipped
  total_passed=$((total_passed + $6)) total_failed=$((total_failed + $7)) total_skipped=$((total_skipped + $8))
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

run_program() {
  local source=$1 program ranks limit log start rc passed failed
  program=build/$mode/${source%.cpp}
  limit=$(header "$source" timeout)
  for ranks in $(header "$source" ranks); do
    log=$logs/$(tr / - <<<"${source%.cpp}")-$ranks.log
    start=$SECONDS
    timeout -k 5 "${limit:-120}" mpirun -np "$ranks" "$program" >"$log" 2>&1 </dev/null
    rc=$?
    passed=$(count OK "$log") failed=$(count FAILED "$log")
    ((rc != 0 && failed == 0)) && failed=1
    report "$source" "$ranks" "$rc" "$log" $((SECONDS - start)) "$passed" "$failed" \
      "$(count SKIPPED "$log")"
  done
}

run_script() {
  local source=$1 limit log start rc passed failed
  log=$logs/$(tr / - <<<"${source%.sh}").log
  limit=$(header "$source" timeout)
  start=$SECONDS
  MODE=$mode timeout -k 5 "${limit:-120}" bash "$source" >"$log" 2>&1 </dev/null
  rc=$?
  read -r passed failed < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$log" | tail -n 1)
  ((rc != 0 && ${failed:-0} == 0)) && failed=1
  report "$source" - "$rc" "$log" $((SECONDS - start)) "${passed:-0}" "${failed:-0}" "$(grep -c '^SKIPPED' "$log")"
}

for source in $(find test -name '*_test.cpp' | sort) $(find test -name '*_test.sh' | sort); do
  [[ $source =~ $pattern ]] || continue
  case $source in
    *.cpp)
      [[ -n $(header "$source" ranks) ]] || { echo "$source names no rank counts (// ranks: ...)"; exit 1; }
      run_program "$source" ;;
    *.sh) run_script "$source" ;;
  esac
done

((total_skipped)) && echo "$total_skipped skipped (named above)"
echo "$total_passed passed, $total_failed failed"
((total_failed == 0 && total_passed > 0))
