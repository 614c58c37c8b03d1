"""The programs that compare.py compares, and how each is run once: as many processes as asked for, the same cores for both."""

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
WORK = os.path.join(ROOT, "build", "peers")
PEER = os.path.join(HERE, "pytorch_peer.py")
LIMIT_S = 1800  # of one run


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

    def options_of(self, processes):
        """One process's options: the batch is shared out."""
        batch = self.options["micro-batch-size"]
        return {**self.options, "micro-batch-size": batch // processes}


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
    "tiny": shape("2 layers x 32, 4 x 16 tokens", 32, 2, 2, 16, 256, 4, 20, 5),
    "small": shape("4 layers x 128, 12 x 64 tokens", 128, 4, 4, 64, 256, 12, 200, 20),
    "124m": shape("GPT-2 124M, 4 x 256 tokens", 768, 12, 12, 256, 50257, 4, 6, 2),
    # For GPUs of 80 GB: enough sequences to fill one.
    "gpt2-124m": shape("GPT-2 124M, 32 x 1024 tokens", 768, 12, 12, 1024, 50257, 32, 30, 10),
    "gpt2-350m": shape("GPT-2 350M, 16 x 1024 tokens", 1024, 24, 16, 1024, 50257, 16, 30, 10),
    "gpt2-774m": shape("GPT-2 774M, 8 x 1024 tokens", 1280, 36, 20, 1024, 50257, 8, 30, 10),
    "gpt2-1.5b": shape("GPT-2 1.5B, 8 x 1024 tokens", 1600, 48, 25, 1024, 50257, 8, 20, 10),
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


def run(command, environment, processes=1):
    """Standard output of the first of so many processes. Where one fails, all end, and what it wrote goes to standard error."""
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in range(2 * processes)]
        running = []
        for rank in range(processes):
            ranked = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
            process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **environment, **ranked}, stdin=subprocess.DEVNULL,
                stdout=logs[2 * rank], stderr=logs[2 * rank + 1],
            )  # fmt: skip
            stack.callback(end, process)
            running.append(process)
        limit = time.monotonic() + LIMIT_S
        while any(process.poll() is None for process in running) and time.monotonic() < limit:
            if any(process.poll() for process in running):
                break
            time.sleep(0.02)
        for rank, process in enumerate(running):
            status = process.poll()
            if status is None and not any(other.poll() for other in running):
                sys.exit(f"compare: this took longer than {LIMIT_S} s: {' '.join(command)}")
            if status:
                for log in logs[2 * rank : 2 * rank + 2]:
                    log.seek(0)
                    sys.stderr.write(log.read())
                sys.exit(f"compare: this failed with status {status}: {' '.join(command)}")
        logs[0].seek(0)
        return logs[0].read()


def end(process):
    process.kill()
    process.wait()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


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


def train(program, ranks, threads, options):
    """Every step's time, and what step_times.json says, of a run by the launcher, which gives each rank its share of the
    cores and `threads`. options: by name, without data and folder; max-steps among them."""
    output = os.path.join(WORK, "output")
    shutil.rmtree(output, ignore_errors=True)
    steps = options["max-steps"]
    batch = options.get("global-batch-size", ranks * options["micro-batch-size"])
    tokens = batch * options["seq-length"] * steps
    more = {
        "log-interval": steps,
        "eval-steps": 0,
        "data-dir": random_tokens(options["vocab-size"], max(tokens, 4096)),
        "output-dir": output,
    }
    environment = {"CUBOID": program, "NPROC_PER_NODE": str(ranks), "NUM_THREADS": str(threads)}
    launcher = os.path.join(ROOT, "jobs", "launch_pretrain.sh")
    run([launcher, *option_list({**options, **more})], environment)
    with open(os.path.join(output, "metrics.jsonl"), encoding="utf-8") as file:
        step_ms = [line["step_ms"] for line in map(json.loads, file) if "step_ms" in line]
    with open(os.path.join(output, "step_times.json"), encoding="utf-8") as file:
        times = json.load(file)
    shutil.rmtree(output)
    if len(step_ms) != steps:
        sys.exit(f"compare: metrics.jsonl of {program} has {len(step_ms)} steps, not {steps}")
    return step_ms, times


def peak_memory(times):
    """Of the largest rank, in bytes: its resident size, or what its tensors took of a GPU's memory, as the peer has it."""
    return max(rank.get("peak_device_memory_bytes", rank["peak_memory_bytes"]) for rank in times["ranks"])


def run_cuboid(arguments, shape_, dtype, processes):
    """Every timed step's time and the largest rank's peak memory, of data-parallel ranks."""
    options = {
        **shape_.options_of(processes),
        "dtype": dtype,
        "max-steps": shape_.warmup + shape_.steps,
        "device": arguments.device,
    }
    step_ms, times = train(arguments.program, processes, arguments.threads // processes, options)
    return step_ms[shape_.warmup :], peak_memory(times)


def run_python(words, arguments, processes):
    """The peer's standard output. Several processes find each other as torchrun's do, without its own process beside them."""
    environment = {"OMP_NUM_THREADS": str(arguments.threads // processes)}
    if processes > 1:
        environment.update(WORLD_SIZE=str(processes), LOCAL_WORLD_SIZE=str(processes))
        environment.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()))
        # One host: gloo need not ask the name service for its address.
        environment["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
    return run([sys.executable, PEER, *words, "--device", arguments.device], environment, processes)


def run_peer(words, arguments, shape_, processes):
    """What the peer prints, as a dictionary."""
    more = {
        "threads": arguments.threads // processes,
        "steps": shape_.steps,
        "warmup": shape_.warmup,
    }
    words = [*option_list(shape_.options_of(processes)), *option_list(more), *words]
    return json.loads(run_python(words, arguments, processes).splitlines()[-1])


def check_peer(arguments, processes):
    """A faster peer that computed something else would prove nothing."""
    return run_python(["--check"], arguments, processes).splitlines()[-1]


def versions_of_cuboid(program):
    lines = dict(line.split(None, 1) for line in run([program, "--version"], {}).splitlines())
    return {name: lines[name] for name in ("cuboid", "mpi", "nccl", "libtorch") if name in lines}
