"""Speed of Cuboid against PyTorch on this machine's CPUs; bench/peers/compare.sh runs it.

Each program is a process of its own, started afresh in every round, one after another: A B C,
A B C, ... so that a machine that slows down does so for all of them. Both train on random token ids.
Prints a table and writes every step's time to a JSON file.
"""

import argparse
import dataclasses
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
WORK = os.path.join(ROOT, "build", "peers")
LIMIT_S = 1800  # of one process


@dataclasses.dataclass(frozen=True)
class Shape:
    what: str
    options: dict  # by the option names that both programs share
    steps: int
    warmup: int

    @property
    def tokens(self):
        return self.options["micro-batch-size"] * self.options["seq-length"]

    @property
    def flops_per_token(self):
        """6 N + 12 L h T, N without the position table (nanoGPT's convention)."""
        hidden, layers = self.options["hidden-size"], self.options["num-layers"]
        matrices = layers * (12 * hidden**2 + 13 * hidden) + 2 * hidden
        parameters = self.options["vocab-size"] * hidden + matrices
        return 6 * parameters + 12 * layers * hidden * self.options["seq-length"]


def shape(what, hidden, layers, heads, length, vocabulary, batch, steps, warmup):
    options = {
        "hidden-size": hidden,
        "num-layers": layers,
        "num-attention-heads": heads,
        "seq-length": length,
        "vocab-size": vocabulary,
        "micro-batch-size": batch,
    }
    return Shape(what, options, steps, warmup)


SHAPES = {
    "small": shape("4 layers x 128, 12 x 64 tokens", 128, 4, 4, 64, 256, 12, 200, 20),
    "124m": shape("GPT-2 124M, 4 x 256 tokens", 768, 12, 12, 256, 50257, 4, 6, 2),
}
# The rows of each data type: label -> arguments of the peer, None for Cuboid itself.
PROGRAMS = {
    "fp32": {
        "cuboid": None,
        "pytorch eager": ["--dtype", "fp32"],
        "pytorch compiled": ["--dtype", "fp32", "--compile"],
    },
    "bf16": {
        "cuboid": None,
        "pytorch eager, autocast": ["--dtype", "bf16"],
        "pytorch compiled, autocast": ["--dtype", "bf16", "--compile"],
        "pytorch eager, bf16 weights": ["--dtype", "bf16-weights"],
        "pytorch compiled, bf16 weights": ["--dtype", "bf16-weights", "--compile"],
    },
}


def run(command, threads):
    """Standard output of the command; the whole of its output goes to standard error on failure."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT_S,
        stdin=subprocess.DEVNULL, check=False,
    )
    if done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
        sys.exit(f"compare: this failed with status {done.returncode}: {' '.join(command)}")
    return done.stdout


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


def option_list(options):
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def random_tokens(vocabulary, count):
    """A folder with training and validation data: for bytes a text of random printable characters,
    otherwise random ids in nanoGPT's format (raw uint16)."""
    folder = os.path.join(WORK, f"tokens-{vocabulary}")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    generator = np.random.default_rng(1)
    if vocabulary == 256:
        characters = generator.integers(32, 127, size=4 * count, dtype=np.uint8)
        characters.tofile(os.path.join(folder, "random.txt"))
        return folder
    for name, size in (("train.bin", 4 * count), ("val.bin", count)):
        tokens = generator.integers(vocabulary, size=size + 1, dtype=np.uint16)
        tokens.astype("<u2").tofile(os.path.join(folder, name))
    return folder


def run_cuboid(program, shape_, dtype, threads):
    output = os.path.join(WORK, "output")
    shutil.rmtree(output, ignore_errors=True)
    steps = shape_.warmup + shape_.steps
    folder = random_tokens(shape_.options["vocab-size"], shape_.tokens * steps)
    more = {
        "dtype": dtype,
        "num-threads": threads,
        "max-steps": steps,
        "log-interval": 1,
        "eval-steps": 0,
        "device": "cpu",
        "data-dir": folder,
        "output-dir": output,
    }
    run([program, "pretrain", *option_list(shape_.options), *option_list(more)], threads)
    with open(os.path.join(output, "metrics.jsonl"), encoding="utf-8") as file:
        step_ms = [line["step_ms"] for line in map(json.loads, file) if "step_ms" in line]
    shutil.rmtree(output)
    if len(step_ms) != steps:
        sys.exit(f"compare: metrics.jsonl of {program} has {len(step_ms)} steps, not {steps}")
    return step_ms[shape_.warmup :], None


def run_peer(arguments, shape_, threads):
    more = {"threads": threads, "steps": shape_.steps, "warmup": shape_.warmup}
    script = os.path.join(HERE, "pytorch_peer.py")
    command = [sys.executable, script, *option_list(shape_.options), *option_list(more), *arguments]
    result = json.loads(run(command, threads).splitlines()[-1])
    return result["step_ms"], result["matrix_product_gflops"]


