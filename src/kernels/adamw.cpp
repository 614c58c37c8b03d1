#include "cuboid/kernels/adamw.hpp"

#include <cmath>

#include "adamw_rows.hpp"
#include "host.hpp"
#include "on_device.hpp"

namespace cuboid {
namespace {

template <typename W>
detail::AdamWNumbers<W> numbers_of(const AdamWFactors& factors) {
  const auto step = static_cast<double>(factors.step);
  const double correction1 = 1.0 - std::pow(factors.beta1, step);
  const double correction2 = 1.0 - std::pow(factors.beta2, step);
  return {.gradient_scale = static_cast<W>(factors.gradient_scale),
          .one_minus_beta1 = static_cast<W>(1.0 - factors.beta1),
          .beta2 = static_cast<W>(factors.beta2),
          .one_minus_beta2 = static_cast<W>(1.0 - factors.beta2),
          .root_scale = static_cast<W>(1.0 / std::sqrt(correction2)),
          .epsilon = static_cast<W>(factors.epsilon),
          .step_size = static_cast<W>(factors.learning_rate / correction1)};
}

template <typename W>
void adamw_on_host(const AdamWTensors& tensors, std::int64_t num_decaying,
                   const AdamWFactors& factors) {
  const detail::AdamWBuffers<W> buffers{
      .master = detail::mutable_data<W>(tensors.master),
      .gradient = detail::data<W>(tensors.gradient),
      .exp_avg = detail::mutable_data<W>(tensors.exp_avg),
      .exp_avg_sq = detail::mutable_data<W>(tensors.exp_avg_sq),
      .values = detail::mutable_data<detail::Bfloat16>(tensors.values)};
  const auto numbers = numbers_of<W>(factors);
  const auto keep = static_cast<W>(1.0 - factors.learning_rate * factors.weight_decay);
  constexpr std::int64_t kGrain = 16384;
  at::parallel_for(0, tensors.master.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t middle = std::clamp(num_decaying, begin, end);
    detail::adamw_range(buffers, numbers, keep, begin, middle);
    detail::adamw_range(buffers, numbers, W(1), middle, end);
  });
}

}  // namespace

void adamw_(const AdamWTensors& tensors, std::int64_t num_decaying, const AdamWFactors& factors) {
  if (tensors.master.is_cuda()) {
    detail::adamw_on_device_(tensors, num_decaying, factors);
  } else if (tensors.master.scalar_type() == at::kDouble) {
    adamw_on_host<double>(tensors, num_decaying, factors);
  } else {
    adamw_on_host<float>(tensors, num_decaying, factors);
  }
}

}  // namespace cuboid
