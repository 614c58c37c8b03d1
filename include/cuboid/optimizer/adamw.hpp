// AdamW over a rank's flat buffers, in one pass (cuboid/kernels/adamw.hpp).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "cuboid/config/config.hpp"
#include "cuboid/model/weight.hpp"

namespace cuboid {

// Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR 2019, as in PyTorch: for step
// t = 1, 2, ... with gradient g,
//   theta -= lr * weight_decay * theta                    (matrices only)
//   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   theta -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
class AdamW {
 public:
  // The store must be allocated and outlive the optimizer. Moments start at zero.
  AdamW(WeightStore& store, const OptimizerConfig& config);

  // One update with gradient_scale * gradients, then the weights in compute dtype follow. A scale
  // other than 1 (clipping) costs no pass of its own, and whether the gradients hold scaled values
  // afterwards is not said (on CPUs they do not).
  void step(double learning_rate, double gradient_scale = 1.0);

  // Moments, laid out like store.master(), fp32 (fp64 for a fp64 model). Checkpoints write into
  // them.
  [[nodiscard]] const at::Tensor& exp_avg() const { return exp_avg_; }
  [[nodiscard]] const at::Tensor& exp_avg_sq() const { return exp_avg_sq_; }
  // Updates so far; bias correction depends on it. Exact up to 2^24 (LibTorch's kernel on GPUs
  // counts in fp32).
  [[nodiscard]] std::int64_t num_steps() const { return num_steps_; }
  void set_num_steps(std::int64_t num_steps) { num_steps_ = num_steps; }

 private:
  WeightStore& store_;
  OptimizerConfig config_;
  at::Tensor exp_avg_, exp_avg_sq_;
  std::int64_t num_steps_ = 0;
};

}  // namespace cuboid
