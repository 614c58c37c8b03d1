// Rotary position embedding (Su et al., arXiv:2104.09864) in the rotate-half convention: dims i and
// i + head_dim/2 of a head turn by the angle position * base^(-2i/head_dim).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace cuboid {

class Rotary {
 public:
  // head_dim must be even.
  Rotary(std::int64_t seq_length, std::int64_t head_dim, double base);

  // x [sequences, seq, heads, head_dim], any strides but the last: turned in place.
  void rotate_(const at::Tensor& x) const { turn_(x, /*forwards=*/true); }
  // The gradient of rotate_: turns back by the same angles.
  void rotate_back_(const at::Tensor& x) const { turn_(x, /*forwards=*/false); }

 private:
  void turn_(const at::Tensor& x, bool forwards) const;
  // [seq, head_dim / 2], fp64 on the host; cast and moved once for the type and device in use.
  at::Tensor cos_, sin_;
  mutable at::Tensor cos_in_use_, sin_in_use_;
};

}  // namespace cuboid
