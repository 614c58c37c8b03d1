// ranks: 1
// Rotation against complex numbers in fp64, in views of query, key and value.
#include "cuboid/kernels/rotary.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <complex>
#include <vector>

namespace cuboid {
namespace {

class RotaryTest : public testing::TestWithParam<at::ScalarType> {};

TEST_P(RotaryTest, TurnsAndTurnsBack) {
  struct Shape {
    std::int64_t sequences, seq, heads, others, half;
  };
  for (const Shape& shape : std::vector<Shape>{{1, 1, 1, 0, 1},
                                               {2, 6, 3, 1, 2},
                                               {3, 5, 4, 2, 16},
                                               {1, 70, 12, 6, 32},
                                               {2, 9, 2, 1, 37}}) {
    const auto wide = GetParam() == at::kDouble ? at::kDouble : at::kFloat;
    const at::Tensor angles = at::randn({shape.seq, shape.half}, at::kDouble) * 3;
    const at::Tensor cos = angles.cos().to(wide);
    const at::Tensor sin = angles.sin().to(wide);
    const at::Tensor qkv =
        at::randn({shape.sequences, shape.seq, shape.heads + shape.others, 2 * shape.half},
                  at::kDouble)
            .to(GetParam());
    const at::Tensor before = qkv.clone();
    const at::Tensor x = qkv.narrow(2, 0, shape.heads);
    rotate_(x, cos, sin, /*forwards=*/true);
    const double rounding =
        GetParam() == at::kDouble ? 1e-15 : (GetParam() == at::kFloat ? 5e-7 : 8e-3);
    for (std::int64_t s = 0; s < shape.sequences; ++s)
      for (std::int64_t t = 0; t < shape.seq; ++t)
        for (std::int64_t head = 0; head < shape.heads; ++head)
          for (std::int64_t i = 0; i < shape.half; ++i) {
            const std::complex<double> old(before[s][t][head][i].item<double>(),
                                           before[s][t][head][i + shape.half].item<double>());
            const auto turned = old * std::polar(1.0, angles[t][i].item<double>());
            ASSERT_NEAR(x[s][t][head][i].item<double>(), turned.real(),
                        rounding * (1 + std::abs(old)));
            ASSERT_NEAR(x[s][t][head][i + shape.half].item<double>(), turned.imag(),
                        rounding * (1 + std::abs(old)));
          }
    EXPECT_TRUE(at::equal(qkv.narrow(2, shape.heads, shape.others),
                          before.narrow(2, shape.heads, shape.others)));
    rotate_(x, cos, sin, /*forwards=*/false);
    EXPECT_LT((qkv - before).abs().max().item<double>(), 10 * rounding);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, RotaryTest, testing::Values(at::kFloat, at::kBFloat16, at::kDouble),
                         [](const auto& type) { return c10::toString(type.param); });

}  // namespace
}  // namespace cuboid
