#include "cuboid/model/linear.hpp"

#include <cmath>

#include "cuboid/kernels/activation.hpp"
#include "cuboid/kernels/product.hpp"
#include "cuboid/model/tensor_buffer.hpp"

namespace cuboid {

double residual_init_std(const ModelConfig& model) {
  return model.init_std / std::sqrt(2.0 * static_cast<double>(model.num_layers));
}

ColumnParallelLinear::ColumnParallelLinear(WeightStore& store, Communicator& tp,
                                           std::span<const LinearPart> parts,
                                           std::int64_t in_features, bool bias, double init_std,
                                           BiasBy bias_by)
    : tp_(tp), bias_by_(bias_by) {
  std::vector<LogicalParameter> weights;
  std::vector<LogicalParameter> biases;
  for (const LinearPart& part : parts) {
    weights.push_back({.name = part.name + ".weight",
                       .shape = {part.out_features, in_features},
                       .shard_dim = 0,
                       .shard = part.shard,
                       .init = Init::kNormal,
                       .init_std = init_std});
    biases.push_back({.name = part.name + ".bias",
                      .shape = {part.out_features},
                      .shard_dim = 0,
                      .shard = part.shard});
  }
  weight_ = &store.add(std::move(weights));
  if (bias) bias_ = &store.add(std::move(biases));
}

at::Tensor ColumnParallelLinear::forward(const at::Tensor& x) const {
  const bool adds_bias = bias_ != nullptr && bias_by_ != BiasBy::kCaller;
  return multiply(x, weight_->value.t(), adds_bias ? bias_->value : at::Tensor());
}

at::Tensor ColumnParallelLinear::backward(const at::Tensor& dy, const at::Tensor& x) {
  at::Tensor dx = empty_to_reduce(tp_, {dy.size(0), weight_->value.size(1)}, dy.options());
  multiply_out(dx, dy, weight_->value);
  const PendingWork sum = tp_.start_all_reduce(buffer_of(dx), ReduceOp::kSum);
  weight_->accumulate_product(dy, x);
  if (bias_by_ == BiasBy::kLayer) add_column_sums(dy, contribution_to(bias_));
  sum->wait();
  return dx;
}

RowParallelLinear::RowParallelLinear(WeightStore& store, Communicator& tp, const std::string& name,
                                     std::int64_t out_features, std::int64_t in_features,
                                     Range shard, bool bias, double init_std)
    : tp_(tp),
      weight_(&store.add({{.name = name + ".weight",
                           .shape = {out_features, in_features},
                           .shard_dim = 1,
                           .shard = shard,
                           .init = Init::kNormal,
                           .init_std = init_std}})) {
  if (bias) bias_ = &store.add({{.name = name + ".bias", .shape = {out_features}}});
}

at::Tensor RowParallelLinear::forward(const at::Tensor& x) const {
  const at::Tensor weight_t = weight_->value.t();
  at::Tensor y = empty_to_reduce(tp_, {x.size(0), weight_t.size(1)}, x.options());
  multiply_out(y, x, weight_t);
  tp_.all_reduce(buffer_of(y));
  return y;
}

at::Tensor RowParallelLinear::backward(const at::Tensor& dy, const at::Tensor& x) {
  weight_->accumulate_product(dy, x);
  return multiply(dy, weight_->value);
}

}  // namespace cuboid
