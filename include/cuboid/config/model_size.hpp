// Parameters, arithmetic and memory of a model, from its resolved configuration.
#pragma once

#include <cstdint>
#include <string_view>

#include "cuboid/config/config.hpp"

namespace cuboid {

// Every trainable number, biases, positions and normalisations included; tied embeddings count
// once, and rows that only pad the vocabulary never. GPT-2's formula is
// V h + T h + L (12 h^2 + 13 h) + 2 h.
std::int64_t num_parameters(const ModelConfig& model);

// Floating-point operations of a forward and backward pass for one token, as one program or another
// counts them; MFU compares within one convention only. N: num_parameters, L: layers, h: width,
// T: tokens of a sequence, V: vocabulary.
//   llmc      6 N + 6 L h T: all parameters, attention halved for the causal mask (train_gpt2.cu)
//   nanogpt   6 (N - T h) + 12 L h T: without learned positions, whole attention (model.py)
//   palm      6 N + 12 L h T (Chowdhery et al., arXiv:2204.02311, appendix B)
//   megatron  6 x the elements of every matrix that is multiplied with, V among them rounded up to
//   a
//             multiple of 128 x TP, + 6 L h T: no biases, norms, positions or input embedding
//             (Megatron-LM's training.py, num_floating_point_operations)
// Where embeddings are not tied, N has both matrices, although looking up the first is no product.
double flops_per_token(const ModelConfig& model, MfuConvention convention = MfuConvention::kLlmC,
                       std::int64_t tensor_parallel_size = 1);

// "llmc", as on the command line.
std::string_view name_of(MfuConvention convention);
// "6 N + 6 L h T (llm.c's convention)"
std::string_view formula_of(MfuConvention convention);

// Bytes of weights, gradients and optimizer of the whole model: 16 a parameter in fp32 (weight,
// gradient, two moments), 18 in bf16 (bf16 weight; fp32 master weight, gradient, two moments).
double training_bytes(const ModelConfig& model, Precision precision);

}  // namespace cuboid
