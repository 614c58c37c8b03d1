"""The same model, batch and cores on several grids, in turns; bench/peers/grids.sh runs it.

One process with all threads first; then grids whose ranks share out the same threads and cores. A step is the same samples
for all, in as many micro-batches (data-parallel ranks share them out). Prints each grid's speed over that of one process, of
each round's medians, and where its steps wait; writes every step's time to a JSON file.
"""

import argparse
import json
import os
import statistics
import sys

from compare import busy_share, processor, spread, spread_text
from programs import ROOT, SHAPES, WORK, train, versions_of_cuboid

WAITS = ("tp_wait", "dp_wait", "p2p_wait")


def grid(text):
    try:
        sizes = tuple(int(size) for size in text.split("x"))
    except ValueError:
        sizes = ()
    if len(sizes) != 3 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a grid; legal: DPxTPxPP, as 2x1x1")
    return sizes


def options_of(shape_, sizes, arguments):
    """A step of all the samples, whatever the grid."""
    batch = shape_.options["micro-batch-size"] * arguments.micro_batches
    return {
        **shape_.options,
        "global-batch-size": batch,
        "tensor-parallel-size": sizes[1],
        "pipeline-parallel-size": sizes[2],
        "dtype": arguments.dtype,
        "device": "cpu",
        "max-steps": arguments.warmup + arguments.steps,
    }


def measure(shape_, arguments):
    """grid -> medians of each round's steps, waits as shares of a step, all times; and how busy others kept the machine."""
    grids = [(1, 1, 1), *(sizes for sizes in arguments.grids if sizes != (1, 1, 1))]
    found = {sizes: {"medians": [], "step_ms": [], "waits": []} for sizes in grids}
    busy = []
    for round_ in range(arguments.rounds):
        for sizes in grids:
            busy.append(busy_share())
            ranks = sizes[0] * sizes[1] * sizes[2]
            threads = arguments.threads // ranks
            step_ms, times = train(arguments.program, ranks, threads, options_of(shape_, sizes, arguments))
            step_ms = step_ms[arguments.warmup :]
            one = found[sizes]
            one["step_ms"].append(step_ms)
            one["medians"].append(statistics.median(step_ms))
            one["waits"].append({part: times["parts"][part]["mean"] / times["step_ms"] for part in WAITS})
            print(f"grids: round {round_ + 1}, {name_of(sizes)}: median {one['medians'][-1]:.1f} ms", file=sys.stderr)
    return found, max(busy)


def name_of(sizes):
    return "x".join(map(str, sizes))


def summarise(found, tokens, threads):
    """A row for each grid."""
    alone = found[1, 1, 1]["medians"]
    rows = []
    for sizes, one in found.items():
        ranks = sizes[0] * sizes[1] * sizes[2]
        speeds = spread(first / mine for first, mine in zip(alone, one["medians"]))
        waits = {part: statistics.median(wait[part] for wait in one["waits"]) for part in WAITS}
        median = statistics.median(one["medians"])
        rows.append(
            {
                "grid": name_of(sizes),
                "ranks": ranks,
                "threads_of_each": threads // ranks,
                "step_ms_median": median,
                "tokens_per_second": 1e3 * tokens / median,
                "speed_over_one_process": speeds,
                "share_of_step": waits,
                "step_ms": one["step_ms"],
            }
        )
    return rows


def print_table(rows):
    print(
        f"{'grid':<7} {'ranks':>7} {'ms/step':>9} {'tokens/s':>9} {'x one process (min-max)':>24} "
        f"{'TP wait':>8} {'DP wait':>8} {'p2p wait':>8}"
    )
    for row in rows:
        ranks = f"{row['ranks']} x {row['threads_of_each']}"
        waits = " ".join(f"{row['share_of_step'][part]:>8.1%}" for part in WAITS)
        print(
            f"{row['grid']:<7} {ranks:>7} {row['step_ms_median']:>9.1f} {row['tokens_per_second']:>9.0f} "
            f"{spread_text(row['speed_over_one_process']):>24} {waits}"
        )


def parse():
    parser = argparse.ArgumentParser(prog="bench/peers/grids.sh", description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--grids", nargs="+", type=grid, default=[(2, 1, 1), (1, 2, 1), (1, 1, 2)], help="DPxTPxPP")
    parser.add_argument("--micro-batches", type=int, default=16, help="of a step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30, help="timed steps of a run")
    parser.add_argument("--warmup", type=int, default=5, help="steps before them")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of all ranks")
    parser.add_argument("--program", default=os.path.join(ROOT, "bin", "cuboid"))
    parser.add_argument("--output", default=os.path.join(WORK, "grids.json"))
    arguments = parser.parse_args()
    if min(arguments.micro_batches, arguments.rounds, arguments.steps, arguments.warmup, arguments.threads) < 1:
        parser.error("--micro-batches, --rounds, --steps, --warmup and --threads are at least 1")
    for sizes in arguments.grids:
        ranks = sizes[0] * sizes[1] * sizes[2]
        if arguments.threads % ranks:
            parser.error(f"--grids {name_of(sizes)}: {ranks} ranks do not share out --threads {arguments.threads}; legal: a multiple")
        if arguments.micro_batches % sizes[0]:
            parser.error(f"--grids {name_of(sizes)} does not divide --micro-batches {arguments.micro_batches}; legal: a multiple of {sizes[0]}")
    return arguments


def main():
    arguments = parse()
    os.makedirs(WORK, exist_ok=True)
    shape_ = SHAPES[arguments.shape]
    found, busy = measure(shape_, arguments)
    rows = summarise(found, shape_.tokens * arguments.micro_batches, arguments.threads)
    cores = len(os.sched_getaffinity(0))
    machine = f"{processor()}, {cores} cores, {arguments.threads} threads in all"
    print(f"{shape_.what}, {arguments.dtype}, {arguments.micro_batches} micro-batches; {machine}; rounds: {arguments.rounds}")
    print_table(rows)
    if arguments.threads > cores:
        print("NOTE: ranks share cores: this says nothing of a machine that has a core for each")
    if busy > 0.1:
        print(f"NOTE: other programs used up to {busy:.0%} of the processors: do not quote this")
    with open(arguments.output, "w", encoding="utf-8") as file:
        facts = {"machine": machine, "versions": versions_of_cuboid(arguments.program), "shape": shape_.what}
        facts.update(dtype=arguments.dtype, micro_batches=arguments.micro_batches, rounds=arguments.rounds)
        json.dump({**facts, "busy_share_of_others": busy, "rows": rows}, file, indent=1)
    print(f"all step times: {os.path.relpath(arguments.output)}")


if __name__ == "__main__":
    main()
