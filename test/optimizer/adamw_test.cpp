// ranks: 1
// AdamW against the paper's update written out in fp64.
#include "cuboid/optimizer/adamw.hpp"

#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <stdexcept>
#include <vector>

namespace cuboid {
namespace {

OptimizerConfig make_config() {
  OptimizerConfig config;
  config.weight_decay = 0.1;
  config.adam_beta1 = 0.9;
  config.adam_beta2 = 0.95;
  config.adam_eps = 1e-8;
  return config;
}

// Two matrices (one padded), two vectors, and a second gradient.
void fill(WeightStore& store, at::ScalarType type) {
  Weight& first = store.add({{.name = "a", .shape = {13, 7}, .init = Init::kNormal, .init_std = 1}},
                            /*padding_rows=*/3);
  store.add({{.name = "b", .shape = {7}, .init = Init::kOnes}});
  store.add({{.name = "c", .shape = {40, 33}, .init = Init::kNormal, .init_std = 1}});
  store.add({{.name = "d", .shape = {33}, .init = Init::kOnes}});
  store.add_gradient_only(first);
  store.allocate(type, at::kCPU, /*seed=*/7);
}

std::vector<double> to_doubles(const at::Tensor& tensor) {
  const at::Tensor wide = tensor.to(at::kDouble).contiguous();
  return {wide.const_data_ptr<double>(), wide.const_data_ptr<double>() + wide.numel()};
}

// Gradients of step `step`; elements differ in size by orders of magnitude.
void set_gradients(WeightStore& store, int step) {
  std::mt19937 random(static_cast<unsigned>(step));
  std::normal_distribution<double> normal;
  for (const auto& weight : store.weights()) {
    at::Tensor flat = weight->gradient.view({-1});
    for (std::int64_t i = 0; i < flat.numel(); ++i) {
      flat[i] = normal(random) * std::pow(10.0, static_cast<double>(i % 7 - 5));
    }
  }
}

// Loshchilov & Hutter, algorithm 2 (the schedule multiplier is in lr; decay times lr, as PyTorch).
struct Reference {
  explicit Reference(const WeightStore& store)
      : theta(to_doubles(store.master())),
        m(theta.size()),
        v(theta.size()),
        num_decaying(static_cast<std::size_t>(store.num_decaying())) {}

  void step(const OptimizerConfig& config, double lr, double scale,
            const std::vector<double>& gradient) {
    ++t;
    for (std::size_t i = 0; i < theta.size(); ++i) {
      const double g = scale * gradient[i];
      if (i < num_decaying) theta[i] -= lr * config.weight_decay * theta[i];
      m[i] = config.adam_beta1 * m[i] + (1 - config.adam_beta1) * g;
      v[i] = config.adam_beta2 * v[i] + (1 - config.adam_beta2) * g * g;
      const double m_hat = m[i] / (1 - std::pow(config.adam_beta1, t));
      const double v_hat = v[i] / (1 - std::pow(config.adam_beta2, t));
      theta[i] -= lr * m_hat / (std::sqrt(v_hat) + config.adam_eps);
    }
  }

  std::vector<double> theta, m, v;
  std::size_t num_decaying;
  int t = 0;
};

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = a.size() == b.size() ? 0 : INFINITY;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    largest = std::max(largest, std::abs(a[i] - b[i]) / (1 + std::abs(b[i])));
  }
  return largest;
}

void compare_with_reference(at::ScalarType type, double tolerance) {
  WeightStore store;
  fill(store, type);
  const OptimizerConfig config = make_config();
  AdamW optimizer(store, config);
  Reference reference(store);
  for (int step = 0; step < 60; ++step) {
    const double lr = 1e-2 / (1 + step);
    const double scale = step % 3 == 0 ? 1.0 : 0.37;
    set_gradients(store, step);
    reference.step(config, lr, scale,
                   to_doubles(store.gradients().narrow(0, 0, store.num_values())));
    optimizer.step(lr, scale);
  }
  EXPECT_EQ(optimizer.num_steps(), 60);
  EXPECT_LT(largest_difference(to_doubles(store.master()), reference.theta), tolerance);
  EXPECT_LT(largest_difference(to_doubles(optimizer.exp_avg()), reference.m), tolerance);
  EXPECT_LT(largest_difference(to_doubles(optimizer.exp_avg_sq()), reference.v), tolerance);
}

