#include "reduction.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <type_traits>

#include "cuboid/base/error.hpp"
#include "cuboid/collective/bfloat16.hpp"

namespace cuboid {
namespace {

// One block of the accumulator stays in the first-level cache while all parts are added to it.
constexpr std::int64_t kBlock = 2048;

struct Bfloat16 {
  std::uint16_t bits;
};

template <typename T>
struct Accumulator {
  using Type = T;
};
template <>
struct Accumulator<Bfloat16> {
  using Type = float;
};

template <typename T>
T widen(T value) {
  return value;
}
float widen(Bfloat16 value) {
  return float_of_bfloat16(value.bits);
}

void narrow(float value, Bfloat16& out) {
  out.bits = bfloat16_of_float(value);
}
template <typename T>
void narrow(T value, T& out) {
  out = value;
}

template <typename T>
bool is_nan(T value) {
  if constexpr (std::is_floating_point_v<T>) return std::isnan(value);
  return false;
}

template <ReduceOp op, typename T>
T combine(T a, T b) {
  // std::max would drop a NaN or keep it by the order of its arguments.
  if constexpr (op == ReduceOp::kSum) return a + b;
  if constexpr (op == ReduceOp::kMax) return (a > b) | is_nan(a) ? a : b;
  if constexpr (op == ReduceOp::kMin) return (a < b) | is_nan(a) ? a : b;
}

template <typename T, ReduceOp op>
[[gnu::always_inline]] inline void reduce_typed(std::span<const void* const> parts, void* out,
                                                std::int64_t count) {
  using Wide = typename Accumulator<T>::Type;
  std::array<Wide, kBlock> sums;
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    const std::int64_t length = std::min(kBlock, count - begin);
    const T* first = static_cast<const T*>(parts.front()) + begin;
    for (std::int64_t i = 0; i < length; ++i) sums[i] = widen(first[i]);
    for (const void* part : parts.subspan(1)) {
      const T* next = static_cast<const T*>(part) + begin;
      for (std::int64_t i = 0; i < length; ++i)
        sums[i] = combine<op, Wide>(sums[i], widen(next[i]));
    }
    T* result = static_cast<T*>(out) + begin;
    for (std::int64_t i = 0; i < length; ++i) narrow(sums[i], result[i]);
  }
}

template <typename T>
[[gnu::always_inline]] inline void reduce_by(ReduceOp op, std::span<const void* const> parts,
                                             void* out, std::int64_t count) {
  switch (op) {
    case ReduceOp::kSum: return reduce_typed<T, ReduceOp::kSum>(parts, out, count);
    case ReduceOp::kMax: return reduce_typed<T, ReduceOp::kMax>(parts, out, count);
    case ReduceOp::kMin: return reduce_typed<T, ReduceOp::kMin>(parts, out, count);
  }
}

// Compiled twice, with all that is inlined, and chosen when the program starts: with AVX2 bf16 is
// twice as fast.
[[gnu::target_clones("avx2", "default")]] void reduce_any(DType dtype, ReduceOp op,
                                                          std::span<const void* const> parts,
                                                          void* out, std::int64_t count) {
  switch (dtype) {
    case DType::kFloat32: return reduce_by<float>(op, parts, out, count);
    case DType::kFloat64: return reduce_by<double>(op, parts, out, count);
    case DType::kBFloat16: return reduce_by<Bfloat16>(op, parts, out, count);
    case DType::kInt64: return reduce_by<std::int64_t>(op, parts, out, count);
    case DType::kUInt8: return;
  }
}

}  // namespace

void reduce_parts(DType dtype, ReduceOp op, std::span<const void* const> parts, void* out,
                  std::int64_t count) {
  require(!parts.empty(), "a reduction has parts");
  require(dtype != DType::kUInt8, "uint8 is moved, never reduced");
  reduce_any(dtype, op, parts, out, count);
}

}  // namespace cuboid
