#!/usr/bin/env bash
# timeout: 120
# The shell side of make gpu-check, with programs that only pretend: every check in the JSON file with its outcome, time and
# figures; failures, time limits, skipped tests and missing tools told apart; parts by name, added to the file of the day.
# shellcheck source=test/app/lib.sh disable=SC2015,SC2016  # pretended programs expand their own words
source test/app/lib.sh
command -v python3 >/dev/null || { echo "SKIPPED gpu-check: python3 is not on PATH"; finish; exit; }
unset CUDA_HOME NCCL_LIB LIMIT RESULTS OMP_NUM_THREADS CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
pretend() { # FILE LINE...: a script
  mkdir -p "$(dirname "$1")"
  { echo '#!/usr/bin/env bash'; printf '%s\n' "${@:2}"; } >"$1"
  chmod +x "$1"
}
bin=$work/bin
pretend "$bin/nvidia-smi" '[[ $* == *name,memory* ]] && echo "NVIDIA Pretend 100, 81559 MiB" || echo "NVIDIA Pretend 100"'
pretend "$bin/mpirun" "echo \"\$* on \${OMP_NUM_THREADS:-all} threads\${CUDA_MPS_PIPE_DIRECTORY:+, MPS}\" >>'$work/mpirun'" 'shift 2' 'exec "$@"'
pretend "$bin/compute-sanitizer" 'while [[ $1 == --* ]]; do shift 2; done' 'exec "$@"'
# As NVIDIA's: a control that listens in its folder until it is told to quit.
pretend "$bin/nvidia-cuda-mps-control" "[[ -z \${CUDA_MPS_PIPE_DIRECTORY:-} ]] && exit 1" \
  "[[ \${1:-} == -d ]] && { echo start >>'$work/mps'; touch \"\$CUDA_MPS_PIPE_DIRECTORY/control\"; exit; }" \
  "[[ -e \$CUDA_MPS_PIPE_DIRECTORY/control ]] && read -r word && echo \"\$word\" >>'$work/mps'"
pretend "$bin/df" "echo Avail" "echo ' 40G'"
pretend "$bin/free" 'echo "Mem: 125 20 1 1 100 104"'
gtest='echo "[       OK ] Suite.Test (3 ms)"'
for name in kernels/gpu_test collective/nccl_communicator_test collective/device_clock_test trainer/gpu_test trainer/gpu_step_test trainer/gpu_graph_test; do
  pretend "$work/build/test/$name" "$gtest"
done
for name in machine model optimizer collective pipeline; do
  pretend "$work/build/bench/${name}_bench" 'for a in "$@"; do [[ $a == --benchmark_out=* ]] && out=${a#*=}; done' \
    'echo "{\"benchmarks\": [{\"name\": \"copy/8MiB/iterations:1/manual_time\", \"real_time\": 2.5, \"time_unit\": \"us\", \"bytes/s\": 3e12, \"share\": 0.9, \"label\": \"copy\"}]}" >"$out"'
done
# A run: metrics of ten steps, the first four slow; a trace is another test's.
pretend "$work/cuboid" '[[ $1 == --version ]] && { echo "cuboid 1.0"; exit; }' '[[ $1 == bench ]] && exit' \
  'while (($#)); do [[ $1 == --output-dir ]] && out=$2; shift; done' 'mkdir -p "$out"' \
  "[[ \$out == */trained-* ]] && dirname \"\$out\" >>'$work/folders'" \
  'for i in $(seq 10); do ms=$((i < 5 ? 900 : 100 + i)); echo "{\"step\": $i,\"loss\":2.5,\"step_ms\":$ms,\"tokens_per_second\":1e6,\"mfu\":0.5,\"mfu_convention\":\"llmc\"}"; done >"$out/metrics.jsonl"'
pretend "$work/compare" 'while (($#)); do [[ $1 == --output ]] && out=$2; shift; done' \
  'echo "{\"versions\": {}, \"rows\": [{\"program\": \"cuboid\", \"step_ms_median\": 10, \"speed_over_each_peer\": {\"eager\": {\"median\": 1.5}}, \"speed_over_best_peer\": {\"median\": 1.5}}, {\"program\": \"eager\", \"step_ms_median\": 15}]}" >"$out"'

