#include <ATen/ops/_scaled_dot_product_efficient_attention.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_backward.h>
#include <ATen/ops/empty_like.h>

#include <tuple>

#include "cuboid/model/attention.hpp"

namespace cuboid {
namespace {

constexpr double kNoDropout = 0.0;
constexpr bool kCausal = true;

// The GPU's flash kernels take bf16 only, and head sizes in steps of 8 up to 256.
bool fits_gpu_flash(const at::Tensor& q) {
  return q.scalar_type() == at::kBFloat16 && q.size(-1) % 8 == 0 && q.size(-1) <= 256;
}

struct Heads {
  at::Tensor q, k, v;  // [sequences, heads or kv heads, seq, head_dim], views of qkv
};
Heads split(const at::Tensor& qkv, const AttentionShape& shape) {
  const at::Tensor heads =
      qkv.view({shape.sequences, shape.seq, shape.heads + 2 * shape.kv_heads, shape.head_dim});
  const auto part = [&](std::int64_t first, std::int64_t count) {
    return heads.narrow(2, first, count).transpose(1, 2);
  };
  return {part(0, shape.heads), part(shape.heads, shape.kv_heads),
          part(shape.heads + shape.kv_heads, shape.kv_heads)};
}

// Key/value heads repeated for the queries that share them.
at::Tensor repeat(const at::Tensor& kv, const AttentionShape& shape) {
  if (shape.heads == shape.kv_heads) return kv;
  const std::int64_t group = shape.heads / shape.kv_heads;
  return kv.unsqueeze(2)
      .expand({shape.sequences, shape.kv_heads, group, shape.seq, shape.head_dim})
      .reshape({shape.sequences, shape.heads, shape.seq, shape.head_dim});
}
at::Tensor sum_repeats(const at::Tensor& gradient, const AttentionShape& shape) {
  if (shape.heads == shape.kv_heads) return gradient;
  const std::int64_t group = shape.heads / shape.kv_heads;
  return gradient.reshape({shape.sequences, shape.kv_heads, group, shape.seq, shape.head_dim})
      .sum(2);
}

// [tokens, heads * head_dim] and as LibTorch has it, [sequences, heads, seq, head_dim].
at::Tensor merged(const at::Tensor& output, const AttentionShape& shape) {
  return output.transpose(1, 2).reshape(
      {shape.sequences * shape.seq, shape.heads * shape.head_dim});
}
at::Tensor divided(const at::Tensor& output, const AttentionShape& shape) {
  return output.view({shape.sequences, shape.seq, shape.heads, shape.head_dim}).transpose(1, 2);
}

}  // namespace

AttentionCore AttentionCore::forward(const at::Tensor& qkv, const AttentionShape& shape) {
  if (!qkv.is_cuda()) {
    AttentionResult result = causal_attention(qkv, shape);
    return {std::move(result.output), std::move(result.log_sum_exp), {}, {}};
  }
  const Heads heads = split(qkv, shape);
  const at::Tensor k = repeat(heads.k, shape);
  const at::Tensor v = repeat(heads.v, shape);
  if (fits_gpu_flash(heads.q)) {
    auto result = at::_scaled_dot_product_flash_attention(heads.q, k, v, kNoDropout, kCausal);
    return {merged(std::get<0>(result), shape), std::get<1>(result), std::get<6>(result),
            std::get<7>(result)};
  }
  auto [out, lse, state, offset] = at::_scaled_dot_product_efficient_attention(
      heads.q, k, v, /*attn_bias=*/{}, /*compute_log_sumexp=*/true, kNoDropout, kCausal);
  return {merged(out, shape), std::move(lse), std::move(state), std::move(offset)};
}

at::Tensor AttentionCore::backward(const at::Tensor& d_output, const at::Tensor& qkv,
                                   const AttentionShape& shape) const {
  if (!qkv.is_cuda()) {
    return causal_attention_backward(d_output, qkv, {output, log_sum_exp}, shape);
  }
  const Heads heads = split(qkv, shape);
  const at::Tensor k = repeat(heads.k, shape);
  const at::Tensor v = repeat(heads.v, shape);
  const at::Tensor out = divided(output, shape);
  const at::Tensor d_out = divided(d_output, shape);
  at::Tensor dq, dk, dv;
  if (fits_gpu_flash(heads.q)) {
    std::tie(dq, dk, dv) = at::_scaled_dot_product_flash_attention_backward(
        d_out, heads.q, k, v, out, log_sum_exp, /*cum_seq_q=*/{}, /*cum_seq_k=*/{}, shape.seq,
        shape.seq, kNoDropout, kCausal, random_state, random_offset);
  } else {
    std::tie(dq, dk, dv, std::ignore) = at::_scaled_dot_product_efficient_attention_backward(
        d_out, heads.q, k, v, /*attn_bias=*/{}, out, log_sum_exp, random_state, random_offset,
        kNoDropout, {true, true, true, false}, kCausal);
  }
  at::Tensor d_qkv = at::empty_like(qkv);
  const Heads d_heads = split(d_qkv, shape);
  d_heads.q.copy_(dq);
  d_heads.k.copy_(sum_repeats(dk, shape));
  d_heads.v.copy_(sum_repeats(dv, shape));
  return d_qkv;
}

}  // namespace cuboid
