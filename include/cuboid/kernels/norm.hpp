// LayerNorm (Ba et al., arXiv:1607.06450) and RMSNorm (Zhang and Sennrich, arXiv:1910.07467) over
// the last dim, together with the addition to the residual stream that comes before them.
// Tensors are contiguous; T is fp32, bf16 (computed in fp32, rounded once) or fp64.
#pragma once

#include <ATen/core/Tensor.h>

#include "cuboid/config/config.hpp"
#include "cuboid/kernels/gradient_target.hpp"

namespace cuboid {

struct NormParameters {
  Normalization kind;
  double epsilon;
  at::Tensor weight, bias;  // [hidden] T; bias is undefined for RMSNorm
};

struct NormStatistics {
  at::Tensor mean;  // [tokens] fp32, fp64 for fp64; LayerNorm only
  at::Tensor rstd;  // [tokens]
};

struct AddNorm {
  at::Tensor sum, normalized;  // [tokens, hidden] T
  NormStatistics statistics;
};

// Where the sum goes: into new memory, or over `delta`, which is used up then.
enum class SumMemory : unsigned char { kNew, kDelta };

// sum = residual + delta + delta_bias, rounded once, and normalized = norm(sum). residual, delta
// [tokens, hidden], delta_bias [hidden]. Without `delta` the sum is `residual` itself, not a copy;
// delta_bias may be undefined.
AddNorm add_norm(const at::Tensor& residual, const at::Tensor& delta, const at::Tensor& delta_bias,
                 const NormParameters& parameters, SumMemory memory = SumMemory::kNew);

// The sum alone.
at::Tensor add_delta(const at::Tensor& residual, const at::Tensor& delta,
                     const at::Tensor& delta_bias, SumMemory memory = SumMemory::kNew);

// The gradient of sum: that through the norm of dy, plus d_residual, which may be undefined. It
// takes d_residual's memory where there is one. Column sums go into the targets: of the norm's
// weight and bias, and of the result, which is delta_bias's gradient.
at::Tensor add_norm_backward(const at::Tensor& dy, const at::Tensor& sum,
                             const NormStatistics& statistics, const NormParameters& parameters,
                             const at::Tensor& d_residual, const GradientTarget& weight,
                             const GradientTarget& bias, const GradientTarget& delta_bias);

namespace detail {

// The same in LibTorch's own operations, on any device: what a device without kernels takes, and
// what tests compare with.
AddNorm add_norm_composed(const at::Tensor& residual, const at::Tensor& delta,
                          const at::Tensor& delta_bias, const NormParameters& parameters,
                          SumMemory memory);
at::Tensor add_delta_composed(const at::Tensor& residual, const at::Tensor& delta,
                              const at::Tensor& delta_bias, SumMemory memory);
at::Tensor add_norm_backward_composed(const at::Tensor& dy, const at::Tensor& sum,
                                      const NormStatistics& statistics,
                                      const NormParameters& parameters,
                                      const at::Tensor& d_residual, const GradientTarget& weight,
                                      const GradientTarget& bias, const GradientTarget& delta_bias);

}  // namespace detail

}  // namespace cuboid
