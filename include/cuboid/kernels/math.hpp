// What loops of the kernels do with one number, written so that the compiler makes vectors of it:
// no branches, no calls. Everything is inlined into functions with CUBOID_CLONES.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

namespace cuboid::detail {

// The bits of a bf16 number in memory. Not a struct: g++ 12 makes no vectors of those.
enum class Bfloat16 : std::uint16_t {};

// What a type is computed in.
template <typename T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

[[gnu::always_inline]] inline float widen(float x) {
  return x;
}
[[gnu::always_inline]] inline double widen(double x) {
  return x;
}
[[gnu::always_inline]] inline float widen(Bfloat16 x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x) << 16);
}

// Rounds to the nearest, ties to even; a NaN becomes the common one, before its bits are added to.
template <typename T>
[[gnu::always_inline]] inline T narrow(Wide<T> x) {
  if constexpr (std::is_same_v<T, Bfloat16>) {
    const auto bits =
        std::bit_cast<std::uint32_t>(__builtin_isnan(x) ? std::bit_cast<float>(0x7FC00000U) : x);
    return static_cast<Bfloat16>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
  } else {
    return x;
  }
}

// e^x = 2^n e^r with |r| <= ln(2) / 2, and the polynomial of Cephes' expf for e^r.
struct Exponential {
  std::int32_t n;
  float e_r;
};
[[gnu::always_inline]] inline Exponential exp_parts(float x) {
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: the sum has no room for a fraction
  const float shifted = x * 1.44269504F + kRound;
  const float n = shifted - kRound;
  // ln(2) in two parts, the first short enough for an exact product.
  const float r = (x - n * 0.693359375F) - n * -2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  return {std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(kRound),
          (p * (r * r) + r) + 1.0F};
}
// 2^n, -127 < n < 128
[[gnu::always_inline]] inline float power_of_2(std::int32_t n) {
  return std::bit_cast<float>((n + 127) << 23);
}

// e^x to 1 unit in the last place (test/kernels/math_test.cpp), down to the smallest subnormal
// number and up to infinity.
[[gnu::always_inline]] inline float exp(float x) {
  constexpr float kHighest = 89.0F;  // infinite from here
  constexpr float kLowest = -104.0F;
  x = x > kHighest ? kHighest : x;  // a NaN passes both
  x = x < kLowest ? kLowest : x;
  const Exponential parts = exp_parts(x);
  // Two factors: 2^n itself may lie outside of the normal numbers.
  const std::int32_t half = parts.n >> 1;
  return parts.e_r * power_of_2(half) * power_of_2(parts.n - half);
}
[[gnu::always_inline]] inline double exp(double x) {
  return std::exp(x);
}

// The same for x <= 0 (or NaN) with less work: what would be subnormal is 0. For softmax.
[[gnu::always_inline]] inline float exp_of_negative(float x) {
  constexpr float kLowest = -87.33654F;
  const Exponential parts = exp_parts(x < kLowest ? kLowest : x);
  const float y = parts.e_r * power_of_2(parts.n);
  return x < kLowest ? 0.0F : y;
}
[[gnu::always_inline]] inline double exp_of_negative(double x) {
  return std::exp(x);
}

// e^-x for 1 / (1 + e^-x). It stays between e^-87 and e^87: to the right the sum is 1 anyway, to
// the left e^-x would overflow, and 0 * infinity is not a number.
[[gnu::always_inline]] inline float exp_for_sigmoid(float x) {
  constexpr float kLimit = 87.0F;
  x = x < -kLimit ? -kLimit : x;
  x = x > kLimit ? kLimit : x;
  const Exponential parts = exp_parts(-x);
  return parts.e_r * power_of_2(parts.n);
}
[[gnu::always_inline]] inline double exp_for_sigmoid(double x) {
  constexpr double kLimit = 700.0;
  return std::exp(-(x < -kLimit ? -kLimit : x));
}

// x / (1 + e^-t)
template <typename W>
[[gnu::always_inline]] inline W times_sigmoid(W x, W t) {
  return x / (W(1) + exp_for_sigmoid(t));
}

// 1 / (1 + e^-x), and what is missing to 1: both without cancellation, for gradients.
template <typename W>
struct Sigmoid {
  W value, rest;
};
template <typename W>
[[gnu::always_inline]] inline Sigmoid<W> sigmoid(W x) {
  const W e = exp_for_sigmoid(x);
  const W value = W(1) / (W(1) + e);
  return {value, e * value};
}

// GELU's tanh form is x sigmoid(t) with t = 2 sqrt(2 / pi) (x + 0.044715 x^3): one exponential, and
// no 1 + tanh, which cancels on the left.
template <typename W>
struct GeluInner {
  W value, slope;  // t and dt/dx
};
template <typename W>
[[gnu::always_inline]] inline GeluInner<W> gelu_inner(W x) {
  constexpr W kLinear = W(1.5957691216057307);
  constexpr W kCubic = W(1.5957691216057307 * 0.044715);
  const W square = x * x;
  return {x * (kLinear + kCubic * square), kLinear + W(3) * kCubic * square};
}

template <typename W>
[[gnu::always_inline]] inline W gelu(W x) {
  return times_sigmoid(x, gelu_inner(x).value);
}
template <typename W>
[[gnu::always_inline]] inline W gelu_slope(W x) {
  const GeluInner<W> inner = gelu_inner(x);
  const Sigmoid<W> s = sigmoid(inner.value);
  return s.value + x * s.value * s.rest * inner.slope;
}

}  // namespace cuboid::detail
