"""Compares what Cuboid computed with the PyTorch witness (model.py).

    python3 test/witness/compare.py FILE.h5 [--quiet]

FILE.h5 is written by a C++ test program:

    /config            attributes: the model's options by the names of the configuration:
                       hidden_size, num_layers, num_attention_heads, num_key_value_heads,
                       ffn_hidden_size, seq_length, vocab_size, normalization (layernorm, rmsnorm),
                       position_embedding (learned, rope), activation (gelu, swiglu),
                       tie_embeddings (0, 1), linear_bias (0, 1), norm_epsilon, rotary_base
    /training          attributes adam_beta1 adam_beta2 adam_eps weight_decay clip_grad (0: none);
                       dataset learning_rate [steps]
    /parameters/NAME   initial weights; NAME with its dots, whole logical tensors, [out, in]
    /tokens, /targets  [steps, G, T] integers
    /logits            [G * T, V] of step 0
    /gradients/NAME    of step 0, of the mean loss over G * T tokens, before clipping
    /losses, /grad_norms  [steps], the norm before clipping
    /final/NAME        weights after the last step

The witness computes in float64 from the same fp32 weights, so a difference is Cuboid's rounding (or
mistake) and no sum of two roundings. It prints a line for each check and "N passed, N failed" last;
exit 1 when anything failed. The tolerances below are about ten times what PyTorch's own fp32 shows
(compare_test.py writes such a file with the witness in fp32).
"""

import argparse
import sys

import h5py
import numpy as np
import torch

from model import Options, Transformer, cross_entropy, make_optimizer

LOGITS = 5e-6  # largest error / largest logit
GRADIENTS = 2e-5  # largest error of a tensor / its largest gradient
LOSSES = 2e-6  # relative; a mean over many tokens, so rounding averages out
GRAD_NORMS = 3e-6  # relative
FINAL = 5e-4  # rms error / rms change of the tensor over all steps
# A gradient this much smaller than the largest of all tensors is held to the tolerance of this
# size instead: where the exact value is next to nothing, all of it is rounding.
GRADIENT_FLOOR = 1e-3
# A tensor whose exact gradient is zero (the key's bias under learned positions: softmax does not
# see a constant added to a row of scores) is moved by rounding alone, which Adam scales up to whole
# steps. Its final value is only bounded, by the sum of the learning rates.
ZERO_GRADIENT = 1e-10  # of the largest gradient of all tensors, in float64


class Report:
    """Prints a line per check and counts."""

    def __init__(self, quiet=False):
        self.passed, self.failed, self.failures, self.quiet = 0, 0, [], quiet

    def check(self, ok, what, detail):
        self.passed, self.failed = self.passed + bool(ok), self.failed + (not ok)
        if not ok:
            self.failures.append(what)
        if not (ok and self.quiet):
            print(f"{'ok    ' if ok else 'FAILED'} {what:<48} {detail}")

    def error(self, what, error, tolerance, unit):
        # A NaN compares as false, so it fails here.
        self.check(error <= tolerance, what, f"{unit} {error:.1e} (tolerance {tolerance:.0e})")


