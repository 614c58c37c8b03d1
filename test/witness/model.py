"""The outside witness: GPT-2 and LLaMA in plain PyTorch, written from the formulas.

Nothing here is shared with Cuboid but the names of the parameters. Normalisation, attention, the
activation and the loss are spelled out instead of calling the fused kernels that Cuboid calls too,
and autograd derives every gradient. Attributes are named so that state_dict() has Cuboid's logical
names; all matrices are [out, in].
"""

import dataclasses
import math

import torch
from torch import nn


@dataclasses.dataclass(frozen=True)
class Options:
    """A model's options, by the names of Cuboid's configuration."""

    hidden_size: int
    num_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    ffn_hidden_size: int
    seq_length: int
    vocab_size: int
    normalization: str = "layernorm"  # or rmsnorm
    position_embedding: str = "learned"  # or rope
    activation: str = "gelu"  # or swiglu
    tie_embeddings: bool = True
    linear_bias: bool = True
    norm_epsilon: float = 1e-5
    rotary_base: float = 10000.0

    def __post_init__(self):
        for name, legal in (
            ("normalization", ("layernorm", "rmsnorm")),
            ("position_embedding", ("learned", "rope")),
            ("activation", ("gelu", "swiglu")),
        ):
            if getattr(self, name) not in legal:
                raise ValueError(f"{name} is {getattr(self, name)!r}; legal: {', '.join(legal)}")

    @property
    def head_dim(self):
        return self.hidden_size // self.num_attention_heads


class LayerNorm(nn.Module):
    def __init__(self, options):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(options.hidden_size))
        self.bias = nn.Parameter(torch.zeros(options.hidden_size))
        self.epsilon = options.norm_epsilon

    def forward(self, x):
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        return centred / torch.sqrt(variance + self.epsilon) * self.weight + self.bias


class RmsNorm(nn.Module):
    def __init__(self, options):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(options.hidden_size))
        self.epsilon = options.norm_epsilon

    def forward(self, x):
        return x / torch.sqrt(x.square().mean(-1, keepdim=True) + self.epsilon) * self.weight


def make_norm(options):
    return LayerNorm(options) if options.normalization == "layernorm" else RmsNorm(options)


def gelu(x):
    """GPT-2's GELU, the tanh form (Hendrycks and Gimpel, arXiv 1606.08415, section 2)."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def rotate(x, base):
    """RoPE of x [batch, heads, tokens, d]: pair (i, i + d/2) of token t turns by t * base^(-2i/d)
    (Su et al., arXiv 2104.09864, in the order of Hugging Face's LLaMA)."""
    tokens, d = x.shape[-2:]
    frequency = base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)
    angle = torch.outer(torch.arange(tokens, dtype=torch.float64), frequency)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    x1, x2 = x[..., : d // 2], x[..., d // 2 :]
    return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), -1)


class Attention(nn.Module):
    def __init__(self, options):
        super().__init__()
        self.options = options
        width, bias = options.hidden_size, options.linear_bias
        kv_width = options.num_key_value_heads * options.head_dim
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(width, kv_width, bias=bias)
        self.value = nn.Linear(width, kv_width, bias=bias)
        self.output = nn.Linear(width, width, bias=bias)

    def split_heads(self, x):  # [batch, tokens, heads * d] -> [batch, heads, tokens, d]
        return x.unflatten(-1, (-1, self.options.head_dim)).transpose(1, 2)

    def forward(self, x):
        query, key, value = (self.split_heads(f(x)) for f in (self.query, self.key, self.value))
        if self.options.position_embedding == "rope":
            query = rotate(query, self.options.rotary_base)
            key = rotate(key, self.options.rotary_base)
        # Grouped queries: heads i * group ... (i + 1) * group - 1 share key and value head i.
        group = self.options.num_attention_heads // self.options.num_key_value_heads
        key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
        scores = query @ key.transpose(-1, -2) / math.sqrt(self.options.head_dim)
        tokens = x.shape[1]
        future = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(future, -math.inf).softmax(-1)
        return self.output((weights @ value).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, options):
        super().__init__()
        width, inner, bias = options.hidden_size, options.ffn_hidden_size, options.linear_bias
        self.up = nn.Linear(width, inner, bias=bias)
        self.gate = nn.Linear(width, inner, bias=bias) if options.activation == "swiglu" else None
        self.down = nn.Linear(inner, width, bias=bias)

    def forward(self, x):
        if self.gate is None:
            return self.down(gelu(self.up(x)))
        gate = self.gate(x)
        return self.down(gate * torch.sigmoid(gate) * self.up(x))


class Layer(nn.Module):
    """Pre-norm: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, options):
        super().__init__()
        self.attention_norm = make_norm(options)
        self.attention = Attention(options)
        self.mlp_norm = make_norm(options)
        self.mlp = Mlp(options)

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class Embedding(nn.Module):
    def __init__(self, options):
        super().__init__()
        self.token = nn.Embedding(options.vocab_size, options.hidden_size)
        learned = options.position_embedding == "learned"
        self.position = nn.Embedding(options.seq_length, options.hidden_size) if learned else None

    def forward(self, tokens):
        x = self.token(tokens)
        return x if self.position is None else x + self.position.weight[: tokens.shape[1]]


class Transformer(nn.Module):
    def __init__(self, options):
        super().__init__()
        self.options = options
        self.embedding = Embedding(options)
        self.layers = nn.ModuleList(Layer(options) for _ in range(options.num_layers))
        self.final_norm = make_norm(options)
        self.head = None
        if not options.tie_embeddings:
            self.head = nn.Linear(options.hidden_size, options.vocab_size, bias=False)

    def forward(self, tokens):
        """Logits [batch, tokens, vocabulary] of token ids [batch, tokens]."""
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x)
        matrix = self.embedding.token.weight if self.head is None else self.head.weight
        return self.final_norm(x) @ matrix.T


def cross_entropy(logits, targets):
    """Mean over all tokens of -log softmax(logits)[target], in nats."""
    log_probability = logits - logits.logsumexp(-1, keepdim=True)
    return -log_probability.gather(-1, targets.unsqueeze(-1)).mean()


def make_optimizer(model, beta1, beta2, epsilon, weight_decay):
    """AdamW; decay on matrices (embeddings included), not on biases and norms."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(beta1, beta2), eps=epsilon, foreach=False)
