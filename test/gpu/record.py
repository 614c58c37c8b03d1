#!/usr/bin/env python3
"""Adds one check's outcome to the JSON file of this device, or replaces the one of the same name.

    record.py FILE NAME passed|failed|skipped SECONDS FIGURES.json REASON

The figures are a file that need not exist. The file holds the machine, then one line a check.
"""
import datetime
import json
import os
import platform
import subprocess
import sys


def asked(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def machine():
    query = "--query-gpu=name,memory.total,driver_version,clocks.max.sm,power.limit"
    versions = asked(os.environ.get("CUBOID", "bin/cuboid"), "--version").splitlines()
    return {
        "gpus": asked("nvidia-smi", query, "--format=csv,noheader").splitlines(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "cuboid": dict(line.split(None, 1) for line in versions if " " in line.strip()),
    }


def figures_in(path):
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return {"figures": json.load(file)}


def main():
    path, name, outcome, seconds, figures, reason = sys.argv[1:]
    results = {"machine": machine(), "checks": []}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            results["checks"] = json.load(file)["checks"]
    entry = {"name": name, "outcome": outcome, "seconds": int(seconds)}
    entry["at"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    if os.environ.get("MPS"):  # ranks share a GPU: whether they did under NVIDIA's MPS
        entry["mps"] = os.environ["MPS"]
    entry.update({"reason": reason} if reason else {}, **figures_in(figures))
    names = [check["name"] for check in results["checks"]]
    if name in names:
        results["checks"][names.index(name)] = entry
    else:
        results["checks"].append(entry)
    lines = ",\n  ".join(json.dumps(check) for check in results["checks"])
    text = '{"machine": ' + json.dumps(results["machine"], indent=1) + f',\n"checks": [\n  {lines}]}}\n'
    json.loads(text)
    # Never half a file, whatever ends the run.
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".new", path)


if __name__ == "__main__":
    main()
