// A view of contiguous elements in host or device memory: what communicators and files move.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>

#include "cuboid/base/dtype.hpp"

namespace cuboid {

enum class Place : unsigned char { kHost, kDevice };

// Owns nothing. `count` elements of `dtype` at `data`; `data` may be null where count is 0.
template <typename Void>
struct BasicBuffer {
  Void* data = nullptr;
  std::int64_t count = 0;
  DType dtype = DType::kFloat32;
  Place place = Place::kHost;

  [[nodiscard]] std::size_t bytes() const {
    return static_cast<std::size_t>(count) * size_of(dtype);
  }
  // A buffer that may be written can be read.
  operator BasicBuffer<const void>() const { return {data, count, dtype, place}; }
};

using Buffer = BasicBuffer<void>;
using ConstBuffer = BasicBuffer<const void>;

template <typename T>
constexpr DType dtype_for();
template <>
constexpr DType dtype_for<float>() {
  return DType::kFloat32;
}
template <>
constexpr DType dtype_for<double>() {
  return DType::kFloat64;
}
template <>
constexpr DType dtype_for<std::int64_t>() {
  return DType::kInt64;
}
template <>
constexpr DType dtype_for<std::uint8_t>() {
  return DType::kUInt8;
}

// A host span as a buffer.
template <typename T>
Buffer buffer_of(std::span<T> values) {
  return {values.data(), static_cast<std::int64_t>(values.size()), dtype_for<T>(), Place::kHost};
}
// One host value as a buffer of one element.
template <typename T>
  requires std::is_arithmetic_v<T>
Buffer buffer_of(T& value) {
  return {&value, 1, dtype_for<T>(), Place::kHost};
}

// The `part`-th slice [begin, begin + count) of a buffer.
template <typename Void>
BasicBuffer<Void> slice(BasicBuffer<Void> buffer, std::int64_t begin, std::int64_t count) {
  using Byte = std::conditional_t<std::is_const_v<Void>, const std::byte, std::byte>;
  auto* start =
      static_cast<Byte*>(buffer.data) + static_cast<std::size_t>(begin) * size_of(buffer.dtype);
  return {start, count, buffer.dtype, buffer.place};
}

}  // namespace cuboid
