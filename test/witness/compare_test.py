"""Tests the witness: compare.py accepts what the witness itself computes in fp32, and refuses a
file in which one number, or one rule of the model or the optimizer, is wrong.

    python3 test/witness/compare_test.py [--verbose]       prints "N passed, N failed" last
"""

import contextlib
import dataclasses
import io
import math
import os
import sys
import tempfile
from unittest import mock

import h5py
import numpy as np
import torch

import compare
import model as witness

GPT2 = witness.Options(
    hidden_size=48, num_layers=2, num_attention_heads=4, num_key_value_heads=4,
    ffn_hidden_size=192, seq_length=16, vocab_size=61,
)
LLAMA = witness.Options(
    hidden_size=48, num_layers=2, num_attention_heads=6, num_key_value_heads=2,
    ffn_hidden_size=128, seq_length=16, vocab_size=61, normalization="rmsnorm",
    position_embedding="rope", activation="swiglu", tie_embeddings=False, linear_bias=False,
)
STEPS, BATCH = 10, 6
TRAINING = {
    "adam_beta1": 0.9, "adam_beta2": 0.95, "adam_eps": 1e-8, "weight_decay": 0.1, "clip_grad": 0.5,
}


def write_run(path, options, training=TRAINING, recorded=None):
    """Trains the witness in fp32 and writes the file that compare.py reads; /config and /training
    describe `recorded` (options, training) where that is not what was computed."""
    torch.manual_seed(7)
    model = witness.Transformer(options)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = name.endswith("norm.weight")
            parameter.normal_(1.0 if norm else 0.0, 0.1 if norm else 0.05)
    rates = 1e-3 * np.linspace(1.0, 0.1, STEPS)
    tokens = torch.randint(options.vocab_size, (STEPS, BATCH, options.seq_length))
    targets = torch.randint(options.vocab_size, tokens.shape)
    parameters = dict(model.named_parameters())
    betas = training["adam_beta1"], training["adam_beta2"]
    decay = training["weight_decay"]
    optimizer = witness.make_optimizer(model, *betas, training["adam_eps"], decay)
    with h5py.File(path, "w") as file:
        for name, value in dataclasses.asdict((recorded or (options,))[0]).items():
            file.require_group("config").attrs[name] = value
        for name, value in (recorded or (None, training))[1].items():
            file.require_group("training").attrs[name] = value
        file["training/learning_rate"] = rates
        file["tokens"], file["targets"] = tokens.numpy(), targets.numpy()
        for name, parameter in parameters.items():
            file[f"parameters/{name}"] = parameter.detach().numpy()
        losses, norms = [], []
        for step in range(STEPS):
            logits = model(tokens[step])
            loss = witness.cross_entropy(logits, targets[step])
            optimizer.zero_grad()
            loss.backward()
            if step == 0:
                file["logits"] = logits.detach().flatten(0, 1).numpy()
                for name, parameter in parameters.items():
                    file[f"gradients/{name}"] = parameter.grad.numpy()
            norm = torch.nn.utils.clip_grad_norm_(
                parameters.values(), training["clip_grad"] or math.inf
            )
            for group in optimizer.param_groups:
                group["lr"] = rates[step]
            optimizer.step()
            losses.append(loss.item())
            norms.append(norm.item())
        file["losses"], file["grad_norms"] = np.float64(losses), np.float64(norms)
        for name, parameter in parameters.items():
            file[f"final/{name}"] = parameter.detach().numpy()


def erf_gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def interleaved_rotate(x, base):
    """RoPE on neighbouring pairs (2i, 2i + 1), Meta's order, instead of halves."""
    d = x.shape[-1]
    to_halves = torch.cat((torch.arange(0, d, 2), torch.arange(1, d, 2)))
    return RIGHT_ROTATE(x[..., to_halves], base)[..., to_halves.argsort()]


def tiled_heads(self, repeats, dim):
    """Groups of queries in the wrong order: kv head i % kv_heads instead of i / group."""
    return torch.cat([self] * repeats, dim)


def decay_everything(model, beta1, beta2, epsilon, weight_decay):
    return torch.optim.AdamW(
        model.parameters(), lr=0.0, betas=(beta1, beta2), eps=epsilon, weight_decay=weight_decay
    )


RIGHT_ROTATE = witness.rotate


