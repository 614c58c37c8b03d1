#include "cuboid/model/block.hpp"

#include <ATen/ops/add.h>
#include <ATen/ops/clone.h>

#include "cuboid/model/tensor_buffer.hpp"

namespace cuboid {
namespace {

std::string layer_name(std::int64_t layer, const char* part) {
  return "layers." + std::to_string(layer) + "." + part;
}

// y + x; y is used up. What lies in the workspace of tensor parallelism moves out of it.
at::Tensor add_residual(const at::Tensor& y, const at::Tensor& x, const Communicator& tp) {
  return reduces_in_workspace(tp, y) ? at::add(y, x) : y.add_(x);
}

}  // namespace

Block::Block(WeightStore& store, Communicator& tp, const ModelConfig& model, std::int64_t layer)
    : tp_(tp),
      seq_length_(model.seq_length),
      attention_site_(static_cast<std::uint32_t>(2 * layer + 1)),  // 0 is the embedding
      mlp_site_(attention_site_ + 1),
      attention_norm_(store, model, layer_name(layer, "attention_norm")),
      attention_(store, tp, model, layer_name(layer, "attention")),
      mlp_norm_(store, model, layer_name(layer, "mlp_norm")),
      mlp_(store, tp, model, layer_name(layer, "mlp")) {}

at::Tensor Block::forward(const at::Tensor& x, double dropout, DropoutKey key, Saved& saved) const {
  saved.input = x;
  saved.attention_input = attention_norm_.forward(x, saved.attention_norm);
  at::Tensor y = attention_.forward(saved.attention_input, saved.attention);
  key.site = attention_site_;
  apply_dropout_(y, dropout, seq_length_, key);
  y = add_residual(y, x, tp_);
  saved.middle = y;
  saved.mlp_input = mlp_norm_.forward(y, saved.mlp_norm);
  at::Tensor z = mlp_.forward(saved.mlp_input, saved.mlp);
  key.site = mlp_site_;
  apply_dropout_(z, dropout, seq_length_, key);
  return add_residual(z, y, tp_);
}

at::Tensor Block::backward(const at::Tensor& dz, double dropout, DropoutKey key,
                           const Saved& saved) {
  // Dropout's gradient is dropout with the same mask; the residual branch keeps dz itself.
  const auto through_dropout = [&](const at::Tensor& gradient, std::uint32_t site) {
    if (dropout == 0.0) return gradient;
    key.site = site;
    at::Tensor masked = gradient.clone();
    apply_dropout_(masked, dropout, seq_length_, key);
    return masked;
  };
  const at::Tensor d_mlp_input =
      mlp_.backward(through_dropout(dz, mlp_site_), saved.mlp_input, saved.mlp);
  at::Tensor dy = mlp_norm_.backward(d_mlp_input, saved.middle, saved.mlp_norm).add_(dz);
  const at::Tensor d_attention_input = attention_.backward(through_dropout(dy, attention_site_),
                                                           saved.attention_input, saved.attention);
  return attention_norm_.backward(d_attention_input, saved.input, saved.attention_norm).add_(dy);
}

}  // namespace cuboid
