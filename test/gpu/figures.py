#!/usr/bin/env python3
"""Figures of a check, as JSON on standard output.

    figures.py speed METRICS.jsonl        the median step, tokens/s and MFU of a run, without its first four steps
    figures.py peers RESULTS.json         Cuboid's speed over each PyTorch program, from bench/peers
    figures.py bench RESULTS.json         every row's time, rate and share of the device's limit
    figures.py tokens FOLDER VOCAB COUNT  writes random token ids in nanoGPT's format (raw uint16)
"""
import array
import json
import os
import random
import statistics
import sys

WARM_UP = 4  # steps: products choose their algorithms, the allocator fills


def speed(path):
    with open(path, encoding="utf-8") as file:
        steps = [line for line in map(json.loads, file) if "step_ms" in line][WARM_UP:]
    if not steps:
        sys.exit(f"figures: {path} has no step after the first {WARM_UP}")
    medians = {key: statistics.median(step[key] for step in steps) for key in ("step_ms", "tokens_per_second", "mfu")}
    return {
        **medians,
        "step_ms_min": min(step["step_ms"] for step in steps),
        "step_ms_max": max(step["step_ms"] for step in steps),
        "steps": len(steps),
        "mfu_convention": steps[-1]["mfu_convention"],
    }


def peers(path):
    with open(path, encoding="utf-8") as file:
        results = json.load(file)
    rows = {row["program"]: row for row in results["rows"]}
    mine = rows["cuboid"]
    return {
        "step_ms": {name: row["step_ms_median"] for name, row in rows.items()},
        "speed_over_each_peer": {name: ratio["median"] for name, ratio in mine["speed_over_each_peer"].items()},
        "speed_over_best_peer": mine["speed_over_best_peer"]["median"],
        "versions": results["versions"],
    }


def bench(path):
    with open(path, encoding="utf-8") as file:
        rows = json.load(file)["benchmarks"]
    figures = {}
    for row in rows:
        name = row["name"].replace("/iterations:1", "").replace("/manual_time", "")
        if row.get("error_occurred"):
            figures[name] = {"left_out": row["error_message"]}
            continue
        rates = {key: row[key] for key in ("bytes/s", "FLOP/s", "limit", "share") if key in row}
        figures[name] = {"time": row["real_time"], "unit": row["time_unit"], **rates, "limit_of": row.get("label", "")}
    return figures


def tokens(folder, vocabulary, count):
    generator = random.Random(1)
    os.makedirs(folder, exist_ok=True)
    for name, size in (("train.bin", count), ("val.bin", count // 64)):
        ids = array.array("H", (int(generator.random() * vocabulary) for _ in range(size)))
        if sys.byteorder == "big":
            ids.byteswap()
        with open(os.path.join(folder, name), "wb") as file:
            ids.tofile(file)


def main():
    what, arguments = sys.argv[1], sys.argv[2:]
    if what == "tokens":
        return tokens(arguments[0], int(arguments[1]), int(arguments[2]))
    json.dump({"speed": speed, "peers": peers, "bench": bench}[what](*arguments), sys.stdout)
    print()


if __name__ == "__main__":
    main()
