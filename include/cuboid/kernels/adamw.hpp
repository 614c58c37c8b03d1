// One AdamW update of flat buffers, in one pass over them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace cuboid {

// All [n], contiguous; fp32, or all fp64.
struct AdamWTensors {
  at::Tensor master, gradient, exp_avg, exp_avg_sq;
  at::Tensor values;  // bf16 [n]: gets the new master weights, rounded; undefined: not wanted
};

struct AdamWFactors {
  double learning_rate, beta1, beta2, epsilon;
  double weight_decay;          // of the first num_decaying elements; the others have none
  double gradient_scale = 1.0;  // gradients count times this; they stay as they are
  std::int64_t step = 1;        // of this update: 1, 2, ...
};

// Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR 2019, as in PyTorch; the
// formulas stand in cuboid/optimizer/adamw.hpp. On the host the same bits on every processor and
// with any number of threads.
void adamw_(const AdamWTensors& tensors, std::int64_t num_decaying, const AdamWFactors& factors);

}  // namespace cuboid
