"""Checks a run's trace, step_times.json, metrics.jsonl and printed table against each other.

    trace_check.py FOLDER DP TP PP MICRO_BATCHES

FOLDER holds the run's files and its standard output as `out`; the traced steps are those counted.
Prints a line a check: "ok ..." or what is wrong.
"""

import json
import pathlib
import sys
from collections import defaultdict

PARTS = ["forward", "backward", "p2p_wait", "tp_wait", "dp_wait", "optimizer", "data", "other"]
TITLES = {"p2p_wait": "p2p wait", "tp_wait": "TP wait", "dp_wait": "DP wait"}
TRACKS = {1: "compute", 2: "TP communication", 3: "PP communication", 4: "DP communication"}


def say(right, what, detail=""):
    print(f"ok {what}" if right else f"{what}: {detail}")


def close(a, b, tolerance):
    return abs(a - b) <= tolerance * max(abs(a), abs(b)) + 1e-6


def self_times(slices):
    """Milliseconds by category: each slice without those inside it. Tracks are one program's, so
    all of a rank's slices nest."""
    total, open_ = defaultdict(float), []
    for event in sorted(slices, key=lambda e: (e["ts"], -e["dur"])):
        # Times are written to the nanosecond, as doubles.
        while open_ and open_[-1][1] <= event["ts"] + 1e-4:
            open_.pop()
        end = event["ts"] + event["dur"]
        if open_:
            if end > open_[-1][1] + 1e-3:
                raise SystemExit(f"{event} reaches beyond {open_[-1]}")
            total[open_[-1][0]] -= event["dur"]
        total[event["cat"]] += event["dur"]
        open_.append((event["cat"], end))
    return {part: total[part] * 1e-3 for part in PARTS}


def main():
    folder = pathlib.Path(sys.argv[1])
    dp, tp, pp, micro_batches = map(int, sys.argv[2:6])
    ranks = dp * tp * pp
    times = json.loads((folder / "step_times.json").read_text())
    (trace,) = folder.glob("trace-steps-*.json")
    events = json.loads(trace.read_text())["traceEvents"]
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    out = (folder / "out").read_text()

    # The table's parts against the step's wall time, which is measured apart.
    counted = [m["step_ms"] for m in metrics if m["step"] >= times["first_step"]]
    wall = sum(counted) / len(counted)
    say(len(counted) == times["steps"], "as many steps", f"{len(counted)} and {times['steps']}")
    mine = sum(times["ranks"][0]["ms"].values())
    say(close(mine, wall, 0.02), "parts add up to the step", f"{mine} and {wall}")
    say(close(times["step_ms"], wall, 0.05), "all ranks' steps take as long", f"{times['step_ms']}")

    by_rank = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            by_rank[event["pid"]].append(event)
    peaks = [rank["peak_memory_bytes"] for rank in times["ranks"]]
    say(all(2**25 < peak < 2**35 for peak in peaks), "every rank's memory", peaks)
    say(sorted(by_rank) == list(range(ranks)), "a process for each rank", sorted(by_rank))
    for rank, slices in sorted(by_rank.items()):
        traced = self_times(slices)
        for part in PARTS:
            table = times["ranks"][rank]["ms"][part]
            if not close(traced[part] / times["steps"], table, 1e-4):
                say(False, f"rank {rank}, {part}", f"trace {traced[part] / times['steps']}, {table}")
                break
        else:
            say(True, f"rank {rank}: the trace's durations are the table's")

    # Each action of each step by name, on its track.
    for rank, slices in sorted(by_rank.items()):
        stage = times["ranks"][rank]["pp"]
        wanted = {"forward": micro_batches, "backward": micro_batches}
        wanted["receive activation"] = wanted["send gradient"] = micro_batches * (stage > 0)
        wanted["send activation"] = wanted["receive gradient"] = micro_batches * (stage < pp - 1)
        found = defaultdict(int)
        wrong_track = [e for e in slices if e["tid"] != {"tp_wait": 2, "p2p_wait": 3, "dp_wait": 4}.get(e["cat"], 1)]
        for event in slices:
            args = event["args"]
            if "micro_batch" in args:
                kind = event["name"].removesuffix(f" mb {args['micro_batch']} chunk {args['chunk']}")
                found[kind] += 1
        right = all(found[kind] == count * times["steps"] for kind, count in wanted.items())
        say(right and not wrong_track, f"rank {rank}: every action by name", f"{dict(found)} {wrong_track[:2]}")
        say(bool(tp > 1) == any(e["cat"] == "tp_wait" for e in slices), f"rank {rank}: TP calls")
        say(bool(pp > 1) == any(e["cat"] == "p2p_wait" for e in slices), f"rank {rank}: PP calls")
        say(bool(dp > 1) == any(e["cat"] == "dp_wait" for e in slices), f"rank {rank}: DP calls")

    names = {(e["pid"], e.get("tid")): e["args"]["name"] for e in events if e["name"] in ("thread_name", "process_name")}
    say(all(names[rank, 1] == TRACKS[1] for rank in range(ranks)), "compute tracks")
    axes = {2: tp, 3: pp, 4: dp}
    say(all(((r, t) in names) == (n > 1) for r in range(ranks) for t, n in axes.items()), "tracks of axes", names)
    say(all(names[r, None].startswith(f"rank {r} (dp ") for r in range(ranks)), "ranks are named", names)

    # What is under way ends after it began, and there are messages and buckets under way.
    under_way, pairs = {}, 0
    for event in events:
        if event["ph"] == "b":
            under_way[event["id"]] = event["ts"]
        elif event["ph"] == "e":
            pairs += 1
            if event["ts"] < under_way.pop(event["id"]):
                say(False, "ends before it begins", event)
    say(not under_way and (pairs > 0) == (ranks > 1), "what is under way has two ends", f"{pairs}")

    # A gradient cannot be received before it was sent: the clocks are one (here, one machine).
    if pp == 2:
        sent, received = {}, {}
        for rank, slices in by_rank.items():
            at = times["ranks"][rank]
            for e in slices:
                key = (e["args"].get("step"), e["args"].get("micro_batch"), at["dp"], at["tp"])
                if e["name"].startswith("send gradient"):
                    sent[key] = e["ts"]
                elif e["name"].startswith("receive gradient"):
                    received[key] = e["ts"] + e["dur"]
        # Alignment may err by half a round trip of a message.
        early = [k for k in sent if received[k] < sent[k] - 500]
        say(len(sent) == len(received) > 0 and not early, "messages arrive after they were sent", early)

    # The printed table holds the file's figures.
    for part in PARTS:
        mean = times["parts"][part]["mean"]
        row = next((line.split() for line in out.splitlines() if line.startswith("  " + TITLES.get(part, part) + " ")), [])
        say(f"{mean:.2f}" in row, f"the table's {part}", f"{mean:.2f} not in {row}")
    theory = (pp - 1) / (micro_batches + pp - 1)
    say(close(times["bubble"]["theory"], theory, 1e-9), "the bubble in theory", times["bubble"])
    share = sum(r["ms"]["p2p_wait"] for r in times["ranks"]) / sum(
        r["ms"][part] for r in times["ranks"] for part in ("forward", "backward", "tp_wait", "p2p_wait"))
    say(close(times["bubble"]["measured"], share, 1e-9), "the bubble measured", times["bubble"])


main()
