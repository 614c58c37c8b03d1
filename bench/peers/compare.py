"""Speed of Cuboid against PyTorch on this machine; bench/peers/compare.sh runs it.

One process each, or several: data-parallel ranks against DDP. Each program is started afresh in every round, one after another:
A B C, A B C, ... so that a machine that slows down does so for all of them. All train on random token ids, on the same batch
and the same cores, whatever the number of processes. Prints a table and writes every step's time to a JSON file.
"""

import argparse
import dataclasses
import json
import os
import platform
import statistics
import sys
import time

from programs import (
    PROGRAMS,
    ROOT,
    SHAPES,
    WORK,
    check_peer,
    run_cuboid,
    run_peer,
    versions_of_cuboid,
)


def busy_share(seconds=0.5):
    """Share of the processors that other programs keep busy while this one sleeps."""

    def times():
        with open("/proc/stat", encoding="ascii") as file:
            values = [int(value) for value in file.readline().split()[1:9]]
        return sum(values), values[3] + values[4]  # all, idle and waiting for disks

    total, idle = times()
    time.sleep(seconds)
    later_total, later_idle = times()
    return 1 - (later_idle - idle) / max(later_total - total, 1)


def measure(shape_, dtype, programs, arguments):
    """One group: (label, processes) -> a list of every round's step times, and one of their peak memory; matrix-product
    rates; how busy others kept the machine just before each program; and the peers' versions."""
    rows = [(label, processes) for processes in arguments.processes for label in programs]
    step_ms, rates, busy, versions = {row: [] for row in rows}, [], [], {}
    memory = {row: [] for row in rows}
    for round_ in range(arguments.rounds):
        for label, processes in rows:
            busy.append(busy_share())
            start = time.monotonic()
            if programs[label] is None:
                times, peak = run_cuboid(arguments, shape_, dtype, processes)
            else:
                result = run_peer(programs[label], arguments, shape_, processes)
                times, peak = result["step_ms"], result["peak_memory_bytes"]
                versions = {"pytorch": result["program"], **versions}
                # Of one process, which had all threads.
                rates += [result["matrix_product_gflops"]] if processes == 1 else []
                if processes > 1:
                    versions["ddp"] = result["backend"]
            step_ms[label, processes].append(times)
            memory[label, processes].append(peak)
            print(
                f"compare: {shape_.what}, {dtype}, round {round_ + 1}, {label}, {processes} "
                f"process{'es' * (processes > 1)}: median {statistics.median(times):.1f} ms "
                f"({time.monotonic() - start:.0f} s in all)",
                file=sys.stderr,
            )
    return step_ms, memory, rates, max(busy), versions


def spread(values):
    values = list(values)
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def ratio(rounds, others):
    """How many times as fast, from the medians of each round."""
    return spread(
        statistics.median(other) / statistics.median(mine) for mine, other in zip(rounds, others)
    )


def summarise(shape_, dtype, step_ms, memory, rates, arguments):
    """The group's rows as dictionaries."""
    median = {
        row: statistics.median(ms for times in rounds for ms in times)
        for row, rounds in step_ms.items()
    }
    rate = statistics.median(rates) if rates else None
    fewest = min(processes for _, processes in step_ms)
    rows = []
    for (label, processes), rounds in step_ms.items():
        peers = [row for row in step_ms if row[0] != "cuboid" and row[1] == processes]
        best = min(peers, key=median.get, default=None)
        tokens_per_second = 1e3 * shape_.tokens / median[label, processes]
        flops = tokens_per_second * shape_.flops_per_token
        times = [ms for round_ in rounds for ms in round_]
        rows.append(
            {
                "shape": shape_.what,
                "dtype": dtype,
                "program": label + (", DDP" if processes > 1 and label != "cuboid" else ""),
                "processes": processes,
                "threads_of_each": arguments.threads // processes,
                "step_ms_min": min(times),
                "step_ms_median": median[label, processes],
                "step_ms_max": max(times),
                "tokens_per_second": tokens_per_second,
                # Of the largest process, libraries included.
                "peak_memory_bytes": max(memory[label, processes]),
                # Above 1: faster than the fastest of the peers with as many processes.
                "speed_over_best_peer": ratio(rounds, step_ms[best]) if best else None,
                "speed_over_each_peer": {
                    peer[0]: ratio(rounds, step_ms[peer]) for peer in peers if label == "cuboid"
                },
                # Of the same batch on the same cores: 1 where more processes cost nothing.
                "scaling_efficiency": ratio(rounds, step_ms[label, fewest])
                if processes > fewest
                else None,
                "share_of_matrix_product_rate": flops / (rate * 1e9) if rate else None,
                "matrix_product_gflops": rate,
                "round_medians_ms": [statistics.median(round_) for round_ in rounds],
                "step_ms": rounds,
            }
        )
    return rows


def spread_text(values):
    return f"{values['median']:.2f} ({values['min']:.2f}-{values['max']:.2f})" if values else "-"


