#!/usr/bin/env bash
# timeout: 240
# Every benchmark program on 1 and 2 ranks, one sample each of small sizes: its figures against
# calculations by hand (check_results.py), its table, its options; and the script that runs them all.
# shellcheck source=test/app/lib.sh disable=SC2015
source test/app/lib.sh
command -v python3 >/dev/null || { echo "SKIPPED benchmarks: python3 is not on PATH"; finish; exit; }
programs=$PWD/build/${MODE:-release}/bench
checker=$PWD/test/bench/check_results.py
export OMP_NUM_THREADS=1 CUBOID_BENCH_MIB=16 CUBOID_BENCH_ROUNDS=1
declare -A small=([machine]='/512x|/1MiB|/256KiB|file' [model]='/demo/' [optimizer]='819' [collective]='/(8B|1KiB|32KiB)/'
  [pipeline]='4.0KiB' [base]='.' [data]='.' [checkpoint]='.' [trainer]='.')

for program in machine base model optimizer collective pipeline data checkpoint trainer; do
  for ranks in 1 2; do
    out=$work/$program-$ranks
    if (cd "$work" && timeout -k 5 100 mpirun -np "$ranks" --bind-to none "$programs/${program}_bench" --device=cpu \
      --benchmark_min_time=0 "--benchmark_filter=${small[$program]}" "--benchmark_out=$out.json") >"$out.txt" 2>&1 </dev/null; then
      python3 "$checker" "$program" "$ranks" "$out.json" "$out.txt" >"$out.checked" 2>&1 && ok ||
        fail "figures of $program on $ranks rank(s)" "$(head -n 20 "$out.checked")"
    else
      fail "$program on $ranks rank(s)" "exit $?" "$(tail -n 20 "$out.txt")"
    fi
  done
done
[[ -z $(find "$work" -name '*.h5' -o -name '*.raw' -o -name '*.bin') ]] && ok || fail "files left behind" "$(ls "$work")"

# ---- Ranks that share cores are said to, in the table and in the file
OMP_NUM_THREADS=$(($(env -u OMP_NUM_THREADS nproc) + 1)) "$programs/data_bench" --benchmark_min_time=0 --benchmark_filter=sample_id \
  "--benchmark_out=$work/shared.json" >"$work/out" 2>&1 </dev/null
grep -q '^warning: 1 ranks with .* threads each share .*: these are times of a crowded machine$' "$work/out" &&
  grep -q '"ranks_share_cores": "true"' "$work/shared.json" && ok || fail "shared cores" "$(cat "$work/out")"

# ---- A size that does not fit is left out by name; here the whole range of sizes, of which one is asked
mpirun -np 2 --bind-to none "$programs/collective_bench" --all --benchmark_list_tests >"$work/out" 2>"$work/err" </dev/null
(($(grep -c '^mpi/all_reduce/fp32/' "$work/out") == 28)) && grep -q '^mpi/all_reduce/fp32/8B/' "$work/out" &&
  grep -q '^mpi/all_reduce/fp32/1GiB/' "$work/out" && ok || fail "sizes of --all" "$(cat "$work/out" "$work/err")"

# ---- Options that are none
refuses() { # NAME TEXT ARGS...
  local name=$1 text=$2
  shift 2
  mpirun -np 2 "$programs/data_bench" "$@" >"$work/out" 2>"$work/err" </dev/null
  rc=$?
  ((rc == 2)) && (($(grep -cF -- "$text" "$work/err") == 1)) && ok || fail "$name" "exit $rc" "$(cat "$work/err")"
}
refuses "unknown option" "'--nonesuch' is no option" --nonesuch
refuses "bad time" "--benchmark_min_time 'soon' is not a time" --benchmark_min_time=soon
refuses "bad device" "--device 'tpu' is not a device" --device=tpu
if [[ ! -e /dev/nvidia0 ]]; then
  refuses "no GPU" "--device cuda: a rank sees no GPU" --device=cuda
fi

# ---- The script: one file with the machine and all results; a second run overwrites nothing
for _ in 1 2; do
  bench/run.sh --only 'data|pipeline' --ranks 2 --name here --min-time 0 --folder "$work" --results "$work/results" >"$work/out" 2>"$work/err" </dev/null ||
    fail "run.sh" "exit $?" "$(tail -n 20 "$work/out" "$work/err")"
done
mapfile -t written < <(find "$work/results" -name '*.json' | sort)
((${#written[@]} == 2)) && [[ ${written[*]} =~ here-[0-9-]{10}-2\.json ]] && python3 "$checker" run.sh 2 "${written[0]}" >"$work/checked" 2>&1 && ok ||
  fail "run.sh's file" "${written[@]}" "$(cat "$work/checked")"
grep -qE '^\[1/2\] pipeline on cpu: 2 rank' "$work/out" && grep -qE '^\[2/2\] data on cpu: 1 rank' "$work/out" && ok ||
  fail "progress" "$(cat "$work/out")"
bench/run.sh --only nonesuch >"$work/out" 2>"$work/err"
rc=$?
((rc == 2)) && grep -q "matches none of: machine .*model" "$work/err" && ok || fail "run.sh, no program" "exit $rc" "$(cat "$work/err")"
finish