def measure(shape_, dtype, programs, arguments):
    """One group of rows: label -> all step times, the matrix-product rates that were seen, and how
    busy others kept the machine just before each process."""
    step_ms, rates, busy = {label: [] for label in programs}, [], []
    for round_ in range(arguments.rounds):
        for label, peer in programs.items():
            busy.append(busy_share())
            start = time.monotonic()
            if peer is None:
                times, rate = run_cuboid(arguments.program, shape_, dtype, arguments.threads)
            else:
                times, rate = run_peer(peer, shape_, arguments.threads)
            step_ms[label].append(times)
            rates += [rate] if rate else []
            print(
                f"compare: {shape_.what}, {dtype}, round {round_ + 1}, {label}: median "
                f"{statistics.median(times):.1f} ms ({time.monotonic() - start:.0f} s in all)",
                file=sys.stderr,
            )
    return step_ms, rates, max(busy)


def summarise(shape_, dtype, step_ms, rates):
    """The group's rows as dictionaries."""
    pooled = {label: [ms for times in rounds for ms in times] for label, rounds in step_ms.items()}
    median = {label: statistics.median(times) for label, times in pooled.items()}
    peers = [value for label, value in median.items() if label != "cuboid"]
    rate = statistics.median(rates) if rates else None
    rows = []
    for label, times in pooled.items():
        tokens_per_second = 1e3 * shape_.tokens / median[label]
        flops = tokens_per_second * shape_.flops_per_token
        rows.append(
            {
                "shape": shape_.what,
                "dtype": dtype,
                "program": label,
                "step_ms_min": min(times),
                "step_ms_median": median[label],
                "step_ms_max": max(times),
                "tokens_per_second": tokens_per_second,
                # Above 1: faster than the fastest of the peers.
                "speed_over_best_peer": min(peers) / median[label] if peers else None,
                "share_of_matrix_product_rate": flops / (rate * 1e9) if rate else None,
                "matrix_product_gflops": rate,
                "round_medians_ms": [statistics.median(round_) for round_ in step_ms[label]],
                "step_ms": step_ms[label],
            }
        )
    return rows


def print_table(rows):
    print(
        f"{'program':<32} {'ms/step min':>12} {'median':>9} {'max':>9} {'tokens/s':>9} "
        f"{'x best peer':>11} {'of product':>10}"
    )
    group = None
    for row in rows:
        if group != (row["shape"], row["dtype"]):
            group = row["shape"], row["dtype"]
            rate = row["matrix_product_gflops"]
            known = f"; matrix product 2048^3: {rate:.0f} GFLOP/s" if rate else ""
            print(f"-- {row['shape']}, {row['dtype']}{known}")
        ratio, share = row["speed_over_best_peer"], row["share_of_matrix_product_rate"]
        print(
            f"{row['program']:<32} {row['step_ms_min']:>12.1f} {row['step_ms_median']:>9.1f} "
            f"{row['step_ms_max']:>9.1f} {row['tokens_per_second']:>9.0f} "
            f"{f'{ratio:.2f}' if ratio else '-':>11} {f'{share:.1%}' if share else '-':>10}"
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
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--dtypes", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, help="timed steps of one process (default: by shape)")
    parser.add_argument("--only", default="", help="only programs whose label contains this text")
    parser.add_argument("--program", default=os.path.join(ROOT, "bin", "cuboid"))
    parser.add_argument("--output", default=os.path.join(WORK, "results.json"))
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.threads < 1 or (arguments.steps or 1) < 1:
        parser.error("--rounds, --threads and --steps are at least 1")
    return arguments


def main():
    arguments = parse()
    os.makedirs(WORK, exist_ok=True)
    # A faster peer that computed something else would prove nothing.
    check = run([sys.executable, os.path.join(HERE, "pytorch_peer.py"), "--check"], 1)
    print(f"compare: the peer against the tests' witness: {check.strip()}")
    rows, busy = [], 0.0
    for name in arguments.shapes:
        shape_ = SHAPES[name]
        if arguments.steps:
            shape_ = dataclasses.replace(shape_, steps=arguments.steps)
        for dtype in arguments.dtypes:
            programs = {k: v for k, v in PROGRAMS[dtype].items() if arguments.only in k}
            if programs:
                step_ms, rates, others = measure(shape_, dtype, programs, arguments)
                rows += summarise(shape_, dtype, step_ms, rates)
                busy = max(busy, others)
    if not rows:
        sys.exit(f"compare: no program's label contains {arguments.only!r}")
    print_table(rows)
    machine = f"{processor()}, {os.cpu_count()} cores, {arguments.threads} threads each"
    print(f"{machine}; rounds: {arguments.rounds}")
    if busy > 0.1:
        print(f"NOTE: other programs used up to {busy:.0%} of the processors: do not quote this")
    with open(arguments.output, "w", encoding="utf-8") as file:
        facts = {"machine": machine, "threads": arguments.threads, "busy_share_of_others": busy}
        json.dump({**facts, "rounds": arguments.rounds, "rows": rows}, file, indent=1)
    print(f"all step times: {os.path.relpath(arguments.output)}")


if __name__ == "__main__":
    main()
