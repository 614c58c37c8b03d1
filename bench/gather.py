#!/usr/bin/env python3
"""Joins the JSON files of several benchmark programs into one: the machine, then every result.

    gather.py --name NAME --load LOAD --seconds S --out RESULT.json PROGRAM=FILE.json ...
"""
import argparse
import json
import os
import platform
import subprocess
import sys

# Of Google Benchmark's own fields; the rest of a benchmark are its counters.
INTERNAL = {
    "name", "family_index", "per_family_instance_index", "run_name", "run_type", "repetitions",
    "repetition_index", "threads", "iterations", "real_time", "cpu_time", "time_unit", "label",
    "error_occurred", "error_message", "aggregate_name", "aggregate_unit",
}
SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def plain(name):
    return name.replace("/iterations:1", "").replace("/manual_time", "")


def gpus():
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return asked.stdout.strip().splitlines()


def machine(name, load, context):
    memory_kib = next(int(line.split()[1]) for line in open("/proc/meminfo")
                      if line.startswith("MemTotal"))
    system = "unknown"
    if os.path.exists("/etc/os-release"):
        for line in open("/etc/os-release"):
            if line.startswith("PRETTY_NAME="):
                system = line.split("=", 1)[1].strip().strip('"')
    caches = {f"L{cache['level']} {cache['type']}": cache["size"] for cache in context["caches"]}
    versions = {key.removeprefix("version_"): value
                for key, value in sorted(context.items()) if key.startswith("version_")}
    return {"name": name, "cpu": context["cpu"], "cores": len(os.sched_getaffinity(0)),
            "cache_bytes": caches, "memory_gib": round(memory_kib / 2**20, 1), "gpus": gpus(),
            "system": system, "kernel": platform.release(), "architecture": platform.machine(),
            "load_before": float(load), "versions": versions}


def result(benchmark):
    """One benchmark: its times in seconds, then its counters in bytes, FLOP and their rates."""
    if benchmark.get("error_occurred"):
        return {"name": plain(benchmark["name"]), "left_out": benchmark["error_message"]}
    seconds = benchmark["real_time"] * SECONDS[benchmark["time_unit"]]
    joined = {"name": plain(benchmark["name"]), "median_seconds": seconds}
    joined.update((key, value) for key, value in benchmark.items() if key not in INTERNAL)
    if benchmark.get("label"):
        joined["limit_of"] = benchmark["label"]
    return joined


def rounded(value):
    if not isinstance(value, float):
        return value
    return int(value) if value == int(value) and value < 2**53 else float(f"{value:.6g}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option in ("--name", "--load", "--seconds", "--out"):
        parser.add_argument(option, required=True)
    parser.add_argument("runs", nargs="+", metavar="PROGRAM=FILE")
    given = parser.parse_args()

    runs, described = [], None
    for run in given.runs:
        program, path = run.split("=", 1)
        with open(path) as file:
            output = json.load(file)
        context = output["context"]
        described = described or machine(given.name, given.load, context)
        runs.append({
            "program": program, "device": context["device"], "backend": context["backend"],
            "ranks": int(context["ranks"]), "nodes": int(context["nodes"]),
            "threads_per_rank": int(context["threads_per_rank"]),
            "ranks_share_cores": context["ranks_share_cores"] == "true",
            "date": context["date"],
            "benchmarks": [{key: rounded(value) for key, value in result(one).items()}
                           for one in output["benchmarks"]]})

    # One line a benchmark: files of two runs can be compared by eye and by diff.
    text = '{"machine": ' + json.dumps(described, indent=1) + f',\n"seconds": {given.seconds},\n"runs": [\n'
    blocks = []
    for run in runs:
        head = json.dumps({key: value for key, value in run.items() if key != "benchmarks"})[:-1]
        lines = ",\n  ".join(json.dumps(one) for one in run["benchmarks"])
        blocks.append(f' {head}, "benchmarks": [\n  {lines}]}}')
    text += ",\n".join(blocks) + "]}\n"
    json.loads(text)
    with open(given.out, "w") as file:
        file.write(text)


if __name__ == "__main__":
    sys.exit(main())
