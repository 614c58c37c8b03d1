// Products of matrices, made by whoever is fastest on this processor, in the type that is fastest.
#pragma once

#include <ATen/core/Tensor.h>

namespace cuboid {

// How products of bf16 matrices are made on the host.
enum class Bf16Products : unsigned char {
  kBf16,  // as they are: processors with instructions for it, and GPUs
  kFp32,  // widened: without instructions LibTorch's bf16 product takes several times as long
};
Bf16Products bf16_products();

// Who makes fp32 products (widened ones among them) on the host.
enum class HostProducts : unsigned char {
  kLibTorch,  // MKL: Intel's processors, and those without AVX2
  kBlocks,    // src/kernels/product_blocks.hpp: elsewhere, where MKL takes older code of its own
};
HostProducts host_products();

// out = a b. a [m, k] and b [k, n] may be transposed views; out [m, n] is contiguous, of their
// type.
void multiply_out(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b,
                  Bf16Products how = bf16_products());
// a b, plus bias [n] in every row where it is defined.
at::Tensor multiply(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias = {},
                    Bf16Products how = bf16_products());

// gradient = a b, or += where `accumulate`. gradient [m, n] is fp32 or of the type of a and b. On
// GPUs, and where bf16 is widened, nothing is rounded to bf16 on the way.
void accumulate_product_(const at::Tensor& gradient, const at::Tensor& a, const at::Tensor& b,
                         bool accumulate, Bf16Products how = bf16_products());

}  // namespace cuboid