# name: (what to patch, by what), each a mistake that a training program can make.
MUTANTS = {
    "erf GELU": (GPT2, (witness, "gelu", erf_gelu)),
    "interleaved RoPE": (LLAMA, (witness, "rotate", interleaved_rotate)),
    "tiled key and value heads": (LLAMA, (torch.Tensor, "repeat_interleave", tiled_heads)),
    "decay on vectors": (GPT2, (witness, "make_optimizer", decay_everything)),
    "decay on norms": (LLAMA, (witness, "make_optimizer", decay_everything)),
}
# name: (base, changed options, changed training): computed with the change, recorded without.
CHANGES = {
    "norm epsilon 1e-6": (GPT2, {"norm_epsilon": 1e-6}, {}),
    "RMSNorm epsilon 1e-6": (LLAMA, {"norm_epsilon": 1e-6}, {}),
    "rotary base 500000": (LLAMA, {"rotary_base": 5e5}, {}),
    "no clipping": (GPT2, {}, {"clip_grad": 0.0}),
    "no decay": (GPT2, {}, {"weight_decay": 0.0}),
    "beta1 0.95": (GPT2, {}, {"adam_beta1": 0.95}),
    "beta2 0.99": (LLAMA, {}, {"adam_beta2": 0.99}),
    "Adam epsilon 1e-6": (GPT2, {}, {"adam_eps": 1e-6}),
}


def scale_one(file, name, factor):
    """One element of one dataset, the largest, by `factor`."""
    data = file[name][()]
    where = np.unravel_index(np.abs(data).argmax(), data.shape)
    data[where] *= factor
    file[name][...] = data


def remove_one(file, name):
    del file[name]


def swap_rows(file, name):
    file[name][...] = file[name][()][::-1]


# What to do to a good GPT-2 file: (label, the check that must fail, function, arguments).
WOUNDS = [
    ("one logit off by 1e-4", "logits", scale_one, "logits", 1.0001),
    ("NaN logit", "logits", scale_one, "logits", np.nan),
    ("one gradient off by 1e-4", "gradients layers.0.mlp.up.weight", scale_one,
     "gradients/layers.0.mlp.up.weight", 1.0001),
    ("NaN gradient", "gradients layers.1.mlp_norm.bias", scale_one,
     "gradients/layers.1.mlp_norm.bias", np.nan),
    ("a gradient's rows reversed", "gradients layers.1.attention.query.weight", swap_rows,
     "gradients/layers.1.attention.query.weight"),
    ("one gradient missing", "gradients names", remove_one, "gradients/final_norm.weight"),
    ("one loss off by 1e-5", "losses", scale_one, "losses", 1.00001),
    ("one norm off by 1e-4", "grad_norms", scale_one, "grad_norms", 1.0001),
    ("one final tensor scaled", "final layers.0.mlp.down.weight", scale_one,
     "final/layers.0.mlp.down.weight", 1.01),
    ("one final tensor missing", "final names", remove_one, "final/embedding.position.weight"),
    ("one parameter missing", "parameters names", remove_one, "parameters/final_norm.bias"),
]


class Outcomes:
    def __init__(self, verbose):
        self.passed = self.failed = 0
        self.verbose = verbose

    def run(self, label, path, must_fail):
        """must_fail: None (all checks pass) or the beginning of a check that must fail."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            report = compare.compare(path)
        if must_fail is None:
            right = not report.failures and report.passed > 0
        else:
            right = any(what.startswith(must_fail) for what in report.failures)
        self.passed, self.failed = self.passed + right, self.failed + (not right)
        detail = f"{report.failed} of {report.passed + report.failed} checks refuse"
        print(f"{'ok    ' if right else 'FAILED'} {label:<36} {detail}")
        if self.verbose or not right:
            print(output.getvalue())


def main():
    torch.set_num_threads(1)
    outcomes = Outcomes("--verbose" in sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "run.h5")
        biased = dataclasses.replace(LLAMA, linear_bias=True, tie_embeddings=True)
        for label, options in (("GPT-2", GPT2), ("LLaMA", LLAMA), ("LLaMA, biased, tied", biased)):
            write_run(path, options)
            outcomes.run(label, path, None)
        for label, (options, (owner, name, wrong)) in MUTANTS.items():
            with mock.patch.object(owner, name, wrong):
                write_run(path, options)
            outcomes.run(label, path, "")
        for label, (options, changed, training) in CHANGES.items():
            wrong = dataclasses.replace(options, **changed)
            write_run(path, wrong, {**TRAINING, **training}, (options, TRAINING))
            outcomes.run(label, path, "")
        for label, check, wound, name, *factor in WOUNDS:
            write_run(path, GPT2)
            with h5py.File(path, "r+") as file:
                wound(file, name, *factor)
            outcomes.run(label, path, check)
    print(f"{outcomes.passed} passed, {outcomes.failed} failed")
    sys.exit(outcomes.failed != 0)


if __name__ == "__main__":
    main()
