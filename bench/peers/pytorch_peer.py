"""The PyTorch side of the speed comparison: GPT-2 as a fast PyTorch program writes it.

One fused matrix product for query, key and value, F.scaled_dot_product_attention,
F.cross_entropy, torch.optim.AdamW(fused=True), gradients freed each step, optionally
torch.compile. Trains on random tokens and prints one line of JSON: milliseconds a step, tokens a
second, this process's own matrix-product rate at the same dtype, and the share of it that the
model's 6 N + 12 L h T FLOPs a token reach (N without the position table).

With torchrun's variables (RANK, WORLD_SIZE ...) it is DistributedDataParallel over gloo, or NCCL with --device cuda, each process
on its share of the cores:
--micro-batch-size and --threads are of one process, and the first process prints.

Data types: fp32; bf16: fp32 weights under autocast, the usual practice; bf16-weights: weights and
activations in bf16 with fp32 master weights, gradients and moments, what `cuboid --dtype bf16` is.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel


class Layer(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(hidden)
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.output = nn.Linear(hidden, hidden)
        self.mlp_norm = nn.LayerNorm(hidden)
        self.up = nn.Linear(hidden, 4 * hidden)
        self.down = nn.Linear(4 * hidden, hidden)

    def forward(self, x):
        batch, tokens, hidden = x.shape
        qkv = self.qkv(self.attention_norm(x)).split(hidden, dim=2)
        query, key, value = (
            part.view(batch, tokens, self.heads, hidden // self.heads).transpose(1, 2)
            for part in qkv
        )
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.output(attended.transpose(1, 2).reshape(batch, tokens, hidden))
        return x + self.down(F.gelu(self.up(self.mlp_norm(x)), approximate="tanh"))


class Gpt2(nn.Module):
    """Returns the mean loss of a batch; the output matrix is the token embedding."""

    def __init__(self, args):
        super().__init__()
        self.token = nn.Embedding(args.vocab_size, args.hidden_size)
        self.position = nn.Embedding(args.seq_length, args.hidden_size)
        self.layers = nn.ModuleList(
            Layer(args.hidden_size, args.num_attention_heads) for _ in range(args.num_layers)
        )
        self.final_norm = nn.LayerNorm(args.hidden_size)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, tokens, targets):
        x = self.token(tokens) + self.position.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x)
        logits = F.linear(self.final_norm(x), self.token.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def distribute(model, args):
    """DDP as its users write it; gradients are views of the buckets that are reduced, so nothing is copied."""
    if not dist.is_initialized():
        return model
    devices = [args.local_rank] if args.device == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)


class Trainer:
    """One training step: forward, backward, clipping, AdamW."""

    def __init__(self, args):
        self.autocast = args.dtype == "bf16"
        self.device = args.device
        model = Gpt2(args).to(args.device)
        if args.dtype == "bf16-weights":
            model = model.bfloat16()
        self.weights = list(model.parameters())
        # With bf16 weights the optimizer owns fp32 copies of them.
        self.master = self.weights
        if args.dtype == "bf16-weights":
            self.master = [nn.Parameter(weight.detach().float()) for weight in self.weights]
        groups = [
            {"params": [p for p in self.master if p.dim() >= 2], "weight_decay": 0.1},
            {"params": [p for p in self.master if p.dim() < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups, lr=3e-4, betas=(0.9, 0.95), eps=1e-8, fused=True
        )
        model = distribute(model, args)
        self.model = torch.compile(model) if args.compile else model

    def step(self, tokens, targets):
        with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast):
            loss = self.model(tokens, targets)
        loss.backward()
        if self.master is not self.weights:
            for master, weight in zip(self.master, self.weights):
                master.grad = weight.grad.float()
                weight.grad = None
        torch.nn.utils.clip_grad_norm_(self.master, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.master is not self.weights:
            with torch.no_grad():
                torch._foreach_copy_(self.weights, self.master)
        return loss.item()


def matrix_product_rate(dtype, device, repeats=7):
    """FLOP/s of a size^3 matrix product of random numbers: the best of `repeats`."""
    size = 8192 if device == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = a @ b
    best = float("inf")
    for _ in range(repeats):
        out[0, 0].item()
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        out[0, 0].item()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def flops_per_token(args):
    """6 N + 12 L h T, N without the position table (nanoGPT's convention)."""
    hidden, layers = args.hidden_size, args.num_layers
    parameters = args.vocab_size * hidden + layers * (12 * hidden**2 + 13 * hidden) + 2 * hidden
    return 6 * parameters + 12 * layers * hidden * args.seq_length


def leave(status):
    """Ends the process without the interpreter's tidying up, in which LibTorch's threads may still run ("terminate called without an
    active exception")."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def check(args):
    """Loss and gradients against the witness of the tests (test/witness/model.py), in fp32."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, os.path.join(here, "../../test/witness"))
    import model as witness

    options = witness.Options(
        hidden_size=args.hidden_size,
        num_layers=args.num_layers,
        num_attention_heads=args.num_attention_heads,
        num_key_value_heads=args.num_attention_heads,
        ffn_hidden_size=4 * args.hidden_size,
        seq_length=args.seq_length,
        vocab_size=args.vocab_size,
    )
    peer, plain = Gpt2(args), witness.Transformer(options)
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.normal_(std=0.1)
    renamed = {
        "token.": "embedding.token.",
        "position.": "embedding.position.",
        "output.": "attention.output.",
        "up.": "mlp.up.",
        "down.": "mlp.down.",
    }

    def by_witness_names(tensors):
        found = {}
        for name, tensor in tensors.items():
            head, tail = name.rsplit(".", 2)[:-2], ".".join(name.rsplit(".", 2)[-2:])
            if tail.startswith("qkv."):
                for part, piece in zip(("query", "key", "value"), tensor.chunk(3)):
                    found[".".join((*head, "attention", tail.replace("qkv", part)))] = piece
                continue
            for old, new in renamed.items():
                tail = new + tail[len(old) :] if tail.startswith(old) else tail
            found[".".join((*head, tail))] = tensor
        return found

    plain.load_state_dict(by_witness_names(dict(peer.named_parameters())))
    shape = (args.micro_batch_size, args.seq_length)
    tokens, targets = (torch.randint(args.vocab_size, shape) for _ in range(2))
    losses = peer(tokens, targets), witness.cross_entropy(plain(tokens), targets)
    for loss in losses:
        loss.backward()
    gradients = by_witness_names({name: p.grad for name, p in peer.named_parameters()})
    error = abs(losses[0].item() / losses[1].item() - 1)
    expected = {name: parameter.grad for name, parameter in plain.named_parameters()}
    largest = max(gradient.abs().max() for gradient in expected.values())
    worst = max((gradients[name] - expected[name]).abs().max() / largest for name in expected)
    ok = error < 1e-5 and worst < 1e-5
    print(f"{'ok' if ok else 'FAILED'}: loss off by {error:.1e}, gradients by {worst:.1e}")
    leave(0 if ok else 1)


def check_ddp(args):
    """Loss and gradients of all processes together against those of one process with the whole batch, in fp32."""
    ranks, rank, one = dist.get_world_size(), dist.get_rank(), args.micro_batch_size
    torch.manual_seed(2)
    alone = Gpt2(args).to(args.device)
    shared = Gpt2(args).to(args.device)
    shared.load_state_dict(alone.state_dict())
    shape = (ranks * one, args.seq_length)
    tokens, targets = (torch.randint(args.vocab_size, shape).to(args.device) for _ in range(2))
    mine = slice(rank * one, (rank + 1) * one)
    alone(tokens, targets).backward()
    # It has to live until the backward pass is over.
    together = distribute(shared, args)
    together(tokens[mine], targets[mine]).backward()
    pairs = list(zip(alone.parameters(), shared.parameters()))
    largest = max(plain.grad.abs().max() for plain, _ in pairs)
    worst = max((plain.grad - other.grad).abs().max() for plain, other in pairs) / largest
    # Of what the processes would have without DDP: too near would prove nothing.
    lone = Gpt2(args).to(args.device)
    lone.load_state_dict(alone.state_dict())
    lone(tokens[mine], targets[mine]).backward()
    apart = max((a.grad - b.grad).abs().max() for a, b in zip(alone.parameters(), lone.parameters())) / largest
    for value, op in ((worst, dist.ReduceOp.MAX), (apart, dist.ReduceOp.MIN)):
        dist.all_reduce(value, op)
    ok = worst < 1e-5 and apart > 1e-3
    if rank == 0:
        print(f"{'ok' if ok else 'FAILED'}: gradients off by {worst:.1e}, those of a share of the batch by {apart:.1e}")
    dist.destroy_process_group()
    leave(0 if ok else 1)


def join(args):
    """With torchrun's variables: the process group, and this process's share of the cores, as mpirun gives it to ranks."""
    args.local_rank = int(os.environ.get("LOCAL_RANK", 0))
    if "WORLD_SIZE" not in os.environ:
        return
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) >= local and args.device == "cpu":
        each = len(cores) // local
        os.sched_setaffinity(0, cores[args.local_rank * each : (args.local_rank + 1) * each])
    if args.device == "cuda":
        torch.cuda.set_device(args.local_rank)
    dist.init_process_group("nccl" if args.device == "cuda" else "gloo")


