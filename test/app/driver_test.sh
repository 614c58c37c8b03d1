#!/usr/bin/env bash
# A driver that fails, as one that is older than CUDA's runtime does: no GPU, but not in silence. CUDA's answers are those of a
# library that is put before it.
# shellcheck source=test/app/lib.sh disable=SC2015,SC2097,SC2098
source test/app/lib.sh
cat >"$work/driver.cpp" <<'SOURCE'
#include <cstdlib>
#include <cstring>
// Of the ranks in FAILS ("0", "1", "01") the driver fails, or is not there where VERSION is 0.
static bool fails() {
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  return std::strstr(std::getenv("FAILS"), rank == nullptr ? "0" : rank) != nullptr;
}
extern "C" {
int cudaGetDeviceCount(int* count) { *count = 0; return fails() ? 35 : 100; }
int cudaDriverGetVersion(int* version) { *version = std::atoi(std::getenv("VERSION")); return 0; }
}
SOURCE
g++ -shared -fPIC -o "$work/driver.so" "$work/driver.cpp" || { fail "the library"; finish; exit; }
says() { # NAME EXIT FILE REGEX: once
  [[ $rc == "$2" && $(grep -cE -- "$4" "$work/$3") == 1 ]] && ok || fail "$1" "exit $rc, wanted $2 and once: $4" "$(cat "$work/out" "$work/err")"
}
silent() { # NAME
  [[ $rc == 0 ]] && ! grep -q 'CUDA' "$work/out" "$work/err" && ok || fail "$1" "exit $rc" "$(cat "$work/out" "$work/err")"
}
with_driver() { # VERSION FAILS RANKS ARGS...
  VERSION=$1 FAILS=$2 LD_PRELOAD=$work/driver.so run "${@:3}"
}
train=(pretrain --preset tiny-gpt2 --dry-run --data-dir README.md --output-dir "$work/run")
old='driver version is insufficient.* \(the driver is for CUDA 12.4, this program is built with CUDA 1[0-9.]+\)'

with_driver 12040 0 1 "${train[@]}"
says "auto" 0 out "^warning: computes on the CPU, since CUDA fails on rank 0: .*$old"
with_driver 12040 0 1 "${train[@]}" --device cuda
says "asked for" 2 err "--device cuda: not every rank sees a CUDA device \(CUDA fails on rank 0: .*$old\); legal"
with_driver 12040 1 2 "${train[@]}"
says "on one rank" 0 out "warning: computes on the CPU, since CUDA fails on rank 1: .*$old"
with_driver 12040 01 2 bench collectives -e 8 -n 1
says "bench" 0 out "warning: computes on the CPU, since CUDA fails on rank 0: .*$old"
with_driver 12040 0 1 "${train[@]}" --device cpu
silent "on the CPU nobody asks"
with_driver 12040 none 1 "${train[@]}"
silent "a driver without a GPU"
with_driver 0 0 1 "${train[@]}"
silent "no driver"
finish
