// ranks: 1
#include "cuboid/kernels/product.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "cuboid/base/processor.hpp"

namespace cuboid {
namespace {

struct Sizes {
  std::int64_t m, k, n;
};
constexpr std::array kSizes = {Sizes{1, 1, 1}, Sizes{3, 17, 5}, Sizes{64, 128, 96},
                               Sizes{33, 300, 129}};

class Product : public ::testing::TestWithParam<Bf16Products> {
 protected:
  // Largest difference, in parts of what sums of k products of about 1 come to.
  static double error(const at::Tensor& found, const at::Tensor& wanted, std::int64_t k) {
    return (found.to(at::kDouble) - wanted).abs().max().item<double>() /
           std::sqrt(static_cast<double>(k));
  }
  static double rounding(at::ScalarType type) {
    if (type == at::kDouble) return 1e-14;
    return type == at::kFloat ? 1e-5 : std::ldexp(4.0, -8);  // sums below 8, rounded once
  }
  static at::Tensor exact(const at::Tensor& a, const at::Tensor& b) {
    return at::mm(a.to(at::kDouble), b.to(at::kDouble));
  }
};
INSTANTIATE_TEST_SUITE_P(How, Product, ::testing::Values(Bf16Products::kBf16, Bf16Products::kFp32),
                         [](const auto& how) {
                           return how.param == Bf16Products::kBf16 ? "AsTheyAre" : "Widened";
                         });

TEST_P(Product, OfEveryTypeAndOrderOfMemory) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    for (const auto& [m, k, n] : kSizes) {
      const at::Tensor a = at::randn({m, k}, type);
      const at::Tensor b_t = at::randn({n, k}, type);
      const at::Tensor bias = at::randn({n}, type);
      const at::Tensor wanted = exact(a, b_t.t());
      at::Tensor out = at::randn({m, n}, type);
      multiply_out(out, a, b_t.t(), GetParam());
      EXPECT_LT(error(out, wanted, k), rounding(type)) << type << m << n;
      EXPECT_EQ(multiply(a, b_t.t(), {}, GetParam()).scalar_type(), type);
      EXPECT_LT(error(multiply(a, b_t.t(), {}, GetParam()), wanted, k), rounding(type));
      EXPECT_LT(error(multiply(a, b_t.t(), bias, GetParam()), wanted + bias, k), rounding(type));
      EXPECT_LT(
          error(multiply(a.t().contiguous().t(), b_t.t().contiguous(), {}, GetParam()), wanted, k),
          rounding(type));
    }
  }
}

// Columns that are no run of memory are LibTorch's on every processor. Widened, the product is made
// in blocks (here 2 x 2), each rounded: whole numbers, whose sums are exact before.
TEST_P(Product, OfMatricesThatLibTorchTakes) {
  const auto numbers = [](std::vector<std::int64_t> shape) {
    return at::randint(-100, 101, shape).to(at::kBFloat16);
  };
  for (const auto& [m, k, n] : {kSizes[1], kSizes[3], Sizes{1030, 20, 4100}}) {
    const at::Tensor a = numbers({m, 2 * k}).slice(1, 0, 2 * k, 2);
    const at::Tensor b = numbers({k, n});
    const at::Tensor bias = numbers({n});
    const auto expect_rounded = [](const at::Tensor& found, const at::Tensor& wanted) {
      const at::Tensor rounded = wanted.to(at::kFloat).to(at::kBFloat16);
      EXPECT_TRUE(GetParam() == Bf16Products::kFp32 ? at::equal(found, rounded)
                                                    : at::allclose(found, rounded, 0.02, 1.0))
          << found.size(0);
    };
    const at::Tensor wanted = exact(a, b);
    expect_rounded(multiply(a, b, {}, GetParam()), wanted);
    expect_rounded(multiply(a, b, bias, GetParam()), wanted + bias);
    at::Tensor out = numbers({m, n});
    multiply_out(out, a, b, GetParam());
    expect_rounded(out, wanted);
  }
}

TEST_P(Product, GradientsOverwriteOrAdd) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const at::ScalarType state = type == at::kDouble ? at::kDouble : at::kFloat;
    for (const auto& [m, k, n] : kSizes) {
      const at::Tensor dy = at::randn({k, m}, type);
      const at::Tensor x = at::randn({k, n}, type);
      const at::Tensor wanted = exact(dy.t(), x);
      at::Tensor gradient = at::full_like(wanted, std::nan(""), state);
      accumulate_product_(gradient, dy.t(), x, /*accumulate=*/false, GetParam());
      // Widened, the sum never is bf16.
      const bool exact_sum = type != at::kBFloat16 || GetParam() == Bf16Products::kFp32;
      const double bound = exact_sum ? rounding(state) : rounding(type);
      EXPECT_LT(error(gradient, wanted, k), bound) << type << m << n;
      accumulate_product_(gradient, dy.t(), x, /*accumulate=*/true, GetParam());
      EXPECT_LT(error(gradient, 2 * wanted, k), 2 * bound) << type << m << n;
    }
  }
}

// A gradient that is made in several blocks of rows: whole numbers, which are exact in bf16.
TEST_P(Product, LargeGradientsAreAddedOnce) {
  const at::Tensor dy = at::randint(-2, 3, {8, 600}).to(at::kBFloat16);
  const at::Tensor x = at::randint(-2, 3, {8, 4100}).to(at::kBFloat16);
  const at::Tensor wanted = at::mm(dy.t().to(at::kFloat), x.to(at::kFloat));
  at::Tensor gradient = at::full_like(wanted, std::nan(""));
  accumulate_product_(gradient, dy.t(), x, /*accumulate=*/false, GetParam());
  EXPECT_TRUE(at::equal(gradient, wanted));
  accumulate_product_(gradient, dy.t(), x, /*accumulate=*/true, GetParam());
  EXPECT_TRUE(at::equal(gradient, 2 * wanted));
}

TEST(Processor, ItsInstructionsAreNamed) {
  const std::string text = vector_instructions();
#if defined(__x86_64__)
  EXPECT_EQ(has_bf16_products(),
            text.find("bf16") != std::string::npos || text.find("AMX") != std::string::npos);
  EXPECT_EQ(bf16_products(), has_bf16_products() ? Bf16Products::kBf16 : Bf16Products::kFp32);
#endif
}

}  // namespace
}  // namespace cuboid