TEST(AdamW, FollowsThePaperInDouble) {
  compare_with_reference(at::kDouble, 1e-13);
}

// 60 roundings of fp32 (6e-8 each, of values of order 1).
TEST(AdamW, FollowsThePaperInFloat) {
  compare_with_reference(at::kFloat, 4e-6);
}

TEST(AdamW, DecaysMatricesOnly) {
  WeightStore store;
  fill(store, at::kFloat);
  const at::Tensor before = store.master().clone();
  store.gradients().zero_();
  AdamW optimizer(store, make_config());
  optimizer.step(0.5);
  const std::int64_t decaying = store.num_decaying();
  const std::int64_t rest = store.num_values() - decaying;
  EXPECT_TRUE(
      at::equal(store.master().narrow(0, decaying, rest), before.narrow(0, decaying, rest)));
  const auto decayed = to_doubles(store.master().narrow(0, 0, decaying));
  auto expected = to_doubles(before.narrow(0, 0, decaying));
  for (double& value : expected) value *= 1 - 0.5 * 0.1;
  EXPECT_LT(largest_difference(decayed, expected), 1e-6);
}

TEST(AdamW, PaddingStaysZero) {
  WeightStore store;
  fill(store, at::kFloat);
  AdamW optimizer(store, make_config());
  for (int step = 0; step < 3; ++step) {
    set_gradients(store, step);
    store.weights()[0]->gradient.narrow(0, 13, 3).zero_();
    optimizer.step(0.1);
  }
  EXPECT_EQ(store.weights()[0]->value.narrow(0, 13, 3).abs().max().item<float>(), 0.0F);
}

TEST(AdamW, BFloat16ValuesAreTheRoundedMasterWeights) {
  WeightStore wide;
  WeightStore narrow;
  fill(wide, at::kFloat);
  fill(narrow, at::kBFloat16);
  AdamW wide_optimizer(wide, make_config());
  AdamW narrow_optimizer(narrow, make_config());
  for (int step = 0; step < 5; ++step) {
    set_gradients(wide, step);
    set_gradients(narrow, step);
    wide_optimizer.step(1e-4, 0.5);
    narrow_optimizer.step(1e-4, 0.5);
  }
  EXPECT_TRUE(at::equal(narrow.master(), wide.master()));  // small updates are not lost
  EXPECT_EQ(narrow.values().scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(narrow.values(), wide.master().to(at::kBFloat16)));
}

TEST(AdamW, ContinuesFromSavedMoments) {
  WeightStore whole;
  WeightStore halves;
  fill(whole, at::kFloat);
  fill(halves, at::kFloat);
  const OptimizerConfig config = make_config();
  AdamW uninterrupted(whole, config);
  AdamW first(halves, config);
  AdamW second(halves, config);
  for (int step = 0; step < 8; ++step) {
    set_gradients(whole, step);
    set_gradients(halves, step);
    uninterrupted.step(1e-2);
    if (step == 4) {
      second.exp_avg().copy_(first.exp_avg());
      second.exp_avg_sq().copy_(first.exp_avg_sq());
      second.set_num_steps(first.num_steps());
    }
    (step < 4 ? first : second).step(1e-2);
  }
  EXPECT_TRUE(at::equal(whole.master(), halves.master()));
}

TEST(AdamW, RefusesAScaleThatIsNoNumber) {
  WeightStore store;
  fill(store, at::kFloat);
  AdamW optimizer(store, make_config());
  EXPECT_THROW(optimizer.step(1e-3, NAN), std::logic_error);
  EXPECT_THROW(optimizer.step(1e-3, 0.0), std::logic_error);
}

}  // namespace
}  // namespace cuboid
