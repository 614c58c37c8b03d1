#include "cuboid/kernels/product.hpp"

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/record_function.h>

#include "cuboid/base/processor.hpp"
#include "host.hpp"
#include "product_blocks.hpp"

namespace cuboid {
namespace {

bool is_widened(const at::Tensor& a, Bf16Products how) {
  return how == Bf16Products::kFp32 && a.is_cpu() && a.scalar_type() == at::kBFloat16;
}

// In the order of its memory, so that a transposed view stays one.
at::Tensor widened(const at::Tensor& a) {
  return a.to(at::kFloat, /*non_blocking=*/false, /*copy=*/false, at::MemoryFormat::Preserve);
}

template <typename T>
detail::MatrixView<T> view_of(const at::Tensor& a) {
  return {static_cast<const T*>(a.const_data_ptr()), a.stride(0), a.stride(1)};
}

// Rows or columns are whole runs of memory, as `multiply_blocks` reads them.
bool is_ordered(const at::Tensor& a) {
  return a.stride(0) == 1 || a.stride(1) == 1;
}

// Whether the project's own blocks make this product, rather than LibTorch.
bool by_blocks(const at::Tensor& a, const at::Tensor& b, Bf16Products how) {
  return (is_widened(a, how) || (a.is_cpu() && a.scalar_type() == at::kFloat)) &&
         host_products() == HostProducts::kBlocks && a.scalar_type() == b.scalar_type() &&
         is_ordered(a) && is_ordered(b) && a.numel() > 0 && b.numel() > 0;
}

// out [m, n] = a b, + out or + bias (fp32). Bf16 factors may have a bf16 result, without
// `accumulate`.
void multiply_by_blocks(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b,
                        bool accumulate, const at::Tensor& bias) {
  // By the name of LibTorch's own, whose operations profilers count.
  RECORD_FUNCTION("aten::mm", std::vector<c10::IValue>({a, b}));
  const bool rounds = out.scalar_type() == at::kBFloat16;
  const auto multiply_as = [&]<typename T>() {
    detail::multiply_blocks<T>(
        {.m = a.size(0),
         .k = a.size(1),
         .n = b.size(1),
         .a = view_of<T>(a),
         .b = view_of<T>(b),
         .c = rounds ? nullptr : detail::mutable_data<float>(out),
         .bias = detail::data<float>(bias),
         .accumulate = accumulate,
         .c_bf16 = rounds ? detail::mutable_data<detail::Bfloat16>(out) : nullptr},
        detail::best_instruction_set());
  };
  a.scalar_type() == at::kFloat ? multiply_as.operator()<float>()
                                : multiply_as.operator()<detail::Bfloat16>();
}

// LibTorch's bf16 product on the host is bf16: rounded once, then added. In blocks of rows that
// stay in the caches in between, and instead of memory for a whole second gradient.
void add_rounded_blocks(const at::Tensor& gradient, const at::Tensor& a, const at::Tensor& b,
                        bool accumulate) {
  constexpr std::int64_t kElements = 1 << 20;
  const std::int64_t rows =
      std::max<std::int64_t>(256, kElements / std::max<std::int64_t>(1, b.size(1)));
  for (std::int64_t begin = 0; begin < a.size(0); begin += rows) {
    const std::int64_t count = std::min(rows, a.size(0) - begin);
    const at::Tensor rounded = at::mm(a.narrow(0, begin, count), b);
    const at::Tensor part = gradient.narrow(0, begin, count);
    accumulate ? part.add_(rounded) : part.copy_(rounded);
  }
}

// out (bf16) = a b, + bias, by LibTorch's fp32 product. In blocks, instead of memory for a whole
// result in fp32; so large that MKL, which packs both factors for each of them, is no slower.
void round_widened_blocks(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b,
                          const at::Tensor& bias) {
  constexpr std::int64_t kRows = 1024;
  constexpr std::int64_t kColumns = 4096;
  const at::Tensor wide_a = widened(a);
  for (std::int64_t j = 0; j < b.size(1); j += kColumns) {
    const std::int64_t columns = std::min(kColumns, b.size(1) - j);
    const at::Tensor wide_b = widened(b.narrow(1, j, columns));
    const at::Tensor wide_bias = bias.defined() ? widened(bias.narrow(0, j, columns)) : bias;
    for (std::int64_t i = 0; i < a.size(0); i += kRows) {
      const std::int64_t rows = std::min(kRows, a.size(0) - i);
      const at::Tensor left = wide_a.narrow(0, i, rows);
      out.narrow(0, i, rows)
          .narrow(1, j, columns)
          .copy_(bias.defined() ? at::addmm(wide_bias, left, wide_b) : at::mm(left, wide_b));
    }
  }
}

}  // namespace

Bf16Products bf16_products() {
  static const bool kHasInstructions = has_bf16_products();
  return kHasInstructions ? Bf16Products::kBf16 : Bf16Products::kFp32;
}

HostProducts host_products() {
  static const bool kBlocks =
      detail::best_instruction_set() >= detail::InstructionSet::kAvx2 && !is_intel_processor();
  return kBlocks ? HostProducts::kBlocks : HostProducts::kLibTorch;
}

void multiply_out(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b,
                  Bf16Products how) {
  if (by_blocks(a, b, how)) return multiply_by_blocks(out, a, b, /*accumulate=*/false, {});
  if (is_widened(a, how)) return round_widened_blocks(out, a, b, {});
  at::Tensor result = out;
  at::mm_out(result, a, b);
}

at::Tensor multiply(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias,
                    Bf16Products how) {
  const bool own = by_blocks(a, b, how);
  if (!own && !is_widened(a, how)) return bias.defined() ? at::addmm(bias, a, b) : at::mm(a, b);
  at::Tensor out = at::empty({a.size(0), b.size(1)}, a.options());
  if (own) {
    multiply_by_blocks(out, a, b, /*accumulate=*/false, bias.defined() ? widened(bias) : bias);
  } else {
    round_widened_blocks(out, a, b, bias);
  }
  return out;
}

void accumulate_product_(const at::Tensor& gradient, const at::Tensor& a, const at::Tensor& b,
                         bool accumulate, Bf16Products how) {
  if (gradient.scalar_type() == at::kFloat && by_blocks(a, b, how))
    return multiply_by_blocks(gradient, a, b, accumulate, {});
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
  add_rounded_blocks(gradient, a, b, accumulate);
}

}  // namespace cuboid
