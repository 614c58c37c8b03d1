#include "cuboid/model/block.hpp"

#include <ATen/ops/clone.h>

#include <utility>

#include "cuboid/kernels/activation.hpp"
#include "cuboid/model/tensor_buffer.hpp"

namespace cuboid {
namespace {

std::string layer_name(std::int64_t layer, const char* part) {
  return "layers." + std::to_string(layer) + "." + part;
}

}  // namespace

Block::Block(WeightStore& store, Communicator& tp, const ModelConfig& model, std::int64_t layer,
             std::shared_ptr<const Rotary> rotary, AttentionKernel attention)
    : tp_(tp),
      seq_length_(model.seq_length),
      attention_site_(static_cast<std::uint32_t>(2 * layer + 1)),  // 0 is the embedding
      mlp_site_(attention_site_ + 1),
      attention_norm_(store, model, layer_name(layer, "attention_norm")),
      attention_(store, tp, model, layer_name(layer, "attention"), std::move(rotary), attention),
      mlp_norm_(store, model, layer_name(layer, "mlp_norm")),
      mlp_(store, tp, model, layer_name(layer, "mlp")) {}

// A bias is dropped with what it was added to, so it cannot wait for the norm then.
Residual Block::add_later(const at::Tensor& stream, at::Tensor delta, const Weight* bias,
                          double dropout, const DropoutKey& key) const {
  if (dropout > 0.0) {
    if (bias != nullptr) delta.add_(bias->value);
    apply_dropout_(delta, dropout, seq_length_, key);
    bias = nullptr;
  }
  // The workspace of tensor parallelism is used again: the sum moves out of it.
  const SumMemory memory = reduces_in_workspace(tp_, delta) ? SumMemory::kNew : SumMemory::kDelta;
  return {.stream = stream, .delta = std::move(delta), .bias = bias, .memory = memory};
}

Residual Block::forward(const Residual& x, double dropout, DropoutKey key, Saved& saved) const {
  saved.attention_input = attention_norm_.forward(x, saved.attention_norm);
  key.site = attention_site_;
  const Residual y = add_later(saved.attention_norm.sum,
                               attention_.forward(saved.attention_input, saved.attention),
                               attention_.output_bias(), dropout, key);
  saved.mlp_input = mlp_norm_.forward(y, saved.mlp_norm);
  key.site = mlp_site_;
  return add_later(saved.mlp_norm.sum, mlp_.forward(saved.mlp_input, saved.mlp), mlp_.output_bias(),
                   dropout, key);
}

Weight* Block::pending_bias(double dropout) const {
  return dropout > 0.0 ? nullptr : mlp_.output_bias();
}

at::Tensor Block::backward(const at::Tensor& dz, double dropout, DropoutKey key, Saved saved,
                           Weight* previous) {
  // Dropout's gradient is dropout with the same mask; the residual branch keeps dz itself.
  const auto through_dropout = [&](const at::Tensor& gradient, std::uint32_t site, Weight* bias) {
    if (dropout == 0.0) return gradient;
    key.site = site;
    at::Tensor masked = gradient.clone();
    apply_dropout_(masked, dropout, seq_length_, key);
    add_column_sums(masked, contribution_to(bias));
    return masked;
  };
  at::Tensor through = mlp_.backward(through_dropout(dz, mlp_site_, mlp_.output_bias()),
                                     saved.mlp_input, std::move(saved.mlp));
  saved.mlp_input.reset();
  const at::Tensor dy = mlp_norm_.backward(through, saved.mlp_norm, dz,
                                           dropout > 0.0 ? nullptr : attention_.output_bias());
  through.reset();
  saved.mlp_norm = {};
  through = attention_.backward(through_dropout(dy, attention_site_, attention_.output_bias()),
                                saved.attention_input, saved.attention);
  return attention_norm_.backward(through, saved.attention_norm, dy, previous);
}

}  // namespace cuboid
