// ranks: 1
// Cross entropy and its gradient against the formulas in fp64, at many shapes and types; parts of a
// vocabulary against the whole; numbers at the edge of what there is.
#include "cuboid/kernels/cross_entropy.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace cuboid {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Reference {
  double loss = 0;
  std::vector<double> gradient;  // [tokens, columns], padding 0
};

Reference refer(const at::Tensor& logits, const at::Tensor& targets, std::int64_t num_rows,
                double scale) {
  const at::Tensor wide = logits.to(at::kDouble).contiguous();
  const std::int64_t columns = wide.size(1);
  Reference result;
  result.gradient.resize(static_cast<std::size_t>(wide.numel()));
  for (std::int64_t t = 0; t < wide.size(0); ++t) {
    const double* row = wide.const_data_ptr<double>() + t * columns;
    const double top = *std::max_element(row, row + num_rows);
    double sum = 0;
    for (std::int64_t i = 0; i < num_rows; ++i) sum += std::exp(row[i] - top);
    const std::int64_t target = targets.const_data_ptr<std::int64_t>()[t];
    result.loss += std::log(sum) + (top - row[target]);
    for (std::int64_t i = 0; i < num_rows; ++i) {
      result.gradient[static_cast<std::size_t>(t * columns + i)] =
          (std::exp(row[i] - top) / sum - (i == target ? 1.0 : 0.0)) * scale;
    }
  }
  return result;
}

// What rounding may do to one element: relative to the element, and to the scale.
struct Tolerance {
  double loss, relative, absolute;
};
Tolerance tolerance_of(at::ScalarType type) {
  if (type == at::kDouble) return {1e-13, 1e-13, 1e-14};
  // Exponentials and sums of fp32; bf16 is rounded once more, to 8 bits.
  return {2e-6, type == at::kFloat ? 5e-6 : 4.1e-3, 2e-7};
}

void expect_gradient(const at::Tensor& gradient, const Reference& expected, double scale) {
  const Tolerance tolerance = tolerance_of(gradient.scalar_type());
  const at::Tensor wide = gradient.to(at::kDouble).contiguous();
  const double* values = wide.const_data_ptr<double>();
  for (std::size_t i = 0; i < expected.gradient.size(); ++i) {
    const double allowed =
        tolerance.relative * std::abs(expected.gradient[i]) + tolerance.absolute * std::abs(scale);
    ASSERT_NEAR(values[i], expected.gradient[i], allowed) << "element " << i;
  }
}

void expect_loss(double loss, const Reference& expected, std::int64_t tokens, at::ScalarType type) {
  EXPECT_NEAR(loss, expected.loss,
              tolerance_of(type).loss * (std::abs(expected.loss) + static_cast<double>(tokens)));
}

// Over one part, and over parts of `part` rows each, as TP ranks would.
void check(at::Tensor logits, const at::Tensor& targets, std::int64_t num_rows, std::int64_t part) {
  constexpr double kScale = 0.37;
  const at::ScalarType type = logits.scalar_type();
  const std::int64_t tokens = logits.size(0);
  const Reference expected = refer(logits, targets, num_rows, kScale);
  if (logits.size(1) > num_rows) logits.narrow(1, num_rows, logits.size(1) - num_rows).fill_(1e30);

  at::Tensor whole = logits.clone();
  expect_loss(cross_entropy_(whole, targets, num_rows, 0.0).item<double>(), expected, tokens, type);
  EXPECT_TRUE(at::equal(whole, logits)) << "the loss alone leaves logits as they are";
  expect_loss(cross_entropy_(whole, targets, num_rows, kScale).item<double>(), expected, tokens,
              type);
  expect_gradient(whole, expected, kScale);

  std::vector<at::Tensor> pieces;
  std::vector<RowSums> sums;
  at::Tensor maximum;
  for (std::int64_t first = 0; first < num_rows; first += part) {
    // The last part has padding, full of what must not count.
    const std::int64_t rows = std::min(part, num_rows - first);
    pieces.push_back(at::full({tokens, part}, 1e30, logits.options()));
    pieces.back().narrow(1, 0, rows).copy_(logits.narrow(1, first, rows));
    sums.push_back(cross_entropy_rows(pieces.back(), targets, first, rows));
    const at::Tensor& mine = sums.back().maximum;
    maximum = maximum.defined() ? at::maximum(maximum, mine) : mine;
  }
  at::Tensor sum = at::zeros_like(maximum);
  at::Tensor target_logit = at::zeros_like(maximum);
  for (const RowSums& of_part : sums) {
    sum = sum + of_part.sum * (of_part.maximum - maximum).exp();
    target_logit = target_logit + of_part.target_logit;
  }
  expect_loss((sum.log() + (maximum - target_logit)).sum(at::kDouble).item<double>(), expected,
              tokens, type);
  at::Tensor gradient = at::zeros_like(logits);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const std::int64_t first = static_cast<std::int64_t>(i) * part;
    const std::int64_t rows = std::min(part, num_rows - first);
    cross_entropy_gradient_(pieces[i], targets, maximum, sum, first, rows, kScale);
    gradient.narrow(1, first, rows).copy_(pieces[i].narrow(1, 0, rows));
    EXPECT_EQ(pieces[i].narrow(1, rows, part - rows).abs().sum().item<double>(), 0.0);
  }
  expect_gradient(gradient, expected, kScale);
}

class CrossEntropyTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  static at::Tensor random(std::int64_t tokens, std::int64_t columns, double spread) {
    return (at::randn({tokens, columns}, at::kDouble) * spread).to(GetParam());
  }
};

TEST_P(CrossEntropyTest, ManyShapes) {
  struct Shape {
    std::int64_t tokens, num_rows, columns, part;
  };
  for (const Shape& shape : std::vector<Shape>{{1, 1, 1, 1},
                                               {3, 2, 2, 1},
                                               {5, 13, 13, 4},
                                               {7, 50, 64, 25},
                                               {64, 256, 256, 128},
                                               {9, 1023, 1024, 512},
                                               {6, 1025, 1152, 300},
                                               {33, 5000, 5120, 2560}}) {
    SCOPED_TRACE(testing::Message() << shape.tokens << " x " << shape.num_rows);
    const at::Tensor targets = at::randint(shape.num_rows, {shape.tokens}, at::kLong);
    check(random(shape.tokens, shape.columns, 3.0), targets, shape.num_rows, shape.part);
  }
}

TEST_P(CrossEntropyTest, EdgesOfTheNumbers) {
  const at::Tensor targets = at::randint(1500, {4}, at::kLong);
  at::Tensor equal = at::full({4, 1500}, -7.0, GetParam());
  check(equal, targets, 1500, 700);
  check(random(4, 1500, 3e4), targets, 1500, 700);  // exponentials of -1e5
  check(random(4, 1500, 1.0).add_(1e30), targets, 1500, 700);
  // Whole blocks and parts of nothing before the first number, then rising maxima.
  at::Tensor some = random(4, 1500, 3.0);
  some.narrow(1, 0, 1200).fill_(-kInfinity);
  check(some, at::full({4}, 1300, at::kLong), 1500, 300);
  at::Tensor rising = random(4, 1500, 3.0);
  rising.narrow(1, 1024, 476).add_(50.0);
  check(rising, targets, 1500, 300);
}

TEST_P(CrossEntropyTest, NotANumberIsNotHidden) {
  const at::Tensor targets = at::full({2}, 1300, at::kLong);
  for (const std::int64_t place : {0, 700, 1300, 1499}) {
    at::Tensor logits = random(2, 1500, 1.0);
    logits[1][place] = NAN;
    EXPECT_TRUE(std::isnan(cross_entropy_(logits, targets, 1500, 0.0).item<double>())) << place;
    EXPECT_TRUE(std::isnan(cross_entropy_(logits, targets, 1500, 1.0).item<double>())) << place;
    EXPECT_FALSE(std::isnan(logits[0].sum().item<double>()));
  }
  at::Tensor block = random(2, 1500, 1.0);
  block.narrow(1, 0, 1024).fill_(NAN);
  EXPECT_TRUE(std::isnan(cross_entropy_(block, targets, 1500, 0.0).item<double>()));
}

TEST_P(CrossEntropyTest, AnEmptyPart) {
  at::Tensor logits = random(3, 8, 1.0);
  const at::Tensor targets = at::full({3}, 2, at::kLong);
  const RowSums sums = cross_entropy_rows(logits, targets, 64, 0);
  EXPECT_EQ(sums.maximum.max().item<double>(), -kInfinity);
  EXPECT_EQ(sums.sum.abs().sum().item<double>(), 0.0);
  EXPECT_EQ(sums.target_logit.abs().sum().item<double>(), 0.0);
  cross_entropy_gradient_(logits, targets, at::zeros_like(sums.sum), sums.sum + 1, 64, 0, 1.0);
  EXPECT_EQ(logits.abs().sum().item<double>(), 0.0);
}

TEST_P(CrossEntropyTest, ThreadsChangeNothing) {
  const at::Tensor logits = random(100, 3000, 2.0);
  const at::Tensor targets = at::randint(3000, {100}, at::kLong);
  std::vector<at::Tensor> results;
  std::vector<double> losses;
  for (const int threads : {1, 3}) {
    at::set_num_threads(threads);
    results.push_back(logits.clone());
    losses.push_back(cross_entropy_(results.back(), targets, 3000, 1.0).item<double>());
  }
  at::set_num_threads(1);
  EXPECT_EQ(losses[0], losses[1]);
  EXPECT_TRUE(at::equal(results[0], results[1]));
}

INSTANTIATE_TEST_SUITE_P(Types, CrossEntropyTest,
                         testing::Values(at::kFloat, at::kBFloat16, at::kDouble),
                         [](const auto& type) { return c10::toString(type.param); });

}  // namespace
}  // namespace cuboid
