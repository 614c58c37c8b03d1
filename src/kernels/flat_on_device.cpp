#include <ATen/ops/empty.h>

#include <cmath>
#include <vector>

#include "adamw_composed.hpp"
#include "cuboid/kernels/squares.hpp"
#include "flat_launch.hpp"
#include "on_device.hpp"

namespace cuboid::detail {

void adamw_on_device_(const AdamWTensors& tensors, std::int64_t num_decaying,
                      const AdamWFactors& factors) {
  if (!has_kernels(tensors.master)) return composed_adamw_(tensors, num_decaying, factors);
  const auto step = static_cast<double>(factors.step);
  launch_adamw(
      {.count = tensors.master.numel(),
       .num_decaying = num_decaying,
       .master = pointer<float>(tensors.master),
       .exp_avg = pointer<float>(tensors.exp_avg),
       .exp_avg_sq = pointer<float>(tensors.exp_avg_sq),
       .gradient = pointer<const float>(tensors.gradient),
       .values = pointer(tensors.values),
       .gradient_scale = static_cast<float>(factors.gradient_scale),
       .beta1 = static_cast<float>(factors.beta1),
       .beta2 = static_cast<float>(factors.beta2),
       .epsilon = static_cast<float>(factors.epsilon),
       .decay = static_cast<float>(1.0 - factors.learning_rate * factors.weight_decay),
       .step_size =
           static_cast<float>(factors.learning_rate / (1.0 - std::pow(factors.beta1, step))),
       .root_correction2 = static_cast<float>(std::sqrt(1.0 - std::pow(factors.beta2, step)))},
      stream_of(tensors.master));
}

}  // namespace cuboid::detail

namespace cuboid {

at::Tensor sum_of_squares_on_device(const at::Tensor& flat, std::span<const Range> ranges) {
  using namespace detail;
  require(flat.scalar_type() == at::kFloat, "gradients on a GPU are fp32");
  std::vector<RangesLaunch> launches;
  std::int64_t num_blocks = 0;
  for (const Range& range : ranges) {
    if (launches.empty() || !launches.back().add(range.begin, range.end)) {
      launches.emplace_back().add(range.begin, range.end);
    }
  }
  for (const RangesLaunch& launch : launches) num_blocks += launch.num_blocks();
  const auto fp64 = flat.options().dtype(at::kDouble);
  const at::Tensor partial = at::empty({num_blocks}, fp64);
  at::Tensor total = at::empty({1}, fp64);
  auto* next = pointer<double>(partial);
  for (RangesLaunch& launch : launches) {
    launch.flat = pointer<const float>(flat);
    launch.partial = next;
    launch_squares(launch, stream_of(flat));
    next += launch.num_blocks();
  }
  launch_total(pointer<double>(partial), num_blocks, pointer<double>(total), stream_of(flat));
  return total;
}

}  // namespace cuboid