def tensors_below(file, group):
    """{name: float64 tensor} of all datasets below `group`."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = torch.from_numpy(np.asarray(item[()], dtype=np.float64))

    if group in file:
        file[group].visititems(visit)
    return found


def attributes(item, convert):
    """The attributes that `convert` ({name: type}) names; a missing one is an error."""
    values = {}
    for name, type_ in convert.items():
        if name not in item.attrs:
            raise ValueError(f"{item.name} has no attribute {name}")
        value = item.attrs[name]
        value = value.item() if isinstance(value, (np.generic, np.ndarray)) else value
        if isinstance(value, bytes):
            value = value.decode()
        values[name] = bool(int(value)) if type_ is bool else type_(value)
    return values


def read_options(file):
    fields = {name: field.type for name, field in Options.__dataclass_fields__.items()}
    return Options(**attributes(file["config"], fields))


def all_equal_names(report, group, found, expected):
    """Whether `found` has exactly the expected names and shapes."""
    missing = sorted(set(expected) - set(found))
    extra = sorted(set(found) - set(expected))
    shapes = [
        f"{name} {list(found[name].shape)}, expected {list(expected[name].shape)}"
        for name in sorted(set(found) & set(expected))
        if found[name].shape != expected[name].shape
    ]
    wrong = [f"missing {n}" for n in missing] + [f"unknown {n}" for n in extra] + shapes
    detail = "; ".join(wrong) or f"{len(found)} tensors"
    report.check(not wrong, f"{group} names and shapes", detail)
    return not wrong


def largest(tensor):
    return tensor.abs().max().item()


def relative(found, expected):
    """Largest relative error of two equally long series."""
    if found.shape != expected.shape:
        return float("nan")
    return ((found - expected) / expected).abs().max().item()


def compare_gradients(report, found, parameters):
    if not all_equal_names(report, "gradients", found, parameters):
        return
    scale = max(largest(p.grad) for p in parameters.values())
    for name, parameter in parameters.items():
        size = max(largest(parameter.grad), GRADIENT_FLOOR * scale)
        error = largest(found[name] - parameter.grad) / size
        report.error(f"gradients {name}", error, GRADIENTS, "max rel err")


def compare_final(report, found, initial, parameters, gradient_sizes, rates):
    if not all_equal_names(report, "final", found, parameters):
        return
    scale = max(gradient_sizes.values())
    for name, parameter in parameters.items():
        difference = found[name] - parameter.detach()
        if gradient_sizes[name] < ZERO_GRADIENT * scale:
            bound = 2 * float(rates.sum())
            report.error(f"final {name}", largest(difference), bound, "zero gradient: max err")
            continue
        change = (parameter.detach() - initial[name]).square().mean().sqrt().item()
        error = difference.square().mean().sqrt().item() / change
        report.error(f"final {name}", error, FINAL, "rms err / rms change")


def compare(path, quiet=False):
    """Runs all checks on the file and returns the report."""
    report = Report(quiet)
    with h5py.File(path, "r") as file:
        options = read_options(file)
        names = ("adam_beta1", "adam_beta2", "adam_eps", "weight_decay", "clip_grad")
        training = attributes(file["training"], dict.fromkeys(names, float))
        rates = np.asarray(file["training/learning_rate"][()], dtype=np.float64)
        tokens, targets = (
            torch.from_numpy(file[name][()].astype(np.int64)) for name in ("tokens", "targets")
        )
        initial = tensors_below(file, "parameters")
        gradients = tensors_below(file, "gradients")
        final = tensors_below(file, "final")
        logits, losses, grad_norms = (
            torch.from_numpy(file[name][()].astype(np.float64))
            for name in ("logits", "losses", "grad_norms")
        )

    steps = len(rates)
    shape = (steps, *tokens.shape[1:2], options.seq_length)
    same = tokens.shape == targets.shape == shape and steps > 0
    report.check(same, "tokens, targets, learning_rate shapes", f"{tuple(tokens.shape)}")
    model = Transformer(options).double()
    if not all_equal_names(report, "parameters", initial, model.state_dict()) or not same:
        return report
    model.load_state_dict(initial, strict=True)
    # A bias of zeros or a norm of ones, as models start with, would hide many a mistake.
    flat = [name for name, value in initial.items() if value.std() < 1e-6]
    report.check(not flat, "parameters vary within each tensor", "; ".join(flat) or "all of them")

    parameters = dict(model.named_parameters())
    betas = training["adam_beta1"], training["adam_beta2"]
    optimizer = make_optimizer(model, *betas, training["adam_eps"], training["weight_decay"])
    expected_losses, expected_norms = [], []
    gradient_sizes = dict.fromkeys(parameters, 0.0)
    for step in range(steps):
        expected_logits = model(tokens[step])
        loss = cross_entropy(expected_logits, targets[step])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if step == 0:
            expected_logits = expected_logits.detach().flatten(0, 1)
            same = logits.shape == expected_logits.shape
            error = largest(logits - expected_logits) / largest(expected_logits) if same else np.nan
            report.error("logits of step 0", error, LOGITS, "max err / max logit")
            compare_gradients(report, gradients, parameters)
        for name, parameter in parameters.items():
            gradient_sizes[name] = max(gradient_sizes[name], largest(parameter.grad))
        limit = training["clip_grad"] or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), limit, foreach=False)
        for group in optimizer.param_groups:
            group["lr"] = float(rates[step])
        optimizer.step()
        expected_losses.append(loss.item())
        expected_norms.append(norm.item())

    series = ((losses, expected_losses, LOSSES), (grad_norms, expected_norms, GRAD_NORMS))
    for what, (found, expected, tolerance) in zip(("losses", "grad_norms"), series):
        expected = torch.tensor(expected, dtype=torch.float64)
        error = relative(found, expected)
        report.error(f"{what} of {steps} steps", error, tolerance, "max rel err")
    compare_final(report, final, initial, parameters, gradient_sizes, rates)
    return report


def main():
    parser = argparse.ArgumentParser(description="Compare a Cuboid run with the PyTorch witness.")
    parser.add_argument("file")
    parser.add_argument("--quiet", action="store_true", help="print failed checks only")
    arguments = parser.parse_args()
    report = compare(arguments.file, arguments.quiet)
    print(f"{report.passed} passed, {report.failed} failed")
    sys.exit(0 if report.failed == 0 and report.passed > 0 else 1)


if __name__ == "__main__":
    main()
