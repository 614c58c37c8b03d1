// LayerNorm or RMSNorm, with its weights, after the addition to the residual stream that comes
// before it. Replicated over TP: every rank computes the same values.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "cuboid/config/config.hpp"
#include "cuboid/kernels/norm.hpp"
#include "cuboid/model/residual.hpp"
#include "cuboid/model/weight.hpp"

namespace cuboid {

class Norm {
 public:
  // What backward needs.
  struct Saved {
    at::Tensor sum;  // [tokens, hidden]: the residual stream that was normalised
    NormStatistics statistics;
  };

  Norm(WeightStore& store, const ModelConfig& model, const std::string& name);

  // Adds up x and normalises it: [tokens, hidden] of the compute dtype.
  [[nodiscard]] at::Tensor forward(const Residual& x, Saved& saved) const;
  // The gradient of the residual stream before the norm: dy's through the norm, plus d_stream (used
  // up; may be undefined), what the stream gets from behind it. Its column sums are the gradient of
  // x.bias and go into `delta_bias` (may be null).
  [[nodiscard]] at::Tensor backward(const at::Tensor& dy, const Saved& saved,
                                    const at::Tensor& d_stream = {}, Weight* delta_bias = nullptr);

 private:
  [[nodiscard]] NormParameters parameters() const;

  Normalization kind_;
  double epsilon_;
  Weight* weight_;
  Weight* bias_ = nullptr;
};

}  // namespace cuboid
