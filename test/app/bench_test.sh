#!/usr/bin/env bash
# cuboid bench collectives as its users call it: axes of grids, bad input, the table, the file, and
# exit code 1 where a result is wrong (MPI_Allreduce is made to lie).
# shellcheck source=test/app/lib.sh disable=SC2015
# timeout: 200
source test/app/lib.sh
LIMIT=60
quick=(-n 2 -w 1)

says() { # NAME EXIT TEXT...: each text in the output or the error
  local name=$1 wanted=$2 text
  shift 2
  ((rc == wanted)) || { fail "$name" "exit $rc, wanted $wanted" "$(head -n 12 "$work/err")"; return; }
  for text in "$@"; do
    cat "$work/out" "$work/err" | grep -qE -- "$text" || { fail "$name" "no '$text' in:" "$(head -n 20 "$work/out" "$work/err")"; return; }
  done
  ok
}

# ---- Every verb and axis, with its ranks
run 4 bench collectives "${quick[@]}" -b 8 -e 4K -f 8 --json "$work/all.json"
says "all verbs" 0 '^# cuboid bench collectives: 4 ranks on 1 node, grid 4x1x1' '^# Axis world: 1 group of 4 ranks' '^# Memory: shared by the ranks of a node' \
  '^# all_reduce +in-place$' '^# all_gather +out-of-place +in-place$' '^# reduce_scatter ' '^# broadcast +in-place$' '^# sendrecv +out-of-place$' \
  '^# Out of bounds values : 0 OK$' '^# Avg bus bandwidth    : [0-9.]+ GB/s$'
(($(nproc) >= 4)) || says "shared cores" 0 '^# warning: 4 ranks share [0-9]+ cores'
rows=$(grep -cE '^ +[0-9]+ +[0-9]+ +fp32 +(sum|none) +(-1|0)( +[0-9.]+){3} +0( +[0-9.]+ +[0-9.]+ +[0-9.]+ +0)?$' "$work/out")
[[ $rows == 18 && $(grep -vc '^#' "$work/out") == 18 ]] && ok || fail "rows" "$rows of 18" "$(cat "$work/out")"
python3 - "$work/all.json" <<'PYTHON' && ok || fail "the file" "$(head -c 2000 "$work/all.json")"
import json, sys
result = json.load(open(sys.argv[1]))
assert len(result["rows"]) == 18 + 6, len(result["rows"])
assert result["wrong"] == 0 and result["grid"] == "4x1x1" and result["ranks_of_a_group"] == 4
for row in result["rows"]:
    n, verb = 4, row["collective"]
    factor = {"all_reduce": 2 * (n - 1) / n, "all_gather": (n - 1) / n, "reduce_scatter": (n - 1) / n}.get(verb, 1)
    algorithm = row["bytes"] / row["seconds"] / 1e9
    parts = n if verb in ("all_gather", "reduce_scatter") else 1
    assert row["bytes"] == row["count"] * 4 * parts, row
    assert abs(row["algbw_GBps"] / algorithm - 1) < 1e-12 and abs(row["busbw_GBps"] / algorithm / factor - 1) < 1e-12, row
mean = sum(row["busbw_GBps"] for row in result["rows"]) / len(result["rows"])
assert abs(result["average_busbw_GBps"] / mean - 1) < 1e-12
PYTHON

axis() { # AXIS GROUPS ARGS...
  run 4 bench collectives all_reduce sendrecv "${quick[@]}" -b 1K -e 1K --axis "$1" "${@:3}"
  says "axis $1" 0 "^# Axis $1: $2" '^# Out of bounds values : 0 OK$'
}
axis tp '2 groups of 2 ranks, all at the same time' --tensor-parallel-size 2
axis dp '2 groups of 2 ranks' --pipeline-model-parallel-size 2
axis mp '1 group of 4 ranks' --tensor-parallel-size 2 --pipeline-parallel-size 2
axis ends '1 group of 2 ranks' --pipeline-parallel-size 4
run 3 bench collectives "${quick[@]}" -b 64 -e 64 -d all -o all -r 2 -c 2 -a 1
says "all types and operations" 0 ' bf16 +max ' ' int64 +min ' ' uint8 +none +2 ' 'mean over a group' '; 2 checked$' '0 OK$'

