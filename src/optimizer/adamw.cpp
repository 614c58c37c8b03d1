#include "cuboid/optimizer/adamw.hpp"

#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "cuboid/base/error.hpp"
#include "cuboid/kernels/adamw.hpp"

namespace cuboid {

AdamW::AdamW(WeightStore& store, const OptimizerConfig& config)
    : store_(store),
      config_(config),
      exp_avg_(at::zeros_like(store.master())),
      exp_avg_sq_(at::zeros_like(store.master())) {}

void AdamW::step(double learning_rate, double gradient_scale) {
  require(gradient_scale > 0.0 && std::isfinite(gradient_scale),
          "gradients are scaled by a positive number (their norm was finite)");
  ++num_steps_;
  const bool has_copy = !store_.values().is_same(store_.master());
  adamw_({.master = store_.master(),
          .gradient = store_.gradients().narrow(0, 0, store_.num_values()),
          .exp_avg = exp_avg_,
          .exp_avg_sq = exp_avg_sq_,
          .values = has_copy ? store_.values() : at::Tensor()},
         store_.num_decaying(),
         {.learning_rate = learning_rate,
          .beta1 = config_.adam_beta1,
          .beta2 = config_.adam_beta2,
          .epsilon = config_.adam_eps,
          .weight_decay = config_.weight_decay,
          .gradient_scale = gradient_scale,
          .step = num_steps_});
}

}  // namespace cuboid
