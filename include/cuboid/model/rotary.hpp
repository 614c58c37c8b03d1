// Rotary position embedding (Su et al., arXiv:2104.09864) in the rotate-half convention: dims i and
// i + head_dim/2 of a head turn by the angle position * base^(-2i/head_dim).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "cuboid/config/config.hpp"

namespace cuboid {

class Rotary {
 public:
  // For x as `options` say; head_dim must be even.
  Rotary(std::int64_t seq_length, std::int64_t head_dim, double base,
         const at::TensorOptions& options);

  // x [sequences, seq, heads, head_dim], any strides but the last: turned in place.
  void rotate_(const at::Tensor& x) const { turn_(x, /*forwards=*/true); }
  // The gradient of rotate_: turns back by the same angles.
  void rotate_back_(const at::Tensor& x) const { turn_(x, /*forwards=*/false); }

 private:
  void turn_(const at::Tensor& x, bool forwards) const;
  at::Tensor cos_, sin_;  // [seq, head_dim / 2]: computed in fp64, kept in what x is turned in
};

// That of all layers of a model; null where its positions are learned.
std::shared_ptr<const Rotary> make_rotary(const ModelConfig& model,
                                          const at::TensorOptions& options);

}  // namespace cuboid
