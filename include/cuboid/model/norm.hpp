// LayerNorm (Ba et al., arXiv:1607.06450) and RMSNorm (Zhang and Sennrich, arXiv:1910.07467) over
// the last dim. Replicated over TP: every rank computes the same values.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "cuboid/config/config.hpp"
#include "cuboid/model/weight.hpp"

namespace cuboid {

class Norm {
 public:
  // What backward needs beside the input.
  struct Saved {
    at::Tensor mean;  // [tokens, 1], LayerNorm only
    at::Tensor rstd;  // [tokens, 1]
  };

  Norm(WeightStore& store, const ModelConfig& model, const std::string& name);

  // x [tokens, hidden] -> the same shape
  [[nodiscard]] at::Tensor forward(const at::Tensor& x, Saved& saved) const;
  // dy, x [tokens, hidden] -> dx
  [[nodiscard]] at::Tensor backward(const at::Tensor& dy, const at::Tensor& x, const Saved& saved);

 private:
  Normalization kind_;
  double epsilon_;
  Weight* weight_;
  Weight* bias_ = nullptr;
};

}  // namespace cuboid
