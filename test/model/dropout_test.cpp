// ranks: 1
// Dropout on the host: which elements it drops, and how the others are scaled.
#include "cuboid/model/dropout.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <array>

#include "cuboid/base/philox.hpp"

namespace cuboid {
namespace {

constexpr double kProbability = 0.1;
constexpr DropoutKey kKey = {.seed = 7, .first_sample = 30, .site = 3};

at::Tensor dropped(const at::Tensor& x, std::int64_t seq_length, const DropoutKey& key = kKey) {
  at::Tensor result = x.clone();
  apply_dropout_(result, kProbability, seq_length, key);
  return result;
}

// Sequences whose length is no multiple of a Philox block's four, and longer than a thread's piece.
TEST(Dropout, TheMaskIsAFunctionOfSampleSiteAndElement) {
  const c10::InferenceMode no_autograd;
  for (const auto [sequences, seq, hidden] :
       {std::array<std::int64_t, 3>{1, 1, 1}, {3, 5, 7}, {2, 9, 1000}}) {
    const at::Tensor y = dropped(at::ones({sequences * seq, hidden}), seq).view({sequences, -1});
    for (std::int64_t s = 0; s < sequences; ++s)
      for (std::int64_t i = 0; i < seq * hidden; ++i) {
        const std::uint64_t stream =
            static_cast<std::uint64_t>(kKey.first_sample + s) << 16 | kKey.site;
        const std::uint32_t random =
            philox(kKey.seed, stream, static_cast<std::uint64_t>(i / 4)).word[i % 4];
        ASSERT_EQ(y[s][i].item<float>() == 0.0F, random < kProbability * 4294967296.0) << s << i;
      }
  }
}

// bf16 is scaled in fp32 and rounded once: 1 / 0.9 itself is no bf16 number, and rounded before it
// would make everything 0.16 % too small.
TEST(Dropout, Bf16IsRoundedOnce) {
  const c10::InferenceMode no_autograd;
  const at::Tensor x = at::randn({4 * 64, 129}).to(at::kBFloat16);
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor y = dropped(x, 64);
  EXPECT_TRUE(at::equal(y, dropped(wide, 64).to(at::kBFloat16)));
  const at::Tensor kept = wide.masked_select(y != 0);
  const double scale = (y.to(at::kDouble).abs().sum() / kept.abs().sum()).item<double>();
  EXPECT_NEAR(scale, 1.0 / (1.0 - kProbability), 1e-4);
}

}  // namespace
}  // namespace cuboid
