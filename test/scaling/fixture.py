"""Writes a sweep's folder with known times, as sweep.sh and cuboid would leave it: fixture.py FOLDER

Strong scaling of 1 to 8 ranks: a rank does 1000 tokens/s on one rank; turn r is slower by r %. On 2 ranks DP has an efficiency of 0.9, on 4 of 0.8,
on 8 of 0.7, where 8 ranks share cores; TP loses another 0.1. Bubbles are 1 point above (p - 1) / (m + p - 1).
"""

import json
import os
import sys

STEPS, WARMUP = 6, 2
EFFICIENCY = {1: 1.0, 2: 0.9, 4: 0.8, 8: 0.7}


def write(folder, name, kind, turn, tokens_per_second, step_ms, ranks, dp, tp, pp, schedule, microbatches, shared=False):
    place = os.path.join(folder, "points", name, str(turn))
    os.makedirs(place)
    facts = {
        "name": name, "kind": kind, "run": turn, "ranks": ranks, "nodes": 1, "dp": dp, "tp": tp, "pp": pp, "schedule": schedule, "threads": 1,
        "micro_batch_size": 4, "microbatches": microbatches, "global_batch": 4 * microbatches * dp, "steps": STEPS, "warmup": WARMUP,
        "shared_cores": "yes" if shared else "no", "busy": "0.010", "command": "mpirun cuboid pretrain", "device": "CPU",
        "mfu_of": "6 N + 6 L h T FLOPs a token (llm.c's convention) over 1 TFLOP/s", "date": "2026-01-02T03:04:05Z",
    }  # fmt: skip
    with open(os.path.join(place, "facts"), "w", encoding="utf-8") as file:
        file.writelines(f"{key} = {value}\n" for key, value in facts.items())
    with open(os.path.join(place, "metrics.jsonl"), "w", encoding="utf-8") as file:
        for step in range(1, STEPS + 1):
            # The warm-up is slow, and steps differ around the median.
            factor = 0.1 if step <= WARMUP else (0.97, 0.99, 1.01, 1.03)[step - WARMUP - 1]
            line = {"step": step, "loss": 5.0, "tokens_per_second": tokens_per_second * factor, "step_ms": step_ms / factor, "mfu": 0.4}
            file.write(json.dumps(line) + "\n")
    theory = (pp - 1) / (microbatches + pp - 1)
    wait = (theory + 0.01 if pp > 1 else 0.0) * step_ms
    rest = step_ms - wait
    parts = {
        "forward": 0.25 * rest, "backward": 0.5 * rest, "p2p_wait": wait, "tp_wait": 0.1 * rest if tp > 1 else 0.0,
        "dp_wait": 0.08 * rest if dp > 1 else 0.0, "optimizer": 0.05 * rest, "data": 0.02 * rest,
    }  # fmt: skip
    parts["other"] = step_ms - sum(parts.values())
    times = {
        "steps": STEPS - 2, "first_step": 3, "step_ms": step_ms, "tokens_per_second": tokens_per_second, "mfu": 0.4, "mfu_convention": "llmc",
        "parts": {k: {"min": 0.9 * v, "mean": v, "max": 1.1 * v, "slowest_rank": 0, "slowest_host": "n1"} for k, v in parts.items()},
        "bubble": {"measured": wait / step_ms, "theory": theory},
        "ranks": [{"rank": 0, "host": "n1", "dp": 0, "tp": 0, "pp": 0, "ms": parts}],
    }  # fmt: skip
    with open(os.path.join(place, "step_times.json"), "w", encoding="utf-8") as file:
        json.dump(times, file)
    with open(os.path.join(place, "seconds"), "w", encoding="utf-8") as file:
        file.write("7\n")


def main():
    folder = sys.argv[1]
    for turn in (1, 2, 3):
        slow = 1 - turn / 100
        for ranks, efficiency in EFFICIENCY.items():
            for tp in (1, 2):
                if ranks % tp or (tp == 2 and ranks == 1):
                    continue
                # The last turn's large points are slower than their share.
                speed = 1000 * ranks * (efficiency - 0.1 * (tp - 1)) * slow * (0.98 if turn == 3 and ranks > 1 else 1)
                name = f"strong-{ranks}-{ranks // tp}x{tp}x1"
                write(folder, name, "strong", turn, speed, 1e3 * 64 / speed * 64, ranks, ranks // tp, tp, 1, "-", 32 // (ranks // tp), ranks == 8)
        for schedule in ("1f1b", "gpipe"):
            for m in (2, 4, 8, 16):
                speed = 1500 * m / (m + 1) * slow * (1.05 if schedule == "gpipe" else 1)
                write(folder, f"bubble-2-1x1x2-{schedule}-m{m}", "bubble", turn, speed, 100 * (m + 1), 2, 1, 1, 2, schedule, m)
    for name, text in {"machine": "processor = A processor\nmemory of a node = 8.0 GiB\n", "options": "steps = 6\nwarmup = 2\nprocessor = A processor\n"}.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
