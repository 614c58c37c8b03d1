// What the model's benchmarks share: shapes of presets, random tensors, counts of operations.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "cuboid/config/config.hpp"

namespace cuboid::harness {

struct Shape {
  std::string name;  // of the preset
  ModelConfig model;
  std::int64_t sequences;  // of a micro-batch
  [[nodiscard]] std::int64_t tokens() const { return sequences * model.seq_length; }
};

// The quick set's, or with --all those of every preset of its own shape. A micro-batch of one
// sequence (eight on a GPU); of the small ones twelve, as in the comparison with PyTorch.
const std::vector<Shape>& shapes();
Shape shape_of_preset(const std::string& name);

struct Type {
  at::ScalarType type;
  std::string name;  // "fp32"
};
const std::vector<Type>& types();

// On this rank's device; normal values, a million of them repeated.
at::Tensor random_tensor(const std::vector<std::int64_t>& shape, at::ScalarType type);
at::Tensor random_tokens(std::int64_t count, std::int64_t vocab_size);

// One product of a block or of the head: y [tokens, outputs] = x [tokens, inputs] W^T.
struct Product {
  std::string name;
  std::int64_t outputs, inputs;
};
std::vector<Product> products_of_block(const ModelConfig& model);
Product product_of_head(const ModelConfig& model);
// 2 m n k.
double product_flops(std::int64_t tokens, const Product& product);

// softmax(q k^T) v of all heads of one layer: two products of 2 T^2 h, halved by the causal mask,
// which is what the kernels compute. Backward: five such products, scores computed again among
// them.
double attention_flops(const Shape& shape, bool backward);
// One layer's products and attention.
double block_flops(const Shape& shape, bool backward);

}  // namespace cuboid::harness
