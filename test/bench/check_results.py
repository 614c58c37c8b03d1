#!/usr/bin/env python3
"""Checks what a benchmark program has measured against calculations by hand. Nothing here is taken
from the programs: shapes, operations and bytes are written out again, bus bandwidth by nccl-tests'
factors. Times are not judged.

    check_results.py PROGRAM RANKS RESULT.json TABLE.txt
    check_results.py run.sh RANKS RESULT.json
"""
import json
import math
import sys

problems = []


def expect(truth, *what):
    if not truth:
        problems.append(" ".join(str(part) for part in what))


def same(a, b):
    return math.isclose(a, b, rel_tol=1e-4)


# The preset `demo`: 128 wide, 4 heads, 12 sequences of 64 tokens, bytes as vocabulary.
WIDTH, INNER, TOKENS, SEQUENCES, LENGTH, VOCABULARY = 128, 512, 12 * 64, 12, 64, 256
PRODUCTS = {"qkv": (384, 128), "attention_output": (128, 128), "mlp_up": (512, 128),
            "mlp_down": (128, 512), "head": (256, 128)}
BYTES_OF = {"fp32": 4, "bf16": 2}
ATTENTION = 2 * SEQUENCES * LENGTH * LENGTH * WIDTH  # half of two products of 2 T^2 h
BLOCK = sum(2 * TOKENS * n * k for name, (n, k) in PRODUCTS.items() if name != "head")

# At least these must be there, each with a time.
EXPECTED = {
    "machine": ["product/512x512x512/fp32", "copy/1MiB", "file/write_and_sync", "file/read_cold"],
    "model": ["matmul/demo/qkv/weight_gradient/bf16", "attention/demo/backward/fp32",
              "layernorm/demo/forward/fp32", "rmsnorm/demo/backward/bf16",
              "add_layernorm/demo/backward/fp32", "libtorch/add_rmsnorm/demo/forward/bf16",
              "bias_gelu/demo/forward/fp32", "libtorch/swiglu/demo/backward/bf16", "column_sums/demo/fp32",
              "embedding/demo/backward/fp32", "cross_entropy/demo/fp32", "cross_entropy/demo/bf16",
              "block/demo/forward/fp32", "block/demo/backward/bf16",
              "stage_of_2_layers/demo/forward_backward/fp32"],
    "optimizer": ["adamw/fp32/819.2K", "adamw/bf16/819.2K", "gradient_norm/819.2K"],
    "collective": ["mpi/all_reduce/fp32/8B", "mpi/all_gather/fp32/1KiB", "plain/MPI_Bcast/fp32/32KiB",
                   "mpi/reduce_scatter/bf16/32KiB", "mpi/all_reduce_shared/fp32/32KiB", "mpi/ping_pong/8B",
                   "mpi/both_ways/32KiB"],
    "pipeline": ["null_step/gpipe/4.0KiB", "null_step/1f1b/4.0KiB"],
    "base": ["span/outside_of_steps", "span/summed", "span/traced"],
    "data": ["read_batch/12x64", "wait_for_next/64x1024", "check_ids", "sample_id"],
    "checkpoint": ["save/dd", "save/rows", "load_cold/columns", "digest/rows", "verify/warm/threads_1"],
    "trainer": ["save/sync", "save/async", "save/plain_copy"],
}
# What has nothing to do on one rank, and what on several.
ALONE = ("mpi/", "plain/", "link/")
TOGETHER = ("verify/", "plain_pread/")

BUS_FACTORS = {
    "all_reduce": lambda n: 2 * (n - 1) / n,
    "all_gather": lambda n: (n - 1) / n,
    "reduce_scatter": lambda n: (n - 1) / n,
    "broadcast": lambda n: 1,
    "exchange": lambda n: 1,
    "ping_pong": lambda n: 1,
    "both_ways": lambda n: 1,
}
SAME_AS = {"all_reduce_shared": "all_reduce", "MPI_Allreduce": "all_reduce", "MPI_Allgather": "all_gather",
           "MPI_Bcast": "broadcast", "MPI_Reduce_scatter_block": "reduce_scatter", "MPI_Sendrecv": "exchange"}
SIZES = {"8B": 8, "1KiB": 1024, "32KiB": 32768}


def flops(name, ranks):
    """FLOP of all ranks, or None where the benchmark counts none."""
    part = name.split("/")
    if part[0] == "matmul":
        n, k = PRODUCTS[part[2]]
        return ranks * 2 * TOKENS * n * k
    if part[0] == "attention":
        return ranks * ATTENTION * (2.5 if part[2] == "backward" else 1)
    if part[0] == "block":
        return 2 * BLOCK + 2.5 * ATTENTION if part[2] == "backward" else BLOCK + ATTENTION
    if part[0] == "stage_of_2_layers":
        return 2 * (3 * BLOCK + 3.5 * ATTENTION) + 3 * 2 * TOKENS * VOCABULARY * WIDTH
    if part[0] == "product":
        return ranks * 2 * 512**3
    return None


