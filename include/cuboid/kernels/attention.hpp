// Causal attention of whole sequences on the host, read from and written to the layout that the
// matrix products around it have: no copy of queries, keys, values or their gradients.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace cuboid {

struct AttentionShape {
  std::int64_t sequences, seq;
  std::int64_t heads, kv_heads;  // heads / kv_heads queries share a key and a value
  std::int64_t head_dim;
  // Numbers of a token in query, key and value together.
  [[nodiscard]] std::int64_t width() const { return (heads + 2 * kv_heads) * head_dim; }
};

struct AttentionResult {
  at::Tensor output;       // [tokens, heads * head_dim]
  at::Tensor log_sum_exp;  // of the scaled scores, [sequences, heads, seq], fp32 (fp64 for fp64)
};

// softmax(q k^T / sqrt(head_dim) + causal mask) v. qkv [tokens, width()]: all queries, then all
// keys, then all values. bf16 is computed in fp32 throughout.
AttentionResult causal_attention(const at::Tensor& qkv, const AttentionShape& shape);

// d_output [tokens, heads * head_dim] -> gradient of qkv.
at::Tensor causal_attention_backward(const at::Tensor& d_output, const at::Tensor& qkv,
                                     const AttentionResult& forward, const AttentionShape& shape);

}  // namespace cuboid
