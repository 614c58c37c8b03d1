#include "adamw_composed.hpp"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>

#include <optional>

namespace cuboid::detail {

void composed_adamw_(const AdamWTensors& tensors, std::int64_t num_decaying,
                     const AdamWFactors& factors) {
  const auto scalar = tensors.master.options().dtype(at::kFloat);
  const at::Tensor step = at::full({}, static_cast<double>(factors.step), scalar);
  std::optional<at::Tensor> inverse_scale;
  if (factors.gradient_scale != 1.0 && tensors.gradient.scalar_type() == at::kFloat) {
    // The kernel divides by what it is given, in fp32.
    inverse_scale = at::full({}, 1.0 / factors.gradient_scale, scalar);
  } else if (factors.gradient_scale != 1.0) {
    tensors.gradient.mul_(factors.gradient_scale);
  }
  const auto update = [&](std::int64_t begin, std::int64_t end, double weight_decay) {
    if (begin == end) return;
    const auto part = [&](const at::Tensor& flat) { return flat.narrow(0, begin, end - begin); };
    at::_fused_adamw_({part(tensors.master)}, {part(tensors.gradient)}, {part(tensors.exp_avg)},
                      {part(tensors.exp_avg_sq)}, /*max_exp_avg_sqs=*/{}, {step},
                      factors.learning_rate, factors.beta1, factors.beta2, weight_decay,
                      factors.epsilon, /*amsgrad=*/false, /*maximize=*/false, inverse_scale);
  };
  update(0, num_decaying, factors.weight_decay);
  update(num_decaying, tensors.master.numel(), 0.0);
  if (tensors.values.defined()) tensors.values.copy_(tensors.master);
}

}  // namespace cuboid::detail