results=$work/results.json
gpu_check() { # ARGS...: exit code in $rc
  PATH=$bin:$PATH BUILD=$work/build CUBOID=$work/cuboid COMPARE=$work/compare RESULTS=$results \
    timeout -k 5 60 test/gpu/check.sh "$@" >"$work/out" 2>"$work/err" </dev/null
  rc=$?
}
says() { # NAME EXIT REGEX...: each in a line of the output
  local name=$1 wanted=$2 regex
  shift 2
  ((rc == wanted)) && ok || fail "$name" "exit $rc, wanted $wanted" "$(tail -n 30 "$work/out" "$work/err")"
  for regex in "$@"; do
    grep -qE -- "$regex" "$work/out" "$work/err" && ok || fail "$name" "wanted: $regex" "$(tail -n 40 "$work/out" "$work/err")"
  done
}
holds() { # NAME EXPRESSION: true of `checks` (by name) and `results`
  python3 - "$results" "$2" >"$work/wrong" 2>&1 <<'CHECK' && ok || fail "$1" "$2" "$(cat "$work/wrong")"
import json, sys
results = json.load(open(sys.argv[1]))
checks = {check["name"]: check for check in results["checks"]}
assert len(checks) == len(results["checks"]), "a name twice"
assert eval(sys.argv[2]), json.dumps(results, indent=1)
CHECK
}

# ---- Names, and mistakes
gpu_check --list
says "names" 0 '^kernels/against formulas$' '^training/syncs and allocations$' '^training/replayed steps bit for bit, 2 ranks$' '^mfu/124m, not replayed$' '^sanitizer/kernels, racecheck$' '^mfu/1.5b$' '^peer/124m$'
names=$(wc -l <"$work/out")
gpu_check nonesuch
says "no check" 2 "'nonesuch' matches no check"
gpu_check --fast
says "option" 2 "unknown option '--fast'"
LIMIT=soon gpu_check
says "limit" 2 "LIMIT 'soon' is not a number"
[[ ! -e $results ]] && ok || fail "a file that no check wrote"
mv "$bin/nvidia-smi" "$work/away"
if ! command -v nvidia-smi >/dev/null; then
  gpu_check
  says "no GPU" 1 'no GPU on this machine'
fi
mv "$work/away" "$bin/nvidia-smi"

# ---- All of it. The trace of a pretended run is none, which is one failure, and the only one
gpu_check
says "everything" 1 '^kernels/against formulas +passed' '^training/trace and table of a run +FAILED' '^[0-9]+ passed, 1 failed$'
holds "every check" "len(checks) == $names and results['machine']['gpus'] == ['NVIDIA Pretend 100, 81559 MiB']"
holds "outcomes" "[n for n, c in checks.items() if c['outcome'] != 'passed'] == ['training/trace and table of a run']"
[[ $(grep -c '^-np 1 .*_test on 1 threads$' "$work/mpirun") == 3 && $(grep -c '^-np [28] .*_test on 1 threads, MPS$' "$work/mpirun") == 5 ]] && ok || fail "threads of ranks" "$(cat "$work/mpirun")"
[[ $(paste -sd, "$work/mps") == start,quit ]] && ok || fail "MPS starts once and ends" "$(cat "$work/mps")"
holds "MPS" "[n for n, c in checks.items() if c.get('mps') == 'yes'] == [n for n in checks if n.startswith(('coll', 'train')) and n.endswith(('2 ranks', '8 ranks')) and 'bench' not in n]"
[[ $(sort -u "$work/folders") == /dev/shm/gpu-check.* && ! -e $(head -n 1 "$work/folders") ]] && ok || fail "checkpoints in memory" "$(cat "$work/folders")"
holds "MFU" "checks['mfu/350m']['figures'] == {'step_ms': 107.5, 'tokens_per_second': 1e6, 'mfu': 0.5, 'step_ms_min': 105, 'step_ms_max': 110, 'steps': 6, 'mfu_convention': 'llmc'}"
holds "peers" "checks['peer/774m']['figures']['speed_over_best_peer'] == 1.5 and checks['peer/774m']['figures']['step_ms'] == {'cuboid': 10, 'eager': 15}"
holds "rows" "checks['bench/model']['figures']['copy/8MiB'] == {'time': 2.5, 'unit': 'us', 'bytes/s': 3e12, 'share': 0.9, 'limit_of': 'copy'}"

