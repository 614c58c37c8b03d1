"""Reads the finished runs of a sweep's folder; writes scaling.csv and scaling.json there and prints a table.

A run's tokens/s, step time and MFU are medians over its steps after the warm-up (metrics.jsonl); the parts of a step and the bubble
are those of its step_times.json. A point's figures are minimum, median and maximum over its runs. Efficiency is tokens/s a rank over
that of the fewest ranks of the same kind on their best grid, for each turn of the sweep by itself: a machine that was slow for a while was so
for both. Standard library only.
"""

import csv
import json
import os
import re
import statistics
import sys

# What the parts of step_times.json come to: backward waits for what is not hidden behind it.
SPLIT = {
    "compute": ("forward", "backward", "graph"),  # a replayed step holds its collectives, too
    "communication": ("tp_wait", "dp_wait"),
    "pipeline_wait": ("p2p_wait",),
    "optimizer": ("optimizer",),
    "data": ("data",),
    "other": ("other",),
}
NUMBERS = ("run", "ranks", "nodes", "dp", "tp", "pp", "threads", "micro_batch_size", "microbatches", "global_batch")
KEPT = ("name", "kind", "ranks", "nodes", "threads", "dp", "tp", "pp", "schedule", "micro_batch_size", "microbatches", "global_batch")


def stop(text):
    sys.stderr.write(f"sweep: error: {text}\n")
    sys.exit(2)


def read_lines(path):
    """The "name = value" lines of a file, in order."""
    with open(path, encoding="utf-8") as file:
        return dict(line.rstrip("\n").partition(" = ")[::2] for line in file if " = " in line)


def read_run(folder):
    facts = read_lines(os.path.join(folder, "facts"))
    run = {**facts, **{name: int(facts[name]) for name in (*NUMBERS, "steps", "warmup")}}
    run["busy"] = float(facts["busy"])
    run["shared_cores"] = facts["shared_cores"] == "yes"
    with open(os.path.join(folder, "seconds"), encoding="utf-8") as file:
        run["seconds"] = float(file.read())
    with open(os.path.join(folder, "metrics.jsonl"), encoding="utf-8") as file:
        steps = [line for line in map(json.loads, file) if line["step"] > run["warmup"] and "loss" in line]
    if len(steps) != run["steps"] - run["warmup"]:
        stop(f"'{folder}/metrics.jsonl' has {len(steps)} steps after the warm-up, not {run['steps'] - run['warmup']}")
    for name in ("tokens_per_second", "step_ms", "mfu"):
        run[name] = statistics.median(line[name] for line in steps)
    run["mfu_convention"] = steps[0].get("mfu_convention", "")
    times = os.path.join(folder, "step_times.json")
    if os.path.exists(times):
        with open(times, encoding="utf-8") as file:
            add_times(run, json.load(file))
    return run


def add_times(run, times):
    parts = {name: part["mean"] for name, part in times["parts"].items()}
    run["parts_ms"] = parts
    run["split_ms"] = {name: sum(parts.get(part, 0.0) for part in of) for name, of in SPLIT.items()}
    run["mean_step_ms"] = times["step_ms"]
    if run["pp"] > 1 and times.get("bubble"):
        run["bubble"], run["bubble_theory"] = times["bubble"]["measured"], times["bubble"]["theory"]


def spread(values):
    values = list(values)
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def read_points(folder):
    """name -> its runs, in order of the turns."""
    points = {}
    root = os.path.join(folder, "points")
    for name in sorted(os.listdir(root)) if os.path.isdir(root) else []:
        runs = [entry for entry in os.listdir(os.path.join(root, name)) if os.path.exists(os.path.join(root, name, entry, "seconds"))]
        if runs:
            points[name] = [read_run(os.path.join(root, name, entry)) for entry in sorted(runs, key=int)]
    if not points:
        stop(f"nothing was measured in '{folder}'")
    return points


def summarise(runs):
    """The figures of one point."""
    point = {key: runs[0][key] for key in KEPT}
    point["grid"] = f"{point['dp']}x{point['tp']}x{point['pp']}"
    point["shared_cores"] = any(run["shared_cores"] for run in runs)
    for name in ("tokens_per_second", "step_ms", "mfu"):
        point[name] = spread(run[name] for run in runs)
    point["per_rank"] = point["tokens_per_second"]["median"] / point["ranks"]
    timed = [run for run in runs if "split_ms" in run]
    if timed:
        point["split_ms"] = {name: statistics.median(run["split_ms"][name] for run in timed) for name in SPLIT}
    if timed and "bubble" in timed[0]:
        point["bubble"] = spread(run["bubble"] for run in timed)
        point["bubble_theory"] = timed[0]["bubble_theory"]
    point["runs"] = [{key: value for key, value in run.items() if key not in KEPT} for run in runs]
    return point


