#include "cuboid/model/mlp.hpp"

#include "cuboid/kernels/activation.hpp"

namespace cuboid {
namespace {

Range inner_shard(const ModelConfig& model, const Communicator& tp) {
  const std::int64_t mine = model.ffn_hidden_size / tp.size();
  return {tp.rank() * mine, (tp.rank() + 1) * mine};
}

std::vector<LinearPart> up_parts(const ModelConfig& model, const Communicator& tp,
                                 const std::string& name) {
  const LinearPart up{name + ".up", model.ffn_hidden_size, inner_shard(model, tp)};
  if (model.activation == Activation::kGelu) return {up};
  return {{name + ".gate", model.ffn_hidden_size, inner_shard(model, tp)}, up};
}

}  // namespace

Mlp::Mlp(WeightStore& store, Communicator& tp, const ModelConfig& model, const std::string& name)
    : activation_(model.activation),
      up_(store, tp, up_parts(model, tp, name), model.hidden_size, model.has_bias(), model.init_std,
          model.activation == Activation::kGelu ? BiasBy::kCaller : BiasBy::kLayer),
      down_(store, tp, name + ".down", model.hidden_size, model.ffn_hidden_size,
            inner_shard(model, tp), model.has_bias(), residual_init_std(model)) {}

at::Tensor Mlp::forward(const at::Tensor& x, Saved& saved) const {
  saved.inner = up_.forward(x);
  if (activation_ == Activation::kGelu) {
    const Weight* bias = up_.bias();
    saved.activated = bias_gelu(saved.inner, bias != nullptr ? bias->value : at::Tensor());
  } else {
    saved.activated = swiglu(saved.inner);
  }
  return down_.forward(saved.activated);
}

at::Tensor Mlp::backward(const at::Tensor& dy, const at::Tensor& x, Saved saved) {
  at::Tensor d_activated = down_.backward(dy, saved.activated);
  saved.activated.reset();
  if (activation_ == Activation::kGelu) {
    const at::Tensor d_inner = gelu_backward(d_activated, saved.inner, contribution_to(up_.bias()));
    saved.inner.reset();
    return up_.backward(d_inner, x);
  }
  const at::Tensor d_inner = swiglu_backward(d_activated, saved.inner);
  d_activated.reset();
  saved.inner.reset();
  return up_.backward(d_inner, x);
}

}  // namespace cuboid