# ---- Checkpoints where memory has no room for them
pretend "$bin/df" "echo Avail" "echo ' 1G'"
rm "$work/folders"
gpu_check '^mfu/124m$'
[[ $(cat "$work/folders") != /dev/shm/* ]] && ok || fail "checkpoints on a disk" "$(cat "$work/folders")"

# ---- MPS that is not there, does not start, serves nobody, or is another's
mps() { # WANTED LINE...: the pretended control
  if (($# > 1)); then pretend "$bin/nvidia-cuda-mps-control" "${@:2}"; else rm "$bin/nvidia-cuda-mps-control"; fi
  gpu_check '^collectives/2 ranks'
  says "MPS: $1" 0 "^MPS for ranks that share a GPU: $1" '^1 passed, 0 failed$'
  holds "MPS: $1" "checks['collectives/2 ranks']['mps'].startswith('$1')"
}
mv "$work/cuboid" "$work/away"
pretend "$work/cuboid" '[[ $1 == --version ]]'
mps 'no: its server serves no program' '[[ -n ${CUDA_MPS_PIPE_DIRECTORY:-} ]]'
mv "$work/away" "$work/cuboid"
mps 'no: nvidia-cuda-mps-control does not start' 'exit 1'
mps 'yes: a server that ran before' '[[ -z ${CUDA_MPS_PIPE_DIRECTORY:-} ]]'
[[ $(tail -n 1 "$work/mpirun") == *"threads" ]] && ok || fail "another's server is left as it is" "$(tail -n 1 "$work/mpirun")"
command -v nvidia-cuda-mps-control | grep -qv "^$bin/" || mps 'no: nvidia-cuda-mps-control is not installed'

# ---- A part again: what fails, what skips, what hangs, what is not installed; the rest of the file stays
pretend "$work/build/test/kernels/gpu_test" "$gtest" 'echo "[  FAILED  ] Suite.Other (3 ms)"' 'exit 1'
pretend "$work/build/test/collective/device_clock_test" 'sleep 30'
pretend "$work/build/test/trainer/gpu_test" 'echo "x_test.cpp:3: Skipped"' 'echo "ranks share a GPU"' 'echo "[  SKIPPED ] Suite.Test (0 ms)"'
LIMIT=1 gpu_check '^kernels|clock|training/against'
says "a part" 1 '^kernels/against formulas +FAILED .* exit 1' '    \| \[  FAILED  \] Suite.Other' "clock +FAILED .* timed out after 1 s" \
  '^training/against the CPU, 2 ranks +skipped .* ranks share a GPU' '^3 skipped' '^0 passed, 2 failed$'
holds "the rest stays" "len(checks) == $names and checks['mfu/124m']['outcome'] == 'passed'"
holds "reasons" "checks['training/against the CPU, 8 ranks']['reason'] == 'ranks share a GPU' and checks['kernels/against formulas']['outcome'] == 'failed'"
# A test that needs no GPU passes; the others skip, for a reason that is none here.
pretend "$work/build/test/trainer/gpu_step_test" "$gtest" 'echo "x_test.cpp:3: Skipped"' 'echo "no CUDA device"' 'echo "[  SKIPPED ] Suite.Test (0 ms)"'
gpu_check 'syncs and allocations'
says "a GPU that the programs do not see" 1 '^training/syncs and allocations +FAILED .* nvidia-smi lists a GPU, but the program sees none' '^0 passed, 1 failed$'
rm "$bin/compute-sanitizer"
if ! command -v compute-sanitizer >/dev/null && [[ ! -x /usr/local/cuda/bin/compute-sanitizer ]]; then
  gpu_check '^sanitizer'
  says "no sanitizer" 0 '^sanitizer/kernels, memcheck +skipped .* compute-sanitizer is not installed' '^0 passed, 0 failed$'
fi
finish
