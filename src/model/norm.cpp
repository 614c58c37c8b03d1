#include "cuboid/model/norm.hpp"

#include <ATen/TensorOperators.h>

#include <ATen/ops/mean.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sum.h>

namespace cuboid {
namespace {

// bf16 is computed in fp32 inside; fp32 and fp64 as they are.
at::Tensor widened(const at::Tensor& x) {
  return x.scalar_type() == at::kBFloat16 ? x.to(at::kFloat) : x;
}

}  // namespace

Norm::Norm(WeightStore& store, const ModelConfig& model, const std::string& name)
    : kind_(model.normalization),
      epsilon_(model.norm_epsilon),
      weight_(&store.add(
          {{.name = name + ".weight", .shape = {model.hidden_size}, .init = Init::kOnes}})) {
  if (kind_ == Normalization::kLayerNorm) {
    bias_ = &store.add({{.name = name + ".bias", .shape = {model.hidden_size}}});
  }
}

at::Tensor Norm::forward(const at::Tensor& x, Saved& saved) const {
  if (kind_ == Normalization::kLayerNorm) {
    auto [y, mean, rstd] =
        at::native_layer_norm(x, {x.size(-1)}, weight_->value, bias_->value, epsilon_);
    saved = {.mean = std::move(mean), .rstd = std::move(rstd)};
    return y;
  }
  const at::Tensor wide = widened(x);
  saved.rstd = at::mean(wide.square(), -1, /*keepdim=*/true).add_(epsilon_).rsqrt_();
  return (wide * saved.rstd).mul_(weight_->value).to(x.scalar_type());
}

at::Tensor Norm::backward(const at::Tensor& dy, const at::Tensor& x, const Saved& saved) {
  if (kind_ == Normalization::kLayerNorm) {
    auto [dx, dweight, dbias] =
        at::native_layer_norm_backward(dy, x, {x.size(-1)}, saved.mean, saved.rstd, weight_->value,
                                       bias_->value, {true, true, true});
    weight_->accumulate(dweight);
    bias_->accumulate(dbias);
    return dx;
  }
  const at::Tensor normalized = widened(x) * saved.rstd;
  const at::Tensor wide_dy = widened(dy);
  weight_->accumulate(at::sum(wide_dy * normalized, 0));
  const at::Tensor scaled = wide_dy * weight_->value;
  const at::Tensor projection = at::mean(scaled * normalized, -1, /*keepdim=*/true);
  return (scaled - normalized * projection).mul_(saved.rstd).to(x.scalar_type());
}

}  // namespace cuboid