def moved(name, ranks):
    """Bytes of all ranks, or None where this script does not know them."""
    part = name.removeprefix("libtorch/").split("/")
    values = TOKENS * WIDTH
    if part[0] in ("layernorm", "rmsnorm"):
        return ranks * values * BYTES_OF[part[3]] * (3 if part[2] == "backward" else 2)
    if part[0] in ("add_layernorm", "add_rmsnorm"):
        return ranks * values * BYTES_OF[part[3]] * 4
    if part[0] in ("bias_gelu", "swiglu", "column_sums"):
        passes = {"column_sums": 1, "swiglu": 5 if part[2] == "backward" else 3}.get(part[0], 3)
        return TOKENS * INNER * BYTES_OF[part[-1]] * passes
    if part[0] == "embedding":
        width = BYTES_OF[part[3]]
        return values * (width + 8 if part[2] == "backward" else 2 * width)
    if part[0] == "cross_entropy":
        return TOKENS * VOCABULARY * 2 * BYTES_OF[part[2]]
    if part[0] == "adamw":
        # 1000 more, which begin and end on 64 bytes.
        return ranks * (819200 + 1008) * {"fp32": 28, "fp32_clipped": 28, "bf16": 30}[part[1]]
    if part[0] == "gradient_norm":
        return ranks * 819200 * 4
    if part[0] == "null_step":
        return 4096 * 2 * 32 * (ranks - 1)
    if part[0] == "read_batch":
        sequences, length = map(int, part[1].split("x"))
        return ranks * sequences * length * (2 + 8 + 8)
    if part[0] in ("mpi", "plain"):
        return max(SIZES[part[-1]], ranks * (2 if "bf16" in part else 4))
    return None


def check(name, one, ranks, seconds):
    expect(seconds > 0 and math.isfinite(seconds), name, "has no time:", seconds)
    fastest, slowest = one["min_seconds"], one["max_seconds"]
    expect(fastest <= seconds * 1.0001 and seconds <= slowest * 1.0001, name, "median outside", fastest, slowest)
    expect(one["samples"] >= 1, name, "has no samples")
    for unit in ("FLOP", "bytes", "tokens"):
        if unit + "/s" in one:
            expect(same(one[unit + "/s"] * seconds, one[unit]), name, unit, "a second times seconds is not", unit)
    for unit, formula in (("FLOP", flops), ("bytes", moved)):
        wanted = formula(name, ranks)
        if wanted:
            expect(same(one.get(unit, 0), wanted), name, unit, one.get(unit), "by hand", wanted)
    rate = one.get("FLOP/s", one.get("bytes/s"))
    if name.startswith(("mpi/", "plain/")):
        verb = name.split("/")[1].removeprefix("start_")
        factor = BUS_FACTORS[SAME_AS.get(verb, verb)](ranks)
        rate = one["busbw"]
        expect(same(one["algbw"], one["bytes"] / seconds), name, "algbw", one["algbw"], "by hand", one["bytes"] / seconds)
        expect(same(one["busbw"], factor * one["bytes"] / seconds), name, "busbw is not", factor, "times algbw")
    if "share" in one:
        expect(same(one["share"], rate / one["limit"]), name, "share", one["share"], "by hand", rate / one["limit"])


def check_program(program, ranks, path, table):
    with open(path) as file:
        output = json.load(file)
    context = output["context"]
    expect(int(context["ranks"]) == ranks and int(context["threads_per_rank"]) == 1, "context:", context)
    names = set()
    for one in output["benchmarks"]:
        name = one["name"].replace("/iterations:1", "").replace("/manual_time", "")
        left_out = name.startswith(ALONE) if ranks == 1 else name.startswith(TOGETHER)
        expect(one.get("error_occurred", False) == left_out, name, "left out:", one.get("error_message", "no"))
        names.add(name)
        if left_out:
            expect(one["error_message"].startswith("left out: "), name, "does not say why")
        elif not one.get("error_occurred"):
            seconds = one["real_time"] * {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1}[one["time_unit"]]
            check(name, one, ranks, seconds)
    for name in EXPECTED[program]:
        expect(name in names, name, "is missing")
    with open(table) as file:
        lines = file.read().splitlines()
    expect(any(line.startswith(f"{ranks} rank") for line in lines), "the table does not say its ranks")
    for name in names:
        rows = [line for line in lines if line.split(" ")[0] == name]
        expect(len(rows) == 1, name, "has", len(rows), "rows in the table")
    print(f"{len(names)} benchmarks")


def check_script(ranks, path):
    with open(path) as file:
        output = json.load(file)
    machine = output["machine"]
    for key in ("name", "cpu", "cores", "memory_gib", "system", "kernel", "versions", "load_before"):
        expect(machine.get(key) not in (None, "", 0, {}) or key == "load_before", "machine:", key, "is missing")
    expect([(run["program"], run["ranks"]) for run in output["runs"]] == [("pipeline", ranks), ("data", 1)], "runs")
    for run in output["runs"]:
        for one in run["benchmarks"]:
            expect("left_out" in one or one["median_seconds"] > 0, one["name"], "has no time")
            if "left_out" not in one and run["program"] == "data":
                check(one["name"], one, run["ranks"], one["median_seconds"])


if sys.argv[1] == "run.sh":
    check_script(int(sys.argv[2]), sys.argv[3])
else:
    check_program(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
print("\n".join(problems))
sys.exit(1 if problems else 0)
