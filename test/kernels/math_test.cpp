// ranks: 1
// The kernels' own exponential, GELU and bf16 over the whole range of fp32, against fp64.
#include "cuboid/kernels/math.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "cuboid/collective/bfloat16.hpp"
#include "cuboid/kernels/clones.hpp"

namespace cuboid {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The loops once as every processor runs them, and once as this one does (with FMA, mostly).
template <typename Function>
void map_plain(const std::vector<float>& x, std::vector<float>& y, Function function) {
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = function(x[i]);
}
CUBOID_CLONES void map_exp(const float* x, float* y, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) y[i] = detail::exp(x[i]);
}
CUBOID_CLONES void map_exp_of_negative(const float* x, float* y, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) y[i] = detail::exp_of_negative(x[i]);
}
CUBOID_CLONES void map_gelu(const float* x, float* y, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) y[i] = detail::gelu(x[i]);
}
CUBOID_CLONES void map_gelu_slope(const float* x, float* y, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) y[i] = detail::gelu_slope(x[i]);
}

// Every 1009th number of fp32, subnormals, infinities and NaNs included, and the neighbourhood of
// where results stop being normal or finite.
std::vector<float> numbers() {
  std::vector<float> all;
  for (std::uint64_t bits = 0; bits <= 0xFFFFFFFFULL; bits += 1009)
    all.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  for (const float centre : {-104.0F, -103.972F, -87.3365F, 0.0F, 88.7228F, 89.0F})
    for (int i = -1000; i <= 1000; ++i) all.push_back(centre + static_cast<float>(i) * 1e-5F);
  for (const double x : {kInfinity, -kInfinity}) all.push_back(static_cast<float>(x));
  return all;
}

// Distance in units of the last place that `want` has in fp32.
double ulps(float got, double want) {
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) && std::isnan(got) ? 0 : 1e9;
  if (static_cast<double>(got) == want) return 0;
  const auto nearest = static_cast<float>(want);
  if (std::isinf(got) || std::isinf(nearest)) return got == nearest ? 0 : 1e9;
  int exponent = 0;
  (void)std::frexp(want, &exponent);
  return std::abs(static_cast<double>(got) - want) / std::ldexp(1.0, std::max(exponent - 24, -149));
}

double worst_exp(const std::vector<float>& x, const std::vector<float>& y) {
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    worst = std::max(worst, ulps(y[i], std::exp(static_cast<double>(x[i]))));
  return worst;
}

TEST(Math, ExponentialIsWithinOneUnitOfTheLastPlace) {
  const std::vector<float> x = numbers();
  std::vector<float> y(x.size());
  map_plain(x, y, [](float value) { return detail::exp(value); });
  EXPECT_LE(worst_exp(x, y), 1.1);
  map_exp(x.data(), y.data(), x.size());
  EXPECT_LE(worst_exp(x, y), 1.1);
}

TEST(Math, ExponentialOfNegativesHasNoSubnormals) {
  std::vector<float> x = numbers();
  std::erase_if(x, [](float value) { return value > 0.0F; });
  std::vector<float> plain(x.size());
  std::vector<float> vectors(x.size());
  map_plain(x, plain, [](float value) { return detail::exp_of_negative(value); });
  map_exp_of_negative(x.data(), vectors.data(), x.size());
  for (const std::vector<float>& y : {plain, vectors}) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double want = std::exp(static_cast<double>(x[i]));
      const bool is_subnormal = want < 0x1p-126;
      ASSERT_LE(ulps(y[i], is_subnormal && y[i] == 0.0F ? 0.0 : want), 1.1) << x[i];
    }
  }
}

struct Exact {
  double value, size;  // size: of what it is the sum of
};

double exact_inner(double x) {
  return 1.5957691216057308 * (x + 0.044715 * x * x * x);
}

Exact exact_gelu(double x) {
  const double value = x / (1 + std::exp(-exact_inner(x)));
  return {value, std::abs(value)};
}

Exact exact_gelu_slope(double x) {
  const double t = exact_inner(x);
  const double sigmoid = 1 / (1 + std::exp(-t));
  const double rest = 1 / (1 + std::exp(t));
  const double other = x * sigmoid * rest * 1.5957691216057308 * (1 + 3 * 0.044715 * x * x);
  return {sigmoid + other, sigmoid + std::abs(other)};
}

// t is off by a few roundings, which the exponential multiplies by t.
void check_gelu(const std::vector<float>& x, const std::vector<float>& y, Exact (*exact)(double)) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!(std::abs(x[i]) < 1e3F)) continue;
    const auto [want, size] = exact(x[i]);
    const double t = std::min(88.0, std::abs(exact_inner(x[i])));
    // Beyond t = -87 the sigmoid stays at 1e-38, which the slope of t multiplies.
    const double allowed = 0x1p-23 * size * (2 + 3 * t) + 1e-28;
    ASSERT_NEAR(y[i], want, allowed) << "at " << x[i];
  }
}

TEST(Math, GeluAndItsSlope) {
  const std::vector<float> x = numbers();
  std::vector<float> y(x.size());
  map_gelu(x.data(), y.data(), x.size());
  check_gelu(x, y, exact_gelu);
  map_plain(x, y, [](float value) { return detail::gelu(value); });
  check_gelu(x, y, exact_gelu);
  map_gelu_slope(x.data(), y.data(), x.size());
  check_gelu(x, y, exact_gelu_slope);
}

TEST(Math, SigmoidAndItsRestAddUpToOne) {
  for (float x = -200; x <= 200; x += 0.37F) {
    const auto [value, rest] = detail::sigmoid(x);
    const double want = 1 / (1 + std::exp(static_cast<double>(-x)));
    EXPECT_NEAR(value, want, 0x1p-22 * want + 1e-37) << x;
    EXPECT_NEAR(rest, 1 / (1 + std::exp(static_cast<double>(x))), 0x1p-22) << x;
    EXPECT_GE(rest, 0.0F);
  }
  EXPECT_TRUE(std::isnan(detail::sigmoid(std::nanf("")).value));
}

TEST(Math, Bfloat16RoundsAsEverywhere) {
  for (const float x : numbers()) {
    const auto got = detail::narrow<detail::Bfloat16>(x);
    if (std::isnan(x)) {
      ASSERT_TRUE(std::isnan(detail::widen(got)));
    } else {
      ASSERT_EQ(static_cast<std::uint16_t>(got), bfloat16_of_float(x)) << x;
      ASSERT_EQ(detail::widen(got), float_of_bfloat16(bfloat16_of_float(x))) << x;
    }
  }
}

}  // namespace
}  // namespace cuboid
