#include "cuboid/model/mlp.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>

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
      up_(store, tp, up_parts(model, tp, name), model.hidden_size, model.has_bias(),
          model.init_std),
      down_(store, tp, name + ".down", model.hidden_size, model.ffn_hidden_size,
            inner_shard(model, tp), model.has_bias(), residual_init_std(model)) {}

at::Tensor Mlp::forward(const at::Tensor& x, Saved& saved) const {
  saved.inner = up_.forward(x);
  if (activation_ == Activation::kGelu) {
    saved.activated = at::gelu(saved.inner, "tanh");
  } else {
    const std::int64_t width = saved.inner.size(1) / 2;
    saved.activated =
        at::silu(saved.inner.narrow(1, 0, width)).mul_(saved.inner.narrow(1, width, width));
  }
  return down_.forward(saved.activated);
}

at::Tensor Mlp::backward(const at::Tensor& dy, const at::Tensor& x, const Saved& saved) {
  const at::Tensor d_activated = down_.backward(dy, saved.activated);
  if (activation_ == Activation::kGelu) {
    return up_.backward(at::gelu_backward(d_activated, saved.inner, "tanh"), x);
  }
  const std::int64_t width = saved.inner.size(1) / 2;
  const at::Tensor gate = saved.inner.narrow(1, 0, width);
  const at::Tensor up = saved.inner.narrow(1, width, width);
  const at::Tensor d_inner = at::empty_like(saved.inner);
  d_inner.narrow(1, 0, width).copy_(at::silu_backward(d_activated * up, gate));
  d_inner.narrow(1, width, width).copy_(at::silu(gate).mul_(d_activated));
  return up_.backward(d_inner, x);
}

}  // namespace cuboid
