// Causal self-attention, its heads divided over TP. The core is a kernel of the project's own on
// CPUs, one of LibTorch's (flash, cuDNN, memory-efficient) on GPUs; no rank ever holds a [seq, seq]
// matrix of all heads. Queries may share key/value heads (Ainslie et al., arXiv:2305.13245).
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "cuboid/collective/communicator.hpp"
#include "cuboid/config/config.hpp"
#include "cuboid/kernels/attention.hpp"
#include "cuboid/model/linear.hpp"
#include "cuboid/model/rotary.hpp"

namespace cuboid {

// softmax(q k^T / sqrt(head_dim) + causal mask) v of qkv [tokens, shape.width()] (all queries, then
// keys, then values), and its gradient.
struct AttentionCore {
  at::Tensor output;        // [tokens, heads * head_dim]
  at::Tensor log_sum_exp;   // of the softmax, fp32
  at::Tensor random_state;  // the GPU kernels' own bookkeeping
  at::Tensor random_offset;
  AttentionKernel kernel = AttentionKernel::kAuto;  // that computed this, on a GPU

  // `kernel` is for GPUs; kAuto: flash where it takes the type and the width of the heads, else the
  // memory-efficient one.
  static AttentionCore forward(const at::Tensor& qkv, const AttentionShape& shape,
                               AttentionKernel kernel = AttentionKernel::kAuto);
  // d_output as output -> gradient of qkv
  [[nodiscard]] at::Tensor backward(const at::Tensor& d_output, const at::Tensor& qkv,
                                    const AttentionShape& shape) const;
};

class SelfAttention {
 public:
  struct Saved {
    at::Tensor qkv;  // [tokens, (q + 2 kv heads) * head_dim], after rotation
    AttentionCore core;
  };

  SelfAttention(WeightStore& store, Communicator& tp, const ModelConfig& model,
                const std::string& name, std::shared_ptr<const Rotary> rotary,
                AttentionKernel kernel);

  // x [tokens, hidden] -> [tokens, hidden], summed over TP, without output_bias()
  [[nodiscard]] at::Tensor forward(const at::Tensor& x, Saved& saved) const;
  [[nodiscard]] at::Tensor backward(const at::Tensor& dy, const at::Tensor& x, const Saved& saved);
  [[nodiscard]] Weight* output_bias() const { return output_.bias(); }

 private:
  [[nodiscard]] AttentionShape shape_of(const at::Tensor& x) const;
  // The heads that turn with their position: queries and keys.
  [[nodiscard]] at::Tensor turning(const at::Tensor& qkv) const;

  std::int64_t seq_length_, head_dim_;
  std::int64_t num_heads_, num_kv_heads_;  // of this rank
  AttentionKernel kernel_;
  std::shared_ptr<const Rotary> rotary_;  // may be null
  ColumnParallelLinear qkv_;
  RowParallelLinear output_;
};

}  // namespace cuboid
