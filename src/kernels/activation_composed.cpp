#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>
#include <ATen/ops/sum.h>

#include "composed.hpp"
#include "cuboid/kernels/activation.hpp"

namespace cuboid::detail {

at::Tensor bias_gelu_composed(const at::Tensor& inner, const at::Tensor& bias) {
  if (bias.defined()) inner.add_(bias);
  return at::gelu(inner, "tanh");
}

at::Tensor gelu_backward_composed(const at::Tensor& d_activated, const at::Tensor& inner,
                                  const GradientTarget& bias) {
  at::Tensor d_inner = at::gelu_backward(d_activated, inner, "tanh");
  add_column_sums_composed(d_inner, bias);
  return d_inner;
}

at::Tensor swiglu_composed(const at::Tensor& inner) {
  const std::int64_t width = inner.size(1) / 2;
  return at::silu(inner.narrow(1, 0, width)).mul_(inner.narrow(1, width, width));
}

at::Tensor swiglu_backward_composed(const at::Tensor& d_activated, const at::Tensor& inner) {
  const std::int64_t width = inner.size(1) / 2;
  const at::Tensor gate = inner.narrow(1, 0, width);
  const at::Tensor up = inner.narrow(1, width, width);
  at::Tensor d_inner = at::empty_like(inner);
  d_inner.narrow(1, 0, width).copy_(at::silu_backward(d_activated * up, gate));
  d_inner.narrow(1, width, width).copy_(at::silu(gate).mul_(d_activated));
  return d_inner;
}

void add_column_sums_composed(const at::Tensor& x, const GradientTarget& target) {
  if (target.gradient.defined()) deliver(at::sum(x, 0), target);
}

}  // namespace cuboid::detail
