// ranks: 1
// Tiles differ between instruction sets, so every one that this processor has is held to formulas.
#include "../../src/kernels/product_parts.hpp"
#include "../../src/kernels/product_tiles.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <array>
#include <cmath>
#include <string>

namespace cuboid {
namespace {

using detail::Bfloat16;
using detail::InstructionSet;

struct Sizes {
  std::int64_t m, k, n;
};
// One number; less than a tile; tiles and rests in every direction; several blocks of rows (72),
// steps (256) and columns (512).
constexpr std::array kSizes = {Sizes{1, 1, 1},      Sizes{5, 3, 7},      Sizes{72, 64, 64},
                               Sizes{33, 300, 129}, Sizes{150, 390, 65}, Sizes{12, 800, 1100}};

class ProductBlocks : public ::testing::TestWithParam<InstructionSet> {
 protected:
  void SetUp() override {
    if (GetParam() > detail::best_instruction_set()) GTEST_SKIP() << "not of this processor";
  }

  template <typename T>
  static detail::MatrixView<T> view_of(const at::Tensor& a) {
    return {static_cast<const T*>(a.const_data_ptr()), a.stride(0), a.stride(1)};
  }
  // c = a b, + c or + bias; a and b of T.
  template <typename T>
  void multiply(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, bool accumulate,
                const at::Tensor& bias = {}) {
    detail::multiply_blocks<T>(
        {a.size(0), a.size(1), b.size(1), view_of<T>(a), view_of<T>(b), c.mutable_data_ptr<float>(),
         bias.defined() ? bias.const_data_ptr<float>() : nullptr, accumulate},
        GetParam());
  }
  // a b, + bias, of bf16 matrices, rounded to bf16.
  at::Tensor rounded(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias = {}) {
    const at::Tensor c = at::full({a.size(0), b.size(1)}, std::nan("")).to(at::kBFloat16);
    detail::multiply_blocks<Bfloat16>(
        {.m = a.size(0),
         .k = a.size(1),
         .n = b.size(1),
         .a = view_of<Bfloat16>(a),
         .b = view_of<Bfloat16>(b),
         .c = nullptr,
         .bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr,
         .accumulate = false,
         .c_bf16 = static_cast<Bfloat16*>(c.mutable_data_ptr())},
        GetParam());
    return c;
  }
  // Sums of k products of numbers of about 1, in fp32.
  static void expect_close(const at::Tensor& found, const at::Tensor& wanted, const Sizes& size) {
    const double error = (found.to(at::kDouble) - wanted).abs().max().item<double>();
    EXPECT_LT(error, 1e-5 * std::sqrt(static_cast<double>(size.k)))
        << size.m << " x " << size.k << " x " << size.n;
  }
  template <typename T>
  void all_orders_of_memory(at::ScalarType type) {
    for (const Sizes& size : kSizes) {
      const at::Tensor a = at::randn({size.m, size.k}).to(type);
      const at::Tensor b = at::randn({size.k, size.n}).to(type);
      const at::Tensor bias = at::randn({size.n});
      const at::Tensor wanted = at::mm(a.to(at::kDouble), b.to(at::kDouble));
      const at::Tensor a_t = a.t().contiguous().t();
      const at::Tensor b_t = b.t().contiguous().t();
      for (const at::Tensor& left : {a, a_t})
        for (const at::Tensor& right : {b, b_t}) {
          at::Tensor c = at::full({size.m, size.n}, std::nan(""));
          multiply<T>(c, left, right, /*accumulate=*/false);
          expect_close(c, wanted, size);
          multiply<T>(c, left, right, /*accumulate=*/true);
          expect_close(c, 2 * wanted, size);
          multiply<T>(c, left, right, /*accumulate=*/false, bias);
          expect_close(c, wanted + bias, size);
        }
    }
  }
};
std::string name_of(const ::testing::TestParamInfo<InstructionSet>& set) {
  constexpr std::array kNames = {"AnyProcessor", "Avx2", "Avx512"};
  return kNames.at(static_cast<std::size_t>(set.param));
}
INSTANTIATE_TEST_SUITE_P(Sets, ProductBlocks,
                         ::testing::Values(InstructionSet::kAny, InstructionSet::kAvx2,
                                           InstructionSet::kAvx512),
                         name_of);

TEST_P(ProductBlocks, OfFp32InEveryOrderOfMemory) {
  all_orders_of_memory<float>(at::kFloat);
}

TEST_P(ProductBlocks, OfBf16InEveryOrderOfMemory) {
  all_orders_of_memory<Bfloat16>(at::kBFloat16);
}

// The sums of an fp32 result, rounded once: to the last bit, by any number of threads. Among the
// sizes several blocks of the rows (1,152) that wait for their rounding together.
TEST_P(ProductBlocks, Bf16ResultsAreFp32OnesRounded) {
  const int before = omp_get_max_threads();
  for (const Sizes& size : {kSizes[0], kSizes[1], kSizes[3], kSizes[4], kSizes[5],
                            Sizes{1153, 257, 20}, Sizes{2400, 520, 30}}) {
    const at::Tensor a = at::randn({size.m, size.k}).to(at::kBFloat16);
    const at::Tensor b = at::randn({size.k, size.n}).to(at::kBFloat16);
    const at::Tensor bias = at::randn({size.n});
    const at::Tensor a_t = a.t().contiguous().t();
    const at::Tensor b_t = b.t().contiguous().t();
    at::Tensor c = at::empty({size.m, size.n});
    multiply<Bfloat16>(c, a, b, /*accumulate=*/false);
    const at::Tensor plain = c.to(at::kBFloat16);
    multiply<Bfloat16>(c, a, b, /*accumulate=*/false, bias);
    const at::Tensor with_bias = c.to(at::kBFloat16);
    for (const int threads : {1, 2, 3, 7}) {
      omp_set_num_threads(threads);
      EXPECT_TRUE(at::equal(rounded(a, b), plain)) << size.m << " by " << threads;
      EXPECT_TRUE(at::equal(rounded(a_t, b_t, bias), with_bias)) << size.m << " by " << threads;
    }
  }
  omp_set_num_threads(before);
}

// Views of wider matrices: what lies between the rows is neither read into sums nor written.
TEST_P(ProductBlocks, OfPartsOfMatrices) {
  const Sizes size = {30, 40, 50};
  const at::Tensor a = at::randn({size.m, 3 * size.k}).narrow(1, size.k, size.k);
  const at::Tensor b = at::randn({size.k, 2 * size.n}).narrow(1, 3, size.n);
  const at::Tensor wanted = at::mm(a.to(at::kDouble), b.to(at::kDouble));
  const at::Tensor memory = at::zeros({(size.m + 2) * size.n});
  multiply<float>(memory.narrow(0, size.n, size.m * size.n), a, b, /*accumulate=*/false);
  expect_close(memory.narrow(0, size.n, size.m * size.n).view({size.m, size.n}), wanted, size);
  EXPECT_EQ(memory.narrow(0, 0, size.n).abs().max().item<float>(), 0.0F);
  EXPECT_EQ(memory.narrow(0, (size.m + 1) * size.n, size.n).abs().max().item<float>(), 0.0F);
}

TEST_P(ProductBlocks, NoNumberOfThreadsChangesABit) {
  const int before = omp_get_max_threads();
  for (const Sizes& size : {Sizes{300, 500, 200}, Sizes{7, 600, 2500}}) {
    const at::Tensor a = at::randn({size.m, size.k});
    const at::Tensor b = at::randn({size.n, size.k}).t();
    at::Tensor first;
    for (const int threads : {1, 2, 3, 7, 40}) {
      omp_set_num_threads(threads);
      at::Tensor c = at::full({size.m, size.n}, std::nan(""));
      multiply<float>(c, a, b, /*accumulate=*/false);
      if (!first.defined()) first = c;
      EXPECT_TRUE(at::equal(c, first)) << threads << " threads";
    }
  }
  omp_set_num_threads(before);
}

// Threads that a small product leaves idle are there for the next region: none is ended and started
// again.
TEST_P(ProductBlocks, SmallProductsKeepEveryThread) {
  const int before = omp_get_max_threads();
  constexpr int kThreads = 4;
  omp_set_num_threads(kThreads);
  thread_local bool is_known = false;
  const auto meet = [] {
    int known = 0;
#pragma omp parallel reduction(+ : known)
    {
      known += is_known ? 1 : 0;
      is_known = true;
    }
    return known;
  };
  meet();
  for (const std::int64_t m : {6, 64, 96, 1024}) {  // 1, 2, 3 and all threads
    const at::Tensor a = at::randn({m, 128});
    const at::Tensor b = at::randn({128, 128});
    at::Tensor c = at::empty({m, 128});
    multiply<float>(c, a, b, /*accumulate=*/false);
    EXPECT_EQ(meet(), kThreads) << m;
  }
  omp_set_num_threads(before);
}

// Infinities and NaNs of one row or column stay out of the others, padding included.
TEST_P(ProductBlocks, NotANumberStaysInItsRowAndColumn) {
  at::Tensor a = at::ones({13, 20});
  at::Tensor b = at::ones({20, 37});
  a[12][19] = std::nan("");
  b[0][36] = INFINITY;
  at::Tensor c = at::empty({13, 37});
  multiply<float>(c, a, b, /*accumulate=*/false);
  EXPECT_TRUE(at::equal(c.narrow(0, 0, 12).narrow(1, 0, 36), at::full({12, 36}, 20.0)));
  EXPECT_TRUE(c[12].isnan().all().item<bool>());
  EXPECT_TRUE(c.narrow(0, 0, 12).select(1, 36).isinf().all().item<bool>());
}

// Every number belongs to one part, for any shape and number of threads.
TEST(ProductParts, CoverTheResultOnce) {
  for (const std::int64_t m : {1, 6, 100, 768})
    for (const std::int64_t n : {1, 16, 50, 513})
      for (const int threads : {1, 2, 3, 8, 100})
        for (const bool packs_rows : {false, true}) {
          const detail::Parts parts(m, n, {6, 16}, packs_rows, threads);
          ASSERT_LE(parts.count(), threads);
          std::int64_t numbers = 0;
          for (int index = 0; index < parts.count(); ++index) {
            const auto [rows, columns] = parts.part(index);
            EXPECT_TRUE(rows.begin % 6 == 0 && columns.begin % 16 == 0);
            EXPECT_TRUE(rows.end % 6 == 0 || rows.end == m);
            EXPECT_TRUE(columns.end % 16 == 0 || columns.end == n);
            numbers += (rows.end - rows.begin) * (columns.end - columns.begin);
          }
          EXPECT_EQ(numbers, m * n) << m << " " << n << " " << threads;
        }
}

// Two threads halve what is not packed twice then: a wide result's columns, a tall one's rows.
TEST(ProductParts, CutWhereItCostsLeast) {
  const auto rows_of_first = [](std::int64_t m, std::int64_t n, bool packs_rows) {
    return detail::Parts(m, n, {6, 16}, packs_rows, 2).part(0).rows.end;
  };
  EXPECT_EQ(rows_of_first(768, 512, /*packs_rows=*/false), 768);
  EXPECT_EQ(rows_of_first(768, 128, /*packs_rows=*/true), 384);
  EXPECT_EQ(rows_of_first(126, 512, /*packs_rows=*/true), 126);
  EXPECT_EQ(detail::threads_for(1000, 8), 1);
  EXPECT_EQ(detail::threads_for(1 << 30, 8), 8);
}

// Tiles and packing of every shape, compiled for this program's processor: those of AVX-512 are
// checked where there is none, too.
template <typename Isa>
class ProductTiles : public ::testing::Test {};
using Shapes = ::testing::Types<detail::ProductAvx512, detail::ProductAvx2, detail::ProductAny>;
TYPED_TEST_SUITE(ProductTiles, Shapes);

TYPED_TEST(ProductTiles, MultiplyWhatWasPacked) {
  using namespace detail;
  constexpr std::int64_t kRows = TypeParam::kRows;
  constexpr std::int64_t kColumns = Tile<TypeParam>::kColumns;
  constexpr std::int64_t kDepth = 43;
  const at::Tensor a = at::randn({2 * kRows, kDepth});
  const at::Tensor b = at::randn({kDepth, kColumns});
  const at::Tensor bias = at::randn({kColumns});
  const at::Tensor a_t = a.t().contiguous();
  const at::Tensor b_t = b.t().contiguous();
  alignas(64) float of_b[kDepth * kColumns];
  float of_a[(2 * kRows + 8) * kDepth];
  const auto view = [](const at::Tensor& x, std::int64_t row, std::int64_t column) {
    return MatrixView<float>{x.const_data_ptr<float>(), row, column};
  };
  for (const bool transposed : {false, true}) {
    pack_columns<TypeParam>(transposed ? view(b_t, 1, kDepth) : view(b, kColumns, 1), kDepth,
                            kColumns, of_b);
    if (transposed) {
      pack_rows_transposed<TypeParam>(view(a_t, 1, 2 * kRows), kDepth, 2 * kRows, 2 * kRows, of_a);
    } else {
      pack_rows<TypeParam>(view(a, kDepth, 1), kDepth, 2 * kRows, of_a);
    }
    for (std::int64_t tile = 0; tile < 2; ++tile) {
      const float* rows = of_a + tile * kRows * kDepth;
      const TileRows from = transposed ? TileRows{rows, 1, kRows} : TileRows{rows, kDepth, 1};
      const at::Tensor c = at::empty({kRows, kColumns});
      auto* const to = c.mutable_data_ptr<float>();
      multiply_tile<TypeParam, Start::kBias>(from, of_b, kDepth, bias.const_data_ptr<float>(), to,
                                             kColumns);
      multiply_tile<TypeParam, Start::kSum>(from, of_b, kDepth, nullptr, to, kColumns);
      const at::Tensor product = at::mm(a.narrow(0, tile * kRows, kRows), b);
      EXPECT_LT((c - 2 * product - bias).abs().max().template item<float>(), 1e-4F) << transposed;
    }
  }
}

}  // namespace
}  // namespace cuboid
