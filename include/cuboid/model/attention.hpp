// Causal self-attention, its heads divided over TP. The core is LibTorch's fused scaled dot product
// (flash attention on CPUs, flash or memory-efficient attention on GPUs); no rank ever holds a
// [seq, seq] matrix of all heads. Queries may share key/value heads (Ainslie et al.,
// arXiv:2305.13245).
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "cuboid/collective/communicator.hpp"
#include "cuboid/config/config.hpp"
#include "cuboid/model/linear.hpp"
#include "cuboid/model/rotary.hpp"

namespace cuboid {

// softmax(q k^T / sqrt(head_dim) + causal mask) v, and its gradient.
struct AttentionCore {
  at::Tensor output;  // [sequences, seq, heads, head_dim] contiguous, seen as [.., heads, seq, ..]
  at::Tensor log_sum_exp;   // of the softmax, fp32
  at::Tensor random_state;  // the GPU kernels' own bookkeeping
  at::Tensor random_offset;

  // q [sequences, heads, seq, head_dim]; k, v the same shape (heads already repeated).
  static AttentionCore forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);
  struct Gradients {
    at::Tensor q, k, v;
  };
  [[nodiscard]] Gradients backward(const at::Tensor& gradient, const at::Tensor& q,
                                   const at::Tensor& k, const at::Tensor& v) const;
};

class SelfAttention {
 public:
  struct Saved {
    at::Tensor qkv;  // [tokens, (q + 2 kv heads) * head_dim], after rotation
    AttentionCore core;
  };

  SelfAttention(WeightStore& store, Communicator& tp, const ModelConfig& model,
                const std::string& name);

  // x [tokens, hidden] -> [tokens, hidden], summed over TP
  [[nodiscard]] at::Tensor forward(const at::Tensor& x, Saved& saved) const;
  [[nodiscard]] at::Tensor backward(const at::Tensor& dy, const at::Tensor& x, const Saved& saved);

 private:
  struct Heads {
    at::Tensor q, k, v;  // [sequences, heads or kv heads, seq, head_dim], views of qkv
  };
  [[nodiscard]] Heads split(const at::Tensor& qkv) const;
  // Key/value heads repeated for the queries that share them.
  [[nodiscard]] at::Tensor repeat(const at::Tensor& kv) const;
  [[nodiscard]] at::Tensor sum_repeats(const at::Tensor& gradient) const;

  std::int64_t seq_length_, head_dim_;
  std::int64_t num_heads_, num_kv_heads_;  // of this rank
  std::optional<Rotary> rotary_;
  ColumnParallelLinear qkv_;
  RowParallelLinear output_;
};

}  // namespace cuboid