def peak_memory(device):
    """In bytes: the largest resident size of this process, or what its tensors took of the GPU's memory at most."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def parse():
    parser = argparse.ArgumentParser(description="Time GPT-2 training in PyTorch.")
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--num-layers", type=int, default=4)
    parser.add_argument("--num-attention-heads", type=int, default=4)
    parser.add_argument("--seq-length", type=int, default=64)
    parser.add_argument("--vocab-size", type=int, default=256)
    parser.add_argument("--micro-batch-size", type=int, default=12)
    parser.add_argument("--dtype", choices=("fp32", "bf16", "bf16-weights"), default="fp32")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--steps", type=int, default=100, help="timed steps")
    parser.add_argument("--warmup", type=int, default=10, help="steps before them")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    parser.add_argument("--check", action="store_true", help="compare with the tests' witness")
    return parser.parse_args()


def main():
    args = parse()
    join(args)
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    if args.check:
        (check_ddp if dist.is_initialized() else check)(args)
    trainer = Trainer(args)
    # Replicas start alike, and read different samples.
    torch.manual_seed(1 + int(os.environ.get("RANK", 0)))
    shape = (args.micro_batch_size, args.seq_length)
    times = []
    for step in range(args.warmup + args.steps):
        tokens, targets = (torch.randint(args.vocab_size, shape).to(args.device) for _ in range(2))
        start = time.perf_counter()
        loss = trainer.step(tokens, targets)
        times.append(1e3 * (time.perf_counter() - start))
    times = times[args.warmup :]
    peak = peak_memory(args.device)  # before the products below
    processes = dist.get_world_size() if dist.is_initialized() else 1
    rate = matrix_product_rate(torch.float32 if args.dtype == "fp32" else torch.bfloat16, args.device)
    rate *= processes
    batch = processes * args.micro_batch_size
    tokens_per_second = 1e3 * batch * args.seq_length / statistics.median(times)
    result = {
        "program": torch.__version__,
        "processes": processes,
        "backend": dist.get_backend() if dist.is_initialized() else None,
        "compiled": args.compile,
        "dtype": args.dtype,
        "threads": args.threads,
        "steps": args.steps,
        "peak_memory_bytes": peak,
        "step_ms_min": min(times),
        "step_ms_median": statistics.median(times),
        "step_ms_mean": statistics.fmean(times),
        "tokens_per_second": tokens_per_second,
        "matrix_product_gflops": rate / 1e9,
        "share_of_matrix_product_rate": tokens_per_second * flops_per_token(args) / rate,
        "last_loss": loss,
        "step_ms": times,
    }
    if dist.is_initialized():
        first = dist.get_rank() == 0
        dist.destroy_process_group()
        if not first:
            return
    json.dump(result, sys.stdout)
    print()


if __name__ == "__main__":
    main()
