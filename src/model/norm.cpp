#include "cuboid/model/norm.hpp"

#include <utility>

namespace cuboid {

Norm::Norm(WeightStore& store, const ModelConfig& model, const std::string& name)
    : kind_(model.normalization),
      epsilon_(model.norm_epsilon),
      weight_(&store.add(
          {{.name = name + ".weight", .shape = {model.hidden_size}, .init = Init::kOnes}})) {
  if (kind_ == Normalization::kLayerNorm) {
    bias_ = &store.add({{.name = name + ".bias", .shape = {model.hidden_size}}});
  }
}

NormParameters Norm::parameters() const {
  return {.kind = kind_,
          .epsilon = epsilon_,
          .weight = weight_->value,
          .bias = bias_ != nullptr ? bias_->value : at::Tensor()};
}

at::Tensor Norm::forward(const Residual& x, Saved& saved) const {
  AddNorm result = add_norm(x.stream, x.delta, x.bias_value(), parameters(), x.memory);
  saved = {.sum = std::move(result.sum), .statistics = std::move(result.statistics)};
  return std::move(result.normalized);
}

at::Tensor Norm::backward(const at::Tensor& dy, const Saved& saved, const at::Tensor& d_stream,
                          Weight* delta_bias) {
  return add_norm_backward(dy, saved.sum, saved.statistics, parameters(), d_stream,
                           weight_->contribution(), contribution_to(bias_),
                           contribution_to(delta_bias));
}

}  // namespace cuboid
