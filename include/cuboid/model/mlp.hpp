// The feed-forward half of a block, split over TP along its inner width: GELU (tanh form,
// Hendrycks and Gimpel, arXiv:1606.08415) or SwiGLU (Shazeer, arXiv:2002.05202).
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "cuboid/collective/communicator.hpp"
#include "cuboid/config/config.hpp"
#include "cuboid/model/linear.hpp"

namespace cuboid {

class Mlp {
 public:
  struct Saved {
    at::Tensor inner;  // [tokens, f / tp] before GELU; [tokens, 2 f / tp] gate and up for SwiGLU
    at::Tensor activated;  // [tokens, f / tp]
  };

  Mlp(WeightStore& store, Communicator& tp, const ModelConfig& model, const std::string& name);

  // x [tokens, hidden] -> [tokens, hidden], summed over TP, without output_bias()
  [[nodiscard]] at::Tensor forward(const at::Tensor& x, Saved& saved) const;
  [[nodiscard]] at::Tensor backward(const at::Tensor& dy, const at::Tensor& x, Saved saved);
  [[nodiscard]] Weight* output_bias() const { return down_.bias(); }

 private:
  Activation activation_;
  ColumnParallelLinear up_;
  RowParallelLinear down_;
};

}  // namespace cuboid