# ---- A wrong result
cat >"$work/lie.c" <<'C'
#include <mpi.h>
int MPI_Allreduce(const void* in, void* out, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm) {
  const int code = PMPI_Allreduce(in, out, count, type, op, comm);
  if (count == 250 && type == MPI_FLOAT) ((float*)out)[249] += 1;
  return code;
}
C
mpicc -shared -fPIC -o "$work/lie.so" "$work/lie.c"
LD_PRELOAD=$work/lie.so run 2 bench collectives all_reduce broadcast --memory own -b 1000 -e 4000 "${quick[@]}" --json "$work/wrong.json"
says "a wrong result" 1 "^# Memory: each rank's own$" '^ +1000 +250 .* 2$' '^ +4000 +1000 +fp32 +sum .* 0$' '^# Out of bounds values : 2 FAILED$'
grep -q '"wrong": 2,' "$work/wrong.json" && ok || fail "a wrong result in the file" "$(cat "$work/wrong.json")"

# ---- Bad input: one error on rank 0, exit 2
refuses() { # NAME RANKS TEXT... -- ARGS...: each text once in the error
  local name=$1 ranks=$2 texts=() text
  shift 2
  while [[ $1 != -- ]]; do texts+=("$1"); shift; done
  shift
  run "$ranks" bench collectives "$@"
  for text in "${texts[@]}"; do
    (($(grep -cF -- "$text" "$work/err") == 1)) || { fail "$name" "wanted once: $text" "$(head -n 8 "$work/err")"; return; }
  done
  ((rc == 2)) && ! grep -q '^ ' "$work/out" && ok || fail "$name" "exit $rc" "$(cat "$work/out")"
}
refuses "one rank" 1 "--axis world has groups of one rank" "two ranks or more" --
refuses "an axis of one" 1 "--axis tp has groups of one rank" -- --axis tp
refuses "a grid that does not fit" 1 "--tensor-parallel-size 2" "2, 4 or 6 ranks" -- --axis tp --tensor-parallel-size 2
refuses "many mistakes" 1 "'allreduce': did you mean 'all_reduce'?" "--minbytes 4X: not legal" "'--iter': did you mean --iters?" \
  "--check has no value" "--stepbytes and --stepfactor are both given" -- allreduce -b 4X --iter 3 -f 2 -i 4K -c
refuses "sizes the wrong way round" 1 "--minbytes 1048576 is above --maxbytes 1024" -- -b 1M -e 1K
refuses "what groups do not allow" 4 "no size up to 8 bytes has an element for each of 4 ranks" \
  "--root 4: --axis world has groups of 4 ranks; legal: 0 to 3" -- all_gather -b 8 -e 8 -r 4
refuses "bytes are not summed" 1 "--datatype uint8: all_reduce" -- all_reduce -d uint8
refuses "an option of training" 1 "unknown option '--learning-rate'" -- --learning-rate 1
refuses "nccl on a CPU" 1 "--comm-backend nccl does not work with --device cpu" -- --comm-backend nccl --device cpu
if ! command -v nvidia-smi >/dev/null; then
  refuses "nccl without a GPU" 1 "--comm-backend nccl does not work" -- --comm-backend nccl
  refuses "no GPU" 1 "--device cuda: not every rank sees a CUDA device" -- --device cuda
fi
refuses "more than memory" 2 "--maxbytes 1099511627776: 2 ranks need" "free on $(uname -n)" -- -e 1T
refuses "a file that cannot be written" 2 "--json '$work/no/file' cannot be written" -- --json "$work/no/file"
run 1 bench collective
says "an unknown benchmark" 2 "unknown benchmark 'collective'; legal are collectives"
run 1 bench
says "no benchmark" 2 "cuboid bench: of what?"
run 2 bench collectives --help
says "help" 0 '-b \[ --minbytes \] SIZE' '--tensor-parallel-size N' && (($(grep -c '^Benchmark:' "$work/out") == 1)) && ok || fail "help once"
timeout 60 mpirun -np 1 "$program" bench collectives -n 3 : -np 1 "$program" bench collectives -n 4 >"$work/out" 2>"$work/err"
rc=$?
says "ranks with different options" 2 'the options of rank 1 differ'

finish
