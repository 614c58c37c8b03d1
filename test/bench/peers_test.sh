#!/usr/bin/env bash
# timeout: 360
# bench/peers/compare.py on a tiny model: DDP's gradients against one process, one and two processes in turns, ratios derived again.
# shellcheck source=test/app/lib.sh disable=SC2015
source test/app/lib.sh
# The pinned wheels are for Python 3.11, and a LibTorch of the site's own may have no Python side.
if ! python3 -c 'import torch, numpy' 2>/dev/null &&
  { [[ -n ${TORCH_DIR:-} ]] || ! python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; }; then
  echo "SKIPPED PyTorch beside Cuboid: this $(python3 --version) has no torch and numpy (env/README.md)"
  finish
  exit
fi
unset OMP_NUM_THREADS
compare() { python3 -B bench/peers/compare.py --program "$program" --shapes tiny --dtypes fp32 --threads 2 --output "$work/results.json" "$@" >"$work/out" 2>"$work/err" </dev/null; }
refuses() { # NAME TEXT ARGS...
  local name=$1 text=$2 rc=0
  shift 2
  compare "$@" || rc=$?
  ((rc == 2)) && grep -qF -- "$text" "$work/err" && ok || fail "$name" "exit $rc" "$(cat "$work/err")"
}
refuses "threads" "--processes 3 does not divide --threads 2" --processes 3
refuses "sequences" "--processes 8 does not divide the 4 sequences of shape tiny; legal: 1, 2, 4" --processes 8 --threads 8
refuses "rounds" "are at least 1" --rounds 0

compare --rounds 1 --steps 4 --processes 1 2 --only cuboid 'pytorch eager' && ok || fail "compare" "$(tail -n 20 "$work/err")"
for line in '^compare: the peer against the tests. witness: ok: loss off by [0-9.e+-]+, gradients by' \
  '^compare: the peer against one process, by 2: ok: gradients off by [0-9]\.[0-9]e-[01][0-9], those of a share of the batch by' \
  '^cuboid +1 x 2 ' '^cuboid +2 x 1 .* [0-9.]+ \([0-9.]+-[0-9.]+\) +[0-9.]+ \([0-9.]+-[0-9.]+\)' '^pytorch eager, DDP +2 x 1 ' \
  '^cuboid [^;]*; mpi Open MPI .*; pytorch 2\.[0-9.]+[^;]*; ddp gloo$'; do
  grep -qE -- "$line" "$work/out" && ok || fail "compare: $line" "$(cat "$work/out")"
done
python3 - "$work/results.json" >"$work/wrong" 2>&1 <<'CHECK' && ok || fail "what was measured" "$(cat "$work/wrong")"
import json, sys
rows = {(row["program"], row["processes"]): row for row in json.load(open(sys.argv[1]))["rows"]}
assert list(rows) == [("cuboid", 1), ("pytorch eager", 1), ("cuboid", 2), ("pytorch eager, DDP", 2)], list(rows)
for row in rows.values():
    assert [len(times) for times in row["step_ms"]] == [4] and row["threads_of_each"] * row["processes"] == 2, row
    assert 2**25 < row["peak_memory_bytes"] < 2**35, row
    assert abs(row["tokens_per_second"] - 64e3 / row["step_ms_median"]) < 1e-6 * row["tokens_per_second"], row
CHECK

# ---- Turns and ratios, with programs that take times of their own
python3 -B test/bench/peers_check.py >"$work/wrong" 2>&1 && ok || fail "turns and ratios" "$(cat "$work/wrong")"
# ---- The same cores on other grids
grids() { python3 -B bench/peers/grids.py --program "$program" --shape tiny --threads 2 --rounds 2 --warmup 1 --output "$work/grids.json" "$@" >"$work/out" 2>"$work/err" </dev/null; }
grids --steps 3 --micro-batches 4 && ok || fail "grids" "$(tail -n 20 "$work/err")"
python3 - "$work/grids.json" >"$work/wrong" 2>&1 <<'CHECK' && ok || fail "grids: what was measured" "$(cat "$work/wrong")"
import json, statistics, sys
rows = {row["grid"]: row for row in json.load(open(sys.argv[1]))["rows"]}
assert list(rows) == ["1x1x1", "2x1x1", "1x2x1", "1x1x2"], list(rows)
middles = {grid: [statistics.median(times) for times in row["step_ms"]] for grid, row in rows.items()}
for grid, row in rows.items():
    assert [len(times) for times in row["step_ms"]] == [3, 3] and row["ranks"] * row["threads_of_each"] == 2, row
    assert abs(row["tokens_per_second"] - 4 * 64e3 / statistics.median(middles[grid])) < 1e-6 * row["tokens_per_second"], row
    wanted = statistics.median(one / mine for one, mine in zip(middles["1x1x1"], middles[grid]))
    assert abs(row["speed_over_one_process"]["median"] - wanted) < 1e-9, row
waits = {"1x1x1": (), "2x1x1": ("dp_wait",), "1x2x1": ("tp_wait",), "1x1x2": ("p2p_wait",)}
for grid, row in rows.items():
    assert tuple(part for part, share in row["share_of_step"].items() if share > 0) == waits[grid], row
CHECK
rc=0
grids --grids 2x2 || rc=$?
((rc == 2)) && grep -qF "'2x2' is not a grid; legal: DPxTPxPP" "$work/err" && ok || fail "a grid of two sizes" "exit $rc" "$(cat "$work/err")"
rc=0
grids --grids 3x1x1 || rc=$?
((rc == 2)) && grep -qF "3 ranks do not share out --threads 2" "$work/err" && ok || fail "too many ranks" "exit $rc" "$(cat "$work/err")"

# A process that fails: the others end, and its words are shown.
python3 -B - >"$work/wrong" 2>&1 <<'CHECK'
import sys
sys.path.insert(0, "bench/peers")
import programs
programs.run([sys.executable, "-c", "import os, sys, time; os.environ['RANK'] == '1' and sys.exit('out of luck'); time.sleep(60)"], {}, 2)
CHECK
rc=$?
((rc == 1)) && grep -qx 'out of luck' "$work/wrong" && grep -q '^compare: this failed with status 1: ' "$work/wrong" && ok || fail "a process that fails" "exit $rc" "$(cat "$work/wrong")"
finish