def order(point):
    kinds = ("strong", "weak", "bubble")
    return kinds.index(point["kind"]), point["ranks"], point["pp"], point["tp"], point["schedule"], point["microbatches"]


def add_efficiency(points):
    for kind in ("strong", "weak"):
        group = [point for point in points if point["kind"] == kind]
        if not group:
            continue
        fewest = min(point["ranks"] for point in group)
        base = max((p for p in group if p["ranks"] == fewest), key=lambda p: p["tokens_per_second"]["median"])
        of_base = {run["run"]: run["tokens_per_second"] / fewest for run in base["runs"]}
        for point in group:
            ratios = [
                run["tokens_per_second"] / point["ranks"] / of_base[run["run"]]
                for run in point["runs"]
                if run["run"] in of_base
            ]
            if ratios:
                point["efficiency"] = spread(ratios)
                point["efficiency_of"] = base["name"]


def rows(points):
    """The lines of scaling.csv."""

    def of(point, name, which="median", digits=6):
        value = point.get(name)
        if value is None:
            return ""
        return f"{value[which] if isinstance(value, dict) else value:.{digits}g}"

    for point in points:
        row = {key: point[key] for key in ("kind", "ranks", "nodes", "grid", "global_batch", "schedule", "microbatches")}
        row.update(micro_batch_size=point["micro_batch_size"], threads=point["threads"], runs=len(point["runs"]))
        row["steps"] = point["runs"][0]["steps"] - point["runs"][0]["warmup"]
        for name in ("tokens_per_second", "efficiency", "step_ms", "bubble"):
            row[name] = of(point, name)
            row[f"{name}_min"], row[f"{name}_max"] = of(point, name, "min"), of(point, name, "max")
        row["bubble_theory"] = of(point, "bubble_theory")
        row["per_rank"], row["mfu"] = of(point, "per_rank"), of(point, "mfu")
        for name in SPLIT:
            row[f"{name}_ms"] = f"{point['split_ms'][name]:.6g}" if "split_ms" in point else ""
        row["shared_cores"] = "yes" if point["shared_cores"] else "no"
        yield row


def efficiency_text(point):
    if "efficiency" not in point:
        return "-"
    # Ranks that take turns on a core cannot scale, whatever the program does.
    if point["shared_cores"]:
        return "no meaning"
    return f"{100 * point['efficiency']['median']:.1f} %"


def table(points):
    """The lines of the table, the first of them its head."""
    yield ("kind", "ranks", "DPxTPxPP", "schedule", "m", "batch", "tokens/s", "min", "max", "a rank", "efficiency", "MFU", "step ms", "bubble", "theory")
    for point in points:
        speed = point["tokens_per_second"]
        bubble = [f"{100 * x:.1f} %" for x in (point["bubble"]["median"], point["bubble_theory"])] if "bubble" in point else ["-", "-"]
        yield (
            point["kind"], str(point["ranks"]) + ("*" if point["shared_cores"] else ""), point["grid"], point["schedule"],
            str(point["microbatches"]), str(point["global_batch"]), *(f"{speed[x]:,.0f}" for x in ("median", "min", "max")),
            f"{point['per_rank']:,.0f}", efficiency_text(point), f"{100 * point['mfu']['median']:.1f} %",
            f"{point['step_ms']['median']:.2f}", *bubble,
        )  # fmt: skip


def mfu_and_peak(run):
    """How a run counts FLOPs, and the peak that its MFU is a share of, in its own words."""
    counted, _, peak = re.sub(r",? over ", "|", run["mfu_of"], count=1).partition("|")
    return counted, peak


def main():
    folder = sys.argv[1]
    points = sorted((summarise(runs) for runs in read_points(folder).values()), key=order)
    add_efficiency(points)
    result = {"format": 1, "machine": {}, "options": {}, "points": points}
    for part in ("machine", "options"):
        if os.path.exists(os.path.join(folder, part)):
            result[part] = read_lines(os.path.join(folder, part))
    with open(os.path.join(folder, "scaling.json"), "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    lines = list(rows(points))
    with open(os.path.join(folder, "scaling.csv"), "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    cells = list(table(points))
    widths = [max(map(len, column)) for column in zip(*cells)]
    for row in cells:
        left = (0, 2, 3)
        print("  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip())
    print(f"MFU: {mfu_and_peak(points[0]['runs'][0])[0] or 'not computed'}")
    if any(point["shared_cores"] for point in points):
        print("* ranks share cores: an efficiency would say nothing of a machine that has a core for each")


if __name__ == "__main__":
    main()
