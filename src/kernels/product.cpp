#include "cuboid/kernels/product.hpp"

#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include "cuboid/base/processor.hpp"

namespace cuboid {
namespace {

bool is_widened(const at::Tensor& a, Bf16Products how) {
  return how == Bf16Products::kFp32 && a.is_cpu() && a.scalar_type() == at::kBFloat16;
}

// In the order of its memory, so that a transposed view stays one.
at::Tensor widened(const at::Tensor& a) {
  return a.to(at::kFloat, /*non_blocking=*/false, /*copy=*/false, at::MemoryFormat::Preserve);
}

}  // namespace

Bf16Products bf16_products() {
  static const bool kHasInstructions = has_bf16_products();
  return kHasInstructions ? Bf16Products::kBf16 : Bf16Products::kFp32;
}

void multiply_out(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b,
                  Bf16Products how) {
  if (is_widened(a, how)) {
    out.copy_(at::mm(widened(a), widened(b)));
  } else {
    at::Tensor result = out;
    at::mm_out(result, a, b);
  }
}

at::Tensor multiply(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias,
                    Bf16Products how) {
  if (is_widened(a, how))
    return multiply(widened(a), widened(b), bias.defined() ? widened(bias) : bias, how)
        .to(a.scalar_type());
  return bias.defined() ? at::addmm(bias, a, b) : at::mm(a, b);
}

void accumulate_product_(const at::Tensor& gradient, const at::Tensor& a, const at::Tensor& b,
                         bool accumulate, Bf16Products how) {
  if (is_widened(a, how) && gradient.scalar_type() == at::kFloat)
    return accumulate_product_(gradient, widened(a), widened(b), accumulate, how);
  at::Tensor sum = gradient;
  if (gradient.scalar_type() == a.scalar_type()) {
    accumulate ? at::addmm_out(sum, gradient, a, b) : at::mm_out(sum, a, b);
    return;
  }
  if (a.is_cuda()) {
    // The tensor cores' fp32 sums go straight into the gradient, without a pass to add them.
    const at::ScalarType type = gradient.scalar_type();
    accumulate ? at::addmm_out(sum, gradient, a, b, type, /*beta=*/1, /*alpha=*/1)
               : at::mm_out(sum, a, b, type);
    return;
  }
  const at::Tensor rounded = at::mm(a, b);
  accumulate ? gradient.add_(rounded) : gradient.copy_(rounded);
}

}  // namespace cuboid
