#include <ATen/ops/_scaled_dot_product_efficient_attention.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>

#include "cuboid/model/attention.hpp"

namespace cuboid {
namespace {

// The GPU's flash kernels take bf16 only, and head sizes in steps of 8 up to 256.
bool fits_gpu_flash(const at::Tensor& q) {
  return q.scalar_type() == at::kBFloat16 && q.size(-1) % 8 == 0 && q.size(-1) <= 256;
}

}  // namespace

AttentionCore AttentionCore::forward(const at::Tensor& q, const at::Tensor& k,
                                     const at::Tensor& v) {
  constexpr double kNoDropout = 0.0;
  constexpr bool kCausal = true;
  if (!q.is_cuda()) {
    auto [out, lse] = at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, kNoDropout, kCausal);
    return {std::move(out), std::move(lse), {}, {}};
  }
  if (fits_gpu_flash(q)) {
    auto result = at::_scaled_dot_product_flash_attention(q, k, v, kNoDropout, kCausal);
    return {std::get<0>(result), std::get<1>(result), std::get<6>(result), std::get<7>(result)};
  }
  auto [out, lse, state, offset] = at::_scaled_dot_product_efficient_attention(
      q, k, v, /*attn_bias=*/{}, /*compute_log_sumexp=*/true, kNoDropout, kCausal);
  return {std::move(out), std::move(lse), std::move(state), std::move(offset)};
}

AttentionCore::Gradients AttentionCore::backward(const at::Tensor& gradient, const at::Tensor& q,
                                                 const at::Tensor& k, const at::Tensor& v) const {
  constexpr double kNoDropout = 0.0;
  constexpr bool kCausal = true;
  if (!q.is_cuda()) {
    auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        gradient, q, k, v, output, log_sum_exp, kNoDropout, kCausal);
    return {std::move(dq), std::move(dk), std::move(dv)};
  }
  if (fits_gpu_flash(q)) {
    auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_backward(
        gradient, q, k, v, output, log_sum_exp, /*cum_seq_q=*/{}, /*cum_seq_k=*/{}, q.size(2),
        k.size(2), kNoDropout, kCausal, random_state, random_offset);
    return {std::move(dq), std::move(dk), std::move(dv)};
  }
  auto [dq, dk, dv, dbias] = at::_scaled_dot_product_efficient_attention_backward(
      gradient, q, k, v, /*attn_bias=*/{}, output, log_sum_exp, random_state, random_offset,
      kNoDropout, {true, true, true, false}, kCausal);
  return {std::move(dq), std::move(dk), std::move(dv)};
}

}  // namespace cuboid
