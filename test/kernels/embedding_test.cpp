// ranks: 1
// Rows looked up and added up, against loops in fp64.
#include "cuboid/kernels/embedding.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <vector>

namespace cuboid {
namespace {

struct Shape {
  std::int64_t sequences, seq, vocab, width;
};
const std::vector<Shape> kShapes = {
    {1, 1, 1, 1}, {2, 3, 13, 5}, {12, 64, 256, 128}, {3, 7, 99, 300}};

at::ScalarType state_type(at::ScalarType type) {
  return type == at::kDouble ? at::kDouble : at::kFloat;
}

class EmbeddingTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  static at::Tensor random(std::int64_t rows, std::int64_t width) {
    return at::randn({rows, width}, at::kDouble).to(GetParam());
  }
  static at::Tensor random_tokens(const Shape& shape) {
    return at::randint(shape.vocab, {shape.sequences * shape.seq}, at::kLong);
  }
};

TEST_P(EmbeddingTest, LooksUp) {
  for (const Shape& shape : kShapes) {
    const at::Tensor tokens = random_tokens(shape);
    const at::Tensor table = random(shape.vocab + 3, shape.width);
    const at::Tensor positions = random(shape.seq, shape.width);
    // This part holds the rows [first, first + num).
    const std::int64_t first = shape.vocab / 3;
    const std::int64_t num = shape.vocab - first;
    for (const bool with_positions : {false, true}) {
      const at::Tensor y =
          embed(tokens, table, first, num, with_positions ? positions : at::Tensor());
      for (std::int64_t i = 0; i < tokens.numel(); ++i) {
        const std::int64_t row = tokens[i].item<std::int64_t>() - first;
        at::Tensor expected = at::zeros({shape.width}, at::kDouble);
        if (row >= 0 && row < num) expected += table[row].to(at::kDouble);
        if (with_positions) expected += positions[i % shape.seq].to(at::kDouble);
        // The exact sum, rounded as the type rounds it.
        ASSERT_TRUE(at::equal(y[i], expected.to(state_type(GetParam())).to(GetParam())));
      }
    }
  }
}

TEST_P(EmbeddingTest, AddsRows) {
  for (const Shape& shape : kShapes) {
    const at::Tensor tokens = random_tokens(shape);
    const at::Tensor dy = random(tokens.numel(), shape.width);
    const std::int64_t first = shape.vocab / 3;
    const std::int64_t num = shape.vocab - first;
    at::Tensor gradient = at::randn({num + 2, shape.width}, state_type(GetParam()));
    at::Tensor expected = gradient.clone();
    add_rows_(gradient, dy, tokens, first, num);
    for (std::int64_t i = 0; i < tokens.numel(); ++i) {
      const std::int64_t row = tokens[i].item<std::int64_t>() - first;
      if (row >= 0 && row < num) expected[row] += dy[i].to(expected.scalar_type());
    }
    EXPECT_TRUE(at::equal(gradient, expected)) << "one after the other, so to the last bit";
  }
}

TEST_P(EmbeddingTest, AddsPositions) {
  for (const Shape& shape : kShapes) {
    const at::Tensor dy = random(shape.sequences * shape.seq, shape.width);
    const at::Tensor sum =
        dy.to(at::kDouble).view({shape.sequences, shape.seq, shape.width}).sum(0);
    at::Tensor gradient = at::randn({shape.seq, shape.width}, state_type(GetParam()));
    const at::Tensor before = gradient.clone().to(at::kDouble);
    add_positions(dy, {.gradient = gradient, .accumulate = true});
    EXPECT_LT((gradient - (before + sum)).abs().max().item<double>(), 1e-5);
    add_positions(dy, {.gradient = gradient, .accumulate = false});
    EXPECT_LT((gradient - sum).abs().max().item<double>(), 1e-5);
  }
}

TEST_P(EmbeddingTest, ThreadsChangeNothing) {
  const Shape shape{8, 64, 50, 320};
  const at::Tensor tokens = random_tokens(shape);
  const at::Tensor dy = random(tokens.numel(), shape.width);
  std::vector<at::Tensor> results;
  for (const int threads : {1, 3}) {
    at::set_num_threads(threads);
    results.push_back(at::zeros({shape.vocab, shape.width}, state_type(GetParam())));
    add_rows_(results.back(), dy, tokens, 0, shape.vocab);
  }
  at::set_num_threads(1);
  EXPECT_TRUE(at::equal(results[0], results[1]));
}

INSTANTIATE_TEST_SUITE_P(Types, EmbeddingTest,
                         testing::Values(at::kFloat, at::kBFloat16, at::kDouble),
                         [](const auto& type) { return c10::toString(type.param); });

}  // namespace
}  // namespace cuboid
