#include <ATen/Context.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention.h>
#include <ATen/ops/_scaled_dot_product_cudnn_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_backward.h>
#include <ATen/ops/empty_like.h>

#include <tuple>

#include "cuboid/config/attention_kernel.hpp"
#include "cuboid/model/attention.hpp"

namespace cuboid {
namespace {

constexpr double kNoDropout = 0.0;
constexpr bool kCausal = true;

Precision precision_of(const at::Tensor& x) {
  return x.scalar_type() == at::kBFloat16 ? Precision::kBFloat16 : Precision::kFloat32;
}

// The flash and the memory-efficient kernel add up gradients in whatever order blocks come, unless
// LibTorch is told to be deterministic. It is for these calls alone: elsewhere it would forbid
// products without an environment variable, and fill memory that is about to be written.
class FixedOrder {
 public:
  FixedOrder()
      : was_(context().deterministicAlgorithms()),
        only_warned_(context().deterministicAlgorithmsWarnOnly()),
        filled_(context().deterministicFillUninitializedMemory()) {
    context().setDeterministicFillUninitializedMemory(false);
    context().setDeterministicAlgorithms(true, /*warn_only=*/false);
  }
  FixedOrder(const FixedOrder&) = delete;
  FixedOrder& operator=(const FixedOrder&) = delete;
  ~FixedOrder() {
    context().setDeterministicAlgorithms(was_, only_warned_);
    context().setDeterministicFillUninitializedMemory(filled_);
  }

 private:
  static at::Context& context() { return at::globalContext(); }
  bool was_, only_warned_, filled_;
};

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

// Key/value heads repeated for the queries that share them: the memory-efficient kernel wants that,
// the others read shared heads where they are.
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

Heads gradients_on_gpu(const AttentionCore& core, const at::Tensor& d_output, const at::Tensor& qkv,
                       const AttentionShape& shape) {
  const auto [q, k, v] = split(qkv, shape);
  const at::Tensor out = divided(core.output, shape);
  const at::Tensor d_out = divided(d_output, shape);
  Heads d;
  if (core.kernel == AttentionKernel::kCudnn) {
    std::tie(d.q, d.k, d.v) = at::_scaled_dot_product_cudnn_attention_backward(
        d_out, q, k, v, out, core.log_sum_exp, core.random_state, core.random_offset,
        /*attn_bias=*/{},
        /*cum_seq_q=*/{}, /*cum_seq_k=*/{}, shape.seq, shape.seq, kNoDropout, kCausal);
    return d;
  }
  const FixedOrder fixed_order;
  if (core.kernel == AttentionKernel::kFlash) {
    std::tie(d.q, d.k, d.v) = at::_scaled_dot_product_flash_attention_backward(
        d_out, q, k, v, out, core.log_sum_exp, /*cum_seq_q=*/{}, /*cum_seq_k=*/{}, shape.seq,
        shape.seq, kNoDropout, kCausal, core.random_state, core.random_offset);
    return d;
  }
  std::tie(d.q, d.k, d.v, std::ignore) = at::_scaled_dot_product_efficient_attention_backward(
      d_out, q, repeat(k, shape), repeat(v, shape), /*attn_bias=*/{}, out, core.log_sum_exp,
      core.random_state, core.random_offset, kNoDropout, {true, true, true, false}, kCausal);
  return {d.q, sum_repeats(d.k, shape), sum_repeats(d.v, shape)};
}

}  // namespace

AttentionCore AttentionCore::forward(const at::Tensor& qkv, const AttentionShape& shape,
                                     AttentionKernel kernel) {
  if (!qkv.is_cuda()) {
    AttentionResult result = causal_attention(qkv, shape);
    return {std::move(result.output), std::move(result.log_sum_exp), {}, {}};
  }
  if (kernel == AttentionKernel::kAuto)
    kernel = attention_candidates(precision_of(qkv), shape.head_dim).front();
  const Heads heads = split(qkv, shape);
  if (kernel == AttentionKernel::kFlash) {
    auto result =
        at::_scaled_dot_product_flash_attention(heads.q, heads.k, heads.v, kNoDropout, kCausal);
    return {merged(std::get<0>(result), shape), std::get<1>(result), std::get<6>(result),
            std::get<7>(result), kernel};
  }
  if (kernel == AttentionKernel::kCudnn) {
    auto result =
        at::_scaled_dot_product_cudnn_attention(heads.q, heads.k, heads.v, /*attn_bias=*/{},
                                                /*compute_log_sumexp=*/true, kNoDropout, kCausal);
    return {merged(std::get<0>(result), shape), std::get<1>(result), std::get<6>(result),
            std::get<7>(result), kernel};
  }
  auto [out, lse, state, offset] = at::_scaled_dot_product_efficient_attention(
      heads.q, repeat(heads.k, shape), repeat(heads.v, shape), /*attn_bias=*/{},
      /*compute_log_sumexp=*/true, kNoDropout, kCausal);
  return {merged(out, shape), std::move(lse), std::move(state), std::move(offset), kernel};
}

at::Tensor AttentionCore::backward(const at::Tensor& d_output, const at::Tensor& qkv,
                                   const AttentionShape& shape) const {
  if (!qkv.is_cuda()) {
    return causal_attention_backward(d_output, qkv, {output, log_sum_exp}, shape);
  }
  const Heads d = gradients_on_gpu(*this, d_output, qkv, shape);
  at::Tensor d_qkv = at::empty_like(qkv);
  const Heads to = split(d_qkv, shape);
  // LibTorch's kernels write into tensors of their own.
  to.q.copy_(d.q);
  to.k.copy_(d.k);
  to.v.copy_(d.v);
  return d_qkv;
}

}  // namespace cuboid
