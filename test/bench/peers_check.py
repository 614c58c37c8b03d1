"""compare.py's turns, ratios and efficiency, with programs whose step times are made up. Exits with an error where one is wrong."""

import argparse
import sys

sys.path.insert(0, "bench/peers")
import compare
import programs as runs

# Each round's median in ms; in the second the machine is slow.
TIMES = {
    ("cuboid", 1): [10.0, 20.0, 10.0],
    ("eager", 1): [12.0, 24.0, 11.0],
    ("slow", 1): [30.0] * 3,
    ("cuboid", 2): [8.0, 20.0, 9.0],
    ("eager", 2): [16.0, 32.0, 16.0],
    ("slow", 2): [40.0] * 3,
}
ORDER = []


def take(label, processes):
    turn = sum(1 for done in ORDER if done == (label, processes))
    ORDER.append((label, processes))
    middle = TIMES[label, processes][turn]
    return [1.5 * middle, middle, 0.9 * middle]


def near(found, *wanted):
    assert [round(found[name], 9) for name in ("min", "median", "max")] == [round(x, 9) for x in wanted], (found, wanted)


compare.busy_share = lambda: 0.02
compare.run_cuboid = lambda arguments, shape, dtype, processes: (take("cuboid", processes), 100 + len(ORDER))
compare.run_peer = lambda words, arguments, shape, processes: {
    "step_ms": take(words[0], processes), "peak_memory_bytes": 200, "program": "2.11.0", "backend": "gloo", "matrix_product_gflops": 100.0
}  # fmt: skip
arguments = argparse.Namespace(rounds=3, processes=[1, 2], threads=2)
programs = {"cuboid": None, "eager": ["eager"], "slow": ["slow"]}
shape = compare.SHAPES["tiny"]
step_ms, memory, rates, busy, versions = compare.measure(shape, "fp32", programs, arguments)
turn = [("cuboid", 1), ("eager", 1), ("slow", 1), ("cuboid", 2), ("eager", 2), ("slow", 2)]
assert ORDER == 3 * turn, ORDER
assert busy == 0.02 and rates == [100.0] * 6 and versions == {"pytorch": "2.11.0", "ddp": "gloo"}, (busy, rates, versions)
rows = {(row["program"], row["processes"]): row for row in compare.summarise(shape, "fp32", step_ms, memory, rates, arguments)}
near(rows["cuboid", 1]["speed_over_best_peer"], 1.1, 1.2, 1.2)
near(rows["cuboid", 2]["speed_over_best_peer"], 1.6, 16 / 9, 2.0)
near(rows["cuboid", 2]["speed_over_each_peer"]["slow"], 2.0, 40 / 9, 5.0)
near(rows["cuboid", 2]["scaling_efficiency"], 1.0, 10 / 9, 1.25)
near(rows["eager, DDP", 2]["scaling_efficiency"], 11 / 16, 0.75, 0.75)
near(rows["slow, DDP", 2]["speed_over_best_peer"], 0.4, 0.4, 0.8)
assert rows["cuboid", 1]["scaling_efficiency"] is None
assert runs.peak_memory({"ranks": [{"peak_memory_bytes": 3}, {"peak_memory_bytes": 5}]}) == 5
on_gpu = [{"peak_memory_bytes": 9, "peak_device_memory_bytes": peak} for peak in (7, 8)]
assert runs.peak_memory({"ranks": on_gpu}) == 8
# The largest of the rounds: the 13th program that ran.
assert rows["cuboid", 1]["peak_memory_bytes"] == 113 and rows["eager", 1]["peak_memory_bytes"] == 200, rows
assert [rows["cuboid", 1][f"step_ms_{which}"] for which in ("min", "median", "max")] == [9.0, 15.0, 30.0], rows["cuboid", 1]
