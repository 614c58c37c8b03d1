// ranks: 1
// The angles of the rotary embedding, to the last bit.
#include "cuboid/model/rotary.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <cmath>

namespace cuboid {
namespace {

class Angles : public ::testing::TestWithParam<at::ScalarType> {};
INSTANTIATE_TEST_SUITE_P(Types, Angles, ::testing::Values(at::kFloat, at::kBFloat16, at::kDouble),
                         [](const auto& type) { return c10::toString(type.param); });

// (1, 0) turns into cosine and sine themselves: those of fp64, rounded.
TEST_P(Angles, AreThoseOfThePosition) {
  const c10::InferenceMode no_autograd;
  constexpr double kBase = 10000.0;
  struct Shape {
    std::int64_t seq, head_dim;
  };
  for (const auto& [seq, head_dim] : {Shape{1, 2}, Shape{7, 6}, Shape{300, 128}}) {
    const std::int64_t half = head_dim / 2;
    const auto wide = GetParam() == at::kDouble ? at::kDouble : at::kFloat;
    const at::Tensor expected = at::empty({seq, head_dim}, at::kDouble);
    for (std::int64_t t = 0; t < seq; ++t)
      for (std::int64_t i = 0; i < half; ++i) {
        const double angle =
            static_cast<double>(t) *
            std::pow(kBase, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
        expected[t][i] = std::cos(angle);
        expected[t][i + half] = std::sin(angle);
      }
    const at::Tensor cos_and_sin = expected.to(wide).to(GetParam()).view({1, seq, 1, head_dim});
    const Rotary rotary(seq, head_dim, kBase, GetParam());
    const at::Tensor x = at::zeros({2, seq, 3, head_dim}, GetParam());
    x.narrow(3, 0, half).fill_(1);
    rotary.rotate_(x);
    EXPECT_TRUE(at::equal(x, cos_and_sin.expand_as(x)));
    x.zero_().narrow(3, half, half).fill_(1);
    rotary.rotate_back_(x);
    EXPECT_TRUE(at::equal(x, cos_and_sin.roll(half, 3).expand_as(x)));
  }
}

TEST(MakeRotary, IsForModelsThatTurn) {
  ModelConfig model;
  model.hidden_size = 64;
  model.num_attention_heads = 2;
  model.seq_length = 8;
  EXPECT_EQ(make_rotary(model, at::kFloat), nullptr);
  model.position_embedding = PositionEmbedding::kRope;
  EXPECT_NE(make_rotary(model, at::kFloat), nullptr);
}

}  // namespace
}  // namespace cuboid
