#include "cuboid/model/attention.hpp"

#include <utility>

namespace cuboid {
namespace {

std::vector<LinearPart> qkv_parts(const ModelConfig& model, const std::string& name, int tp_size,
                                  int tp_rank) {
  // Heads stay whole: each rank owns as many as every other (validated with the configuration).
  const auto part = [&](const char* which, std::int64_t heads) {
    const std::int64_t mine = heads / tp_size * model.head_dim();
    return LinearPart{.name = name + which,
                      .out_features = heads * model.head_dim(),
                      .shard = {tp_rank * mine, (tp_rank + 1) * mine}};
  };
  return {part(".query", model.num_attention_heads), part(".key", model.num_key_value_heads),
          part(".value", model.num_key_value_heads)};
}

}  // namespace

SelfAttention::SelfAttention(WeightStore& store, Communicator& tp, const ModelConfig& model,
                             const std::string& name, std::shared_ptr<const Rotary> rotary,
                             AttentionKernel kernel)
    : seq_length_(model.seq_length),
      head_dim_(model.head_dim()),
      num_heads_(model.num_attention_heads / tp.size()),
      num_kv_heads_(model.num_key_value_heads / tp.size()),
      kernel_(kernel),
      rotary_(std::move(rotary)),
      qkv_(store, tp, qkv_parts(model, name, tp.size(), tp.rank()), model.hidden_size,
           model.has_bias(), model.init_std),
      output_(store, tp, name + ".output", model.hidden_size, model.hidden_size,
              {tp.rank() * num_heads_ * head_dim_, (tp.rank() + 1) * num_heads_ * head_dim_},
              model.has_bias(), residual_init_std(model)) {}

AttentionShape SelfAttention::shape_of(const at::Tensor& x) const {
  return {.sequences = x.size(0) / seq_length_,
          .seq = seq_length_,
          .heads = num_heads_,
          .kv_heads = num_kv_heads_,
          .head_dim = head_dim_};
}

at::Tensor SelfAttention::turning(const at::Tensor& qkv) const {
  return qkv.view({-1, seq_length_, num_heads_ + 2 * num_kv_heads_, head_dim_})
      .narrow(2, 0, num_heads_ + num_kv_heads_);
}

at::Tensor SelfAttention::forward(const at::Tensor& x, Saved& saved) const {
  saved.qkv = qkv_.forward(x);
  if (rotary_) rotary_->rotate_(turning(saved.qkv));
  saved.core = AttentionCore::forward(saved.qkv, shape_of(x), kernel_);
  return output_.forward(saved.core.output);
}

at::Tensor SelfAttention::backward(const at::Tensor& dy, const at::Tensor& x, const Saved& saved) {
  const at::Tensor d_output = output_.backward(dy, saved.core.output);
  const at::Tensor d_qkv = saved.core.backward(d_output, saved.qkv, shape_of(x));
  if (rotary_) rotary_->rotate_back_(turning(d_qkv));
  return qkv_.backward(d_qkv, x);
}

}  // namespace cuboid
