# Shell side of the program's tests: run, check, count. Sourced by test/app/*_test.sh, which run from
# the repository's top folder with MODE set (test/run.sh).
# shellcheck shell=bash
program=build/${MODE:-release}/bin/cuboid
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
as_user=()  # words before the program: another user

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1

ok() { passed=$((passed + 1)); }
fail() {
  failed=$((failed + 1))
  echo "FAILED $1"
  shift
  printf '    %s\n' "$@"
}
finish() {
  echo "$passed passed, $failed failed"
  ((failed == 0))
}

# run RANKS ARGS...: output in $work/out and $work/err, exit code in $rc. One rank runs without mpirun.
run() {
  local ranks=$1
  shift
  if ((ranks == 1)); then
    timeout -k 5 "${LIMIT:-60}" "${as_user[@]}" "$program" "$@" >"$work/out" 2>"$work/err" </dev/null
  else
    timeout -k 5 "${LIMIT:-60}" mpirun -np "$ranks" "$program" "$@" >"$work/out" 2>"$work/err" </dev/null
  fi
  rc=$?
}

# expect_error NAME RANKS TEXT... -- ARGS...: exit 2, each TEXT once in the error, nothing trained.
expect_error() {
  local name=$1 ranks=$2 texts=() text
  shift 2
  while [[ $1 != -- ]]; do
    texts+=("$1")
    shift
  done
  shift
  run "$ranks" pretrain "$@"
  for text in "${texts[@]}"; do
    if (($(grep -cF -- "$text" "$work/err") != 1)); then
      fail "$name" "wanted once: $text" "exit $rc; standard error:" "$(grep -v '^--*$' "$work/err" | head -n 12)"
      return
    fi
  done
  if ((rc != 2)); then
    fail "$name" "exit $rc, wanted 2" "$(head -n 12 "$work/err")"
  elif grep -q '^Step ' "$work/out"; then
    fail "$name" "it trained all the same"
  else
    ok
  fi
}

# metric FILE STEP KEY: the value as written.
metric() { sed -nE "s/^\{\"step\":$2,.*\"$3\":(\"[^\"]*\"|[^,}]*).*/\1/p" "$1"; }