def print_table(rows):
    print(
        f"{'program':<35} {'processes':>9} {'ms/step min':>11} {'median':>8} {'max':>8} {'tokens/s':>8} "
        f"{'x best peer (min-max)':>22} {'efficiency (min-max)':>21} {'of product':>10} {'peak MiB':>9}"
    )
    group = None
    for row in rows:
        if group != (row["shape"], row["dtype"]):
            group = row["shape"], row["dtype"]
            rate = row["matrix_product_gflops"]
            known = f"; matrix product 2048^3: {rate:.0f} GFLOP/s" if rate else ""
            print(f"-- {row['shape']}, {row['dtype']}{known}")
        share = row["share_of_matrix_product_rate"]
        processes = f"{row['processes']} x {row['threads_of_each']}"
        print(
            f"{row['program']:<35} {processes:>9} {row['step_ms_min']:>11.1f} {row['step_ms_median']:>8.1f} "
            f"{row['step_ms_max']:>8.1f} {row['tokens_per_second']:>8.0f} "
            f"{spread_text(row['speed_over_best_peer']):>22} {spread_text(row['scaling_efficiency']):>21} "
            f"{f'{share:.1%}' if share else '-':>10} {row['peak_memory_bytes'] / 2**20:>9.0f}"
        )


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = (line.split(":")[1].strip() for line in file if line.startswith("model name"))
            return next(names)
    except (OSError, StopIteration):
        return platform.processor()


def parse():
    parser = argparse.ArgumentParser(prog="bench/peers/compare.sh", description=__doc__)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["small", "124m"])
    parser.add_argument("--dtypes", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--processes", nargs="+", type=int, default=[1],
        help="1: one process; 2, 4, ...: data-parallel ranks against DDP, sharing batch and threads",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="of all processes"
    )
    parser.add_argument("--steps", type=int, help="timed steps of one process (default: by shape)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: NCCL")
    parser.add_argument(
        "--only", nargs="+", default=[""], help="only programs whose label contains one of these texts"
    )
    parser.add_argument("--program", default=os.path.join(ROOT, "bin", "cuboid"))
    parser.add_argument("--output", default=os.path.join(WORK, "results.json"))
    arguments = parser.parse_args()
    numbers = (arguments.rounds, arguments.threads, arguments.steps or 1, *arguments.processes)
    if min(numbers) < 1:
        parser.error("--rounds, --threads, --steps and --processes are at least 1")
    for processes in arguments.processes:
        if arguments.threads % processes:
            parser.error(
                f"--processes {processes} does not divide --threads {arguments.threads}: each process "
                "gets as many threads; legal: --threads of a multiple"
            )
        for name in arguments.shapes:
            batch = SHAPES[name].options["micro-batch-size"]
            if batch % processes:
                parser.error(
                    f"--processes {processes} does not divide the {batch} sequences of shape {name}; "
                    f"legal: {', '.join(str(n) for n in range(1, batch + 1) if batch % n == 0)}"
                )
    return arguments


def main():
    arguments = parse()
    os.makedirs(WORK, exist_ok=True)
    for processes in sorted({1, *arguments.processes}):
        what = "the tests' witness" if processes == 1 else f"one process, by {processes}"
        print(f"compare: the peer against {what}: {check_peer(arguments, processes)}")
    rows, busy, versions = [], 0.0, versions_of_cuboid(arguments.program)
    for name in arguments.shapes:
        shape_ = SHAPES[name]
        if arguments.steps:
            shape_ = dataclasses.replace(shape_, steps=arguments.steps)
        for dtype in arguments.dtypes:
            programs = {k: v for k, v in PROGRAMS[dtype].items() if any(text in k for text in arguments.only)}
            if programs:
                step_ms, memory, rates, others, of_peer = measure(shape_, dtype, programs, arguments)
                rows += summarise(shape_, dtype, step_ms, memory, rates, arguments)
                busy = max(busy, others)
                versions.update(of_peer)
    if not rows:
        sys.exit(f"compare: no program's label contains {' or '.join(map(repr, arguments.only))}")
    print_table(rows)
    cores = len(os.sched_getaffinity(0))
    machine = f"{processor()}, {cores} cores, {arguments.threads} threads in all"
    print(f"{machine}; rounds: {arguments.rounds}")
    print("; ".join(f"{name} {version}" for name, version in versions.items()))
    if max(arguments.processes) > cores or arguments.threads > cores:
        print("NOTE: processes share cores: this says nothing of a machine that has a core for each")
    if busy > 0.1:
        print(f"NOTE: other programs used up to {busy:.0%} of the processors: do not quote this")
    with open(arguments.output, "w", encoding="utf-8") as file:
        facts = {"machine": machine, "versions": versions, "threads": arguments.threads}
        facts.update(busy_share_of_others=busy, rounds=arguments.rounds, rows=rows)
        json.dump(facts, file, indent=1)
    print(f"all step times: {os.path.relpath(arguments.output)}")


if __name__ == "__main__":
    main()
