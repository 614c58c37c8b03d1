#include "cuboid/model/attention.hpp"

#include <ATen/ops/empty_like.h>

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
                             const std::string& name)
    : seq_length_(model.seq_length),
      head_dim_(model.head_dim()),
      num_heads_(model.num_attention_heads / tp.size()),
      num_kv_heads_(model.num_key_value_heads / tp.size()),
      qkv_(store, tp, qkv_parts(model, name, tp.size(), tp.rank()), model.hidden_size,
           model.has_bias(), model.init_std),
      output_(store, tp, name + ".output", model.hidden_size, model.hidden_size,
              {tp.rank() * num_heads_ * head_dim_, (tp.rank() + 1) * num_heads_ * head_dim_},
              model.has_bias(), residual_init_std(model)) {
  if (model.position_embedding == PositionEmbedding::kRope) {
    rotary_.emplace(seq_length_, head_dim_, model.rotary_base);
  }
}

SelfAttention::Heads SelfAttention::split(const at::Tensor& qkv) const {
  const at::Tensor heads = qkv.view({-1, seq_length_, num_heads_ + 2 * num_kv_heads_, head_dim_});
  const auto part = [&](std::int64_t first, std::int64_t count) {
    return heads.narrow(2, first, count).transpose(1, 2);
  };
  return {part(0, num_heads_), part(num_heads_, num_kv_heads_),
          part(num_heads_ + num_kv_heads_, num_kv_heads_)};
}

at::Tensor SelfAttention::repeat(const at::Tensor& kv) const {
  if (num_heads_ == num_kv_heads_) return kv;
  const std::int64_t group = num_heads_ / num_kv_heads_;
  return kv.unsqueeze(2)
      .expand({kv.size(0), num_kv_heads_, group, seq_length_, head_dim_})
      .reshape({kv.size(0), num_heads_, seq_length_, head_dim_});
}

at::Tensor SelfAttention::sum_repeats(const at::Tensor& gradient) const {
  if (num_heads_ == num_kv_heads_) return gradient;
  const std::int64_t group = num_heads_ / num_kv_heads_;
  return gradient.reshape({gradient.size(0), num_kv_heads_, group, seq_length_, head_dim_}).sum(2);
}

at::Tensor SelfAttention::forward(const at::Tensor& x, Saved& saved) const {
  saved.qkv = qkv_.forward(x);
  if (rotary_) {
    rotary_->rotate_(saved.qkv.view({-1, seq_length_, num_heads_ + 2 * num_kv_heads_, head_dim_})
                         .narrow(2, 0, num_heads_ + num_kv_heads_));
  }
  const Heads heads = split(saved.qkv);
  saved.core = AttentionCore::forward(heads.q, repeat(heads.k), repeat(heads.v));
  return output_.forward(saved.core.output.transpose(1, 2).reshape({x.size(0), -1}));
}

at::Tensor SelfAttention::backward(const at::Tensor& dy, const at::Tensor& x, const Saved& saved) {
  const at::Tensor merged = saved.core.output.transpose(1, 2).reshape({x.size(0), -1});
  const at::Tensor d_merged = output_.backward(dy, merged);
  const at::Tensor d_output =
      d_merged.view({-1, seq_length_, num_heads_, head_dim_}).transpose(1, 2);
  const Heads heads = split(saved.qkv);
  const auto gradients = saved.core.backward(d_output, heads.q, repeat(heads.k), repeat(heads.v));
  const at::Tensor d_qkv = at::empty_like(saved.qkv);
  const Heads d_heads = split(d_qkv);
  d_heads.q.copy_(gradients.q);
  d_heads.k.copy_(sum_repeats(gradients.k));
  d_heads.v.copy_(sum_repeats(gradients.v));
  if (rotary_) {
    rotary_->rotate_back_(d_qkv.view({-1, seq_length_, num_heads_ + 2 * num_kv_heads_, head_dim_})
                              .narrow(2, 0, num_heads_ + num_kv_heads_));
  }
  return qkv_.backward(d_qkv, x);
}

}  // namespace cuboid
