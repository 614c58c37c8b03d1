"""The FLOPs a token that a run prints for its MFU, against PyTorch's FlopCounterMode on a forward
and a backward pass of the witness, whose attention is spelled out in products. Every difference
is explained by the witness's own parameters, to the last FLOP.

    python3 test/witness/flops_test.py PROGRAM       prints "N passed, N failed" last
"""

import re
import subprocess
import sys
import tempfile

import torch
from torch.utils.flop_counter import FlopCounterMode

import model as witness

BATCH = 3
GPT2 = witness.Options(
    hidden_size=64, num_layers=3, num_attention_heads=4, num_key_value_heads=4,
    ffn_hidden_size=256, seq_length=32, vocab_size=300,
)
LLAMA = witness.Options(
    hidden_size=48, num_layers=2, num_attention_heads=6, num_key_value_heads=2,
    ffn_hidden_size=128, seq_length=16, vocab_size=300, normalization="rmsnorm",
    position_embedding="rope", activation="swiglu", tie_embeddings=False, linear_bias=False,
)


def count(options):
    """FLOPs a token by PyTorch's counter, and the parameters that are in no product by kind."""
    model = witness.Transformer(options)
    tokens = torch.randint(options.vocab_size, (BATCH, options.seq_length))
    with FlopCounterMode(display=False) as counter:
        witness.cross_entropy(model(tokens), tokens).backward()
    counted, rest = divmod(counter.get_total_flops(), tokens.numel())
    assert rest == 0, "every token costs the same"
    left = {"vectors": 0, "positions": 0, "looked up": 0}
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            left["vectors"] += parameter.numel()
        elif name == "embedding.position.weight":
            left["positions"] += parameter.numel()
        elif name == "embedding.token.weight" and not options.tie_embeddings:
            left["looked up"] += parameter.numel()
    return counted, left


def printed(program, options, convention):
    """What a run of one step says."""
    with tempfile.TemporaryDirectory() as folder:
        words = [program, "pretrain", "--max-steps", "1", "--eval-steps", "0", "--peak-tflops", "1", "--device", "cpu"]
        words += ["--data-dir", "README.md", "--output-dir", folder, "--mfu-convention", convention]
        for name in ("hidden_size", "num_layers", "num_attention_heads", "num_key_value_heads", "ffn_hidden_size",
                     "seq_length", "vocab_size", "normalization", "position_embedding", "activation", "tie_embeddings", "linear_bias"):
            words += ["--" + name.replace("_", "-"), str(getattr(options, name)).lower()]
        text = subprocess.run(words, check=True, capture_output=True, text=True, timeout=100).stdout
    return int(re.search(r"^MFU: .* = ([0-9,]+) FLOPs a token, over 1 TFLOP/s", text, re.M)[1].replace(",", ""))


def main():
    program, passed, failed = sys.argv[1], 0, 0
    # Of both models all conventions are checked in test/model/flops_test.cpp.
    for title, options, conventions in (("GPT-2", GPT2, ("llmc", "nanogpt")), ("LLaMA", LLAMA, ("megatron", "palm"))):
        counted, left = count(options)
        half = 6 * options.num_layers * options.hidden_size * options.seq_length  # of attention
        padding = (-options.vocab_size) % 128 * options.hidden_size
        expected = {
            "palm": counted + 6 * sum(left.values()),
            "nanogpt": counted + 6 * (left["vectors"] + left["looked up"]),
            "llmc": counted + 6 * sum(left.values()) - half,
            "megatron": counted + 6 * padding - half,
        }
        for convention in conventions:
            said, flops = printed(program, options, convention), expected[convention]
            if said == flops:
                passed += 1
            else:
                failed += 1
                print(f"FAILED {title}, {convention}: the run says {said}, PyTorch counts {counted}, wanted {flops}")
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
