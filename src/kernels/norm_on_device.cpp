#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "column_sums_launch.hpp"
#include "norm_launch.hpp"
#include "on_device.hpp"

namespace cuboid::detail {

AddNorm add_norm_on_device(const at::Tensor& residual, const at::Tensor& delta,
                           const at::Tensor& delta_bias, const NormParameters& parameters,
                           SumMemory memory) {
  const auto composed = [&] {
    return add_norm_composed(residual, delta, delta_bias, parameters, memory);
  };
  if (!has_kernels(residual)) return composed();
  const bool has_mean = parameters.kind == Normalization::kLayerNorm;
  const auto fp32 = residual.options().dtype(at::kFloat);
  AddNorm result;
  result.sum = !delta.defined()              ? residual
               : memory == SumMemory::kDelta ? delta
                                             : at::empty_like(residual);
  result.normalized = at::empty_like(residual);
  result.statistics.rstd = at::empty({residual.size(0)}, fp32);
  if (has_mean) result.statistics.mean = at::empty({residual.size(0)}, fp32);
  const AddNormLaunch launch{.type = kernel_type(residual),
                             .has_mean = has_mean,
                             .rows = residual.size(0),
                             .width = residual.size(1),
                             .epsilon = static_cast<float>(parameters.epsilon),
                             .residual = pointer(residual),
                             .delta = pointer(delta),
                             .delta_bias = pointer(delta_bias),
                             .weight = pointer(parameters.weight),
                             .bias = pointer(parameters.bias),
                             .sum = pointer(result.sum),
                             .normalized = pointer(result.normalized),
                             .mean = pointer<float>(result.statistics.mean),
                             .rstd = pointer<float>(result.statistics.rstd)};
  if (!norm_fits(launch)) return composed();
  launch_add_norm(launch, stream_of(residual));
  return result;
}

at::Tensor add_norm_backward_on_device(const at::Tensor& dy, const at::Tensor& sum,
                                       const NormStatistics& statistics,
                                       const NormParameters& parameters,
                                       const at::Tensor& d_residual, const GradientTarget& weight,
                                       const GradientTarget& bias,
                                       const GradientTarget& delta_bias) {
  const auto composed = [&] {
    return add_norm_backward_composed(dy, sum, statistics, parameters, d_residual, weight, bias,
                                      delta_bias);
  };
  if (!has_kernels(sum)) return composed();
  at::Tensor d_sum = d_residual.defined() ? d_residual : at::empty_like(sum);
  AddNormBackwardLaunch launch{.type = kernel_type(sum),
                               .has_mean = parameters.kind == Normalization::kLayerNorm,
                               .rows = sum.size(0),
                               .width = sum.size(1),
                               .dy = pointer(dy),
                               .sum = pointer(sum),
                               .weight = pointer(parameters.weight),
                               .d_residual = pointer(d_residual),
                               .mean = pointer<float>(statistics.mean),
                               .rstd = pointer<float>(statistics.rstd),
                               .d_sum = pointer(d_sum),
                               .weight_partial = nullptr,
                               .bias_partial = nullptr,
                               .delta_bias_partial = nullptr};
  if (!norm_fits(launch)) return composed();
  const std::int64_t parts = norm_parts(launch);
  const at::Tensor partial = at::empty({3, parts, launch.width}, sum.options().dtype(at::kFloat));
  const GradientTarget* const targets[3] = {&weight, &bias, &delta_bias};
  float** const partials[3] = {&launch.weight_partial, &launch.bias_partial,
                               &launch.delta_bias_partial};
  PartialSums sums[3];
  for (int i = 0; i < 3; ++i) {
    const at::Tensor& gradient = targets[i]->gradient;
    if (!gradient.defined()) continue;
    require(gradient.numel() == launch.width && gradient.scalar_type() == at::kFloat,
            "a target takes every column, in fp32");
    *partials[i] = pointer<float>(partial) + i * parts * launch.width;
    sums[i] = {*partials[i], pointer<float>(gradient), targets[i]->accumulate};
  }
  launch_add_norm_backward(launch, stream_of(sum));
  launch_add_partials(sums, parts, launch.width, stream_of(sum));
  return d_sum;
}

}  // namespace cuboid::detail
