"""Derives a sweep's figures a second time, from metrics.jsonl and step_times.json alone, and compares them with scaling.csv:
derive.py FOLDER. Prints a line for each figure that differs; nothing where all agree. The grid, ranks and turn of a run come from the names
of its folders and from the launcher's command in its log, not from what the sweep noted."""

import csv
import glob
import json
import os
import re
import sys


def middle(values):
    values = sorted(values)
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


def run_of(folder, warmup):
    speeds, times = [], []
    with open(os.path.join(folder, "metrics.jsonl"), encoding="utf-8") as file:
        for line in file:
            step = json.loads(line)
            if step["step"] > warmup:
                speeds.append(step["tokens_per_second"])
                times.append(step["step_ms"])
    found = {"tokens_per_second": middle(speeds), "step_ms": middle(times)}
    try:
        with open(os.path.join(folder, "step_times.json"), encoding="utf-8") as file:
            parts = json.load(file)
    except FileNotFoundError:
        return found
    mean = {name: part["mean"] for name, part in parts["parts"].items()}
    found["compute_ms"] = mean["forward"] + mean["backward"] + mean.get("graph", 0)
    found["communication_ms"] = mean["tp_wait"] + mean["dp_wait"]
    found["pipeline_wait_ms"], found["optimizer_ms"] = mean["p2p_wait"], mean["optimizer"]
    found["data_ms"], found["other_ms"] = mean["data"], mean["other"]
    found["bubble"] = parts["bubble"]["measured"]
    return found


def main():
    folder, wrong = sys.argv[1], []
    with open(os.path.join(folder, "options"), encoding="utf-8") as file:
        warmup = int(re.search(r"^warmup = (\d+)$", file.read(), re.M).group(1))
    runs = {}
    for path in glob.glob(os.path.join(folder, "points", "*", "[0-9]*")):
        name, turn = path.split(os.sep)[-2:]
        runs.setdefault(name, {})[int(turn)] = run_of(path, warmup)
    ranks_of = {name: int(name.split("-")[1]) for name in runs}
    with open(os.path.join(folder, "scaling.csv"), encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if len(rows) != len(runs):
        wrong.append(f"{len(rows)} lines for {len(runs)} points")

    def same(what, value, text):
        if text == "" or abs(float(text) - value) > 1e-5 * max(abs(value), 1e-9):
            wrong.append(f"{what}: {text or 'nothing'}, derived {value}")

    for row in rows:
        name = f"{row['kind']}-{row['ranks']}-{row['grid']}"
        name += f"-{row['schedule']}" if row["schedule"] != "-" else ""
        name += f"-m{row['microbatches']}" if row["kind"] == "bubble" else ""
        mine = runs[name]
        if int(row["runs"]) != len(mine):
            wrong.append(f"{name}: {row['runs']} runs, not {len(mine)}")
        dp, tp, pp = map(int, row["grid"].split("x"))
        if dp * tp * pp != int(row["ranks"]):
            wrong.append(f"{name}: {row['grid']} is not {row['ranks']} ranks")
        figures = ["tokens_per_second", "step_ms"] + (["bubble"] if pp > 1 and "bubble" in mine[1] else [])
        for figure in figures:
            values = [run[figure] for run in mine.values()]
            same(f"{name} {figure}", middle(values), row[figure])
            same(f"{name} {figure}_min", min(values), row[f"{figure}_min"])
            same(f"{name} {figure}_max", max(values), row[f"{figure}_max"])
        same(f"{name} per_rank", middle([run["tokens_per_second"] for run in mine.values()]) / int(row["ranks"]), row["per_rank"])
        for part in ("compute", "communication", "pipeline_wait", "optimizer", "data", "other"):
            if "compute_ms" in mine[1]:
                same(f"{name} {part}_ms", middle([run[f"{part}_ms"] for run in mine.values()]), row[f"{part}_ms"])
        if pp > 1 and row["bubble_theory"]:
            same(f"{name} bubble_theory", (pp - 1) / (int(row["microbatches"]) + pp - 1), row["bubble_theory"])
        if row["kind"] == "bubble":
            continue
        kin = {other: found for other, found in runs.items() if other.startswith(row["kind"] + "-")}
        fewest = min(ranks_of[other] for other in kin)
        base = max(
            (other for other in kin if ranks_of[other] == fewest),
            key=lambda other: middle([run["tokens_per_second"] for run in kin[other].values()]),
        )
        ratios = [
            run["tokens_per_second"] / int(row["ranks"]) / (kin[base][turn]["tokens_per_second"] / fewest) for turn, run in mine.items()
        ]
        for figure, value in (("efficiency", middle(ratios)), ("efficiency_min", min(ratios)), ("efficiency_max", max(ratios))):
            same(f"{name} {figure}", value, row[figure])
    print("\n".join(wrong))


if __name__ == "__main__":
    main()
