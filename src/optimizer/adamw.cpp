#include "cuboid/optimizer/adamw.hpp"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "cuboid/base/error.hpp"

namespace cuboid {

AdamW::AdamW(WeightStore& store, const OptimizerConfig& config)
    : store_(store),
      config_(config),
      exp_avg_(at::zeros_like(store.master())),
      exp_avg_sq_(at::zeros_like(store.master())),
      step_(at::zeros({}, store.master().options().dtype(at::kFloat))) {}

void AdamW::step(double learning_rate, double gradient_scale) {
  require(gradient_scale > 0.0 && std::isfinite(gradient_scale),
          "gradients are scaled by a positive number (their norm was finite)");
  ++num_steps_;
  step_.fill_(static_cast<double>(num_steps_));
  std::optional<at::Tensor> inverse_scale;
  if (gradient_scale != 1.0 && store_.gradients().scalar_type() == at::kFloat) {
    // The kernel divides by what it is given, in fp32.
    inverse_scale = at::full({}, 1.0 / gradient_scale, step_.options());
  } else if (gradient_scale != 1.0) {
    store_.gradients().mul_(gradient_scale);
  }
  const std::int64_t decaying = store_.num_decaying();
  update({0, decaying}, learning_rate, config_.weight_decay, inverse_scale);
  update({decaying, store_.num_values()}, learning_rate, 0.0, inverse_scale);
  store_.refresh_values();
}

void AdamW::update(Range range, double learning_rate, double weight_decay,
                   const std::optional<at::Tensor>& inverse_scale) {
  if (range.size() == 0) return;
  const auto part = [range](const at::Tensor& flat) {
    return flat.narrow(0, range.begin, range.size());
  };
  at::_fused_adamw_({part(store_.master())}, {part(store_.gradients())}, {part(exp_avg_)},
                    {part(exp_avg_sq_)}, /*max_exp_avg_sqs=*/{}, {step_}, learning_rate,
                    config_.adam_beta1, config_.adam_beta2, weight_decay, config_.adam_eps,
                    /*amsgrad=*/false, /*maximize=*/false, inverse_scale);
}

}  // namespace cuboid
