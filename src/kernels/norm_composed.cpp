#include <ATen/TensorOperators.h>
#include <ATen/ops/add.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sum.h>

#include "composed.hpp"
#include "cuboid/kernels/norm.hpp"

namespace cuboid::detail {

at::Tensor add_delta_composed(const at::Tensor& residual, const at::Tensor& delta,
                              const at::Tensor& delta_bias, SumMemory memory) {
  if (!delta.defined()) return residual;
  if (memory == SumMemory::kNew) {
    return delta_bias.defined() ? at::add(delta, delta_bias).add_(residual)
                                : at::add(delta, residual);
  }
  if (delta_bias.defined()) delta.add_(delta_bias);
  return delta.add_(residual);
}

AddNorm add_norm_composed(const at::Tensor& residual, const at::Tensor& delta,
                          const at::Tensor& delta_bias, const NormParameters& parameters,
                          SumMemory memory) {
  AddNorm result;
  result.sum = add_delta_composed(residual, delta, delta_bias, memory);
  const at::Tensor& x = result.sum;
  if (parameters.kind == Normalization::kLayerNorm) {
    auto [y, mean, rstd] = at::native_layer_norm(x, {x.size(-1)}, parameters.weight,
                                                 parameters.bias, parameters.epsilon);
    result.normalized = std::move(y);
    result.statistics = {.mean = mean.view(-1), .rstd = rstd.view(-1)};
    return result;
  }
  const at::Tensor wide = widened(x);
  const at::Tensor rstd =
      at::mean(wide.square(), -1, /*keepdim=*/true).add_(parameters.epsilon).rsqrt_();
  result.normalized = (wide * rstd).mul_(parameters.weight).to(x.scalar_type());
  result.statistics.rstd = rstd.view(-1);
  return result;
}

namespace {

at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& sum,
                             const NormStatistics& statistics, const at::Tensor& norm_weight,
                             const GradientTarget& weight) {
  const at::Tensor rstd = statistics.rstd.unsqueeze(1);
  const at::Tensor normalized = widened(sum) * rstd;
  const at::Tensor wide_dy = widened(dy);
  deliver(at::sum(wide_dy * normalized, 0), weight);
  const at::Tensor scaled = wide_dy * norm_weight;
  const at::Tensor projection = at::mean(scaled * normalized, -1, /*keepdim=*/true);
  return (scaled - normalized * projection).mul_(rstd).to(sum.scalar_type());
}

}  // namespace

at::Tensor add_norm_backward_composed(const at::Tensor& dy, const at::Tensor& sum,
                                      const NormStatistics& statistics,
                                      const NormParameters& parameters,
                                      const at::Tensor& d_residual, const GradientTarget& weight,
                                      const GradientTarget& bias,
                                      const GradientTarget& delta_bias) {
  at::Tensor d_sum;
  if (parameters.kind == Normalization::kLayerNorm) {
    auto [dx, d_weight, d_bias] = at::native_layer_norm_backward(
        dy, sum, {sum.size(-1)}, statistics.mean.unsqueeze(1), statistics.rstd.unsqueeze(1),
        parameters.weight, parameters.bias, {true, true, true});
    deliver(d_weight, weight);
    deliver(d_bias, bias);
    d_sum = std::move(dx);
  } else {
    d_sum = rms_norm_backward(dy, sum, statistics, parameters.weight, weight);
  }
  if (d_residual.defined()) d_sum = d_residual.add_(d_sum);
  if (delta_bias.gradient.defined()) deliver(at::sum(d_sum, 0), delta_bias);
  return d_sum;
}

}  // namespace cuboid::detail
