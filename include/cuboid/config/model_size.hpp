// Parameters, arithmetic and memory of a model, from its resolved configuration.
#pragma once

#include <cstdint>

#include "cuboid/config/config.hpp"

namespace cuboid {

// Every trainable number, biases, positions and normalisations included; tied embeddings count
// once, and rows that only pad the vocabulary never. GPT-2's formula is
// V h + T h + L (12 h^2 + 13 h) + 2 h.
std::int64_t num_parameters(const ModelConfig& model);

// Floating-point operations of a forward and backward pass for one token, in llm.c's convention
// (train_gpt2.cu): 6 N + 6 L h T with N all parameters, attention halved for the causal mask.
double flops_per_token(const ModelConfig& model);

// Bytes of weights, gradients and optimizer of the whole model: 16 a parameter in fp32 (weight,
// gradient, two moments), 18 in bf16 (bf16 weight; fp32 master weight, gradient, two moments).
double training_bytes(const ModelConfig& model, Precision precision);

}  // namespace cuboid
