// What the compositions of LibTorch's operations share.
#pragma once

#include <ATen/core/Tensor.h>

#include "cuboid/kernels/gradient_target.hpp"

namespace cuboid::detail {

// bf16 is computed in fp32 inside; fp32 and fp64 as they are.
inline at::Tensor widened(const at::Tensor& x) {
  return x.scalar_type() == at::kBFloat16 ? x.to(at::kFloat) : x;
}

inline void deliver(const at::Tensor& gradient, const GradientTarget& target) {
  if (!target.gradient.defined()) return;
  target.accumulate ? target.gradient.add_(gradient) : target.gradient.copy_(gradient);
}

}  // namespace cuboid::detail
