// What the host kernels share: dispatch over types, and column sums in a fixed order.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <c10/util/BFloat16.h>

#include <algorithm>
#include <cstdint>

#include "cuboid/base/error.hpp"
#include "cuboid/kernels/gradient_target.hpp"
#include "cuboid/kernels/math.hpp"

namespace cuboid::detail {

template <typename T>
inline constexpr at::ScalarType kScalarType =
    std::is_same_v<T, double> ? at::kDouble
                              : (std::is_same_v<T, float> ? at::kFloat : at::kBFloat16);

// Null for an undefined tensor.
template <typename T>
T* mutable_data(const at::Tensor& x) {
  if (!x.defined()) return nullptr;
  require(x.scalar_type() == kScalarType<T> && x.is_contiguous() && x.is_cpu(),
          "a host kernel's tensors are contiguous, of one type and on the host");
  return static_cast<T*>(x.mutable_data_ptr());
}
template <typename T>
const T* data(const at::Tensor& x) {
  return mutable_data<T>(x);
}

// Calls function.template operator()<T>() for the type of x.
template <typename Function>
auto for_type(const at::Tensor& x, Function&& function) {
  switch (x.scalar_type()) {
    case at::kFloat: return function.template operator()<float>();
    case at::kDouble: return function.template operator()<double>();
    case at::kBFloat16: return function.template operator()<Bfloat16>();
    default: throw std::logic_error("kernels take fp32, bf16 and fp64");
  }
}

// Rows for one thread at least: below, starting a second one costs more than it saves.
inline std::int64_t grain_rows(std::int64_t width) {
  constexpr std::int64_t kElements = 16384;
  return std::max<std::int64_t>(1, kElements / std::max<std::int64_t>(1, width));
}

// Sums over rows, taken in blocks of rows that depend on the number of rows only: each block adds
// up its own, one after the other, and the blocks are added in their order. So no number of threads
// changes a bit. `columns` are all sums of one row together.
class ColumnSums {
 public:
  ColumnSums(std::int64_t rows, std::int64_t columns, at::ScalarType type);

  [[nodiscard]] std::int64_t num_blocks() const { return num_blocks_; }
  [[nodiscard]] std::int64_t begin(std::int64_t block) const { return block * block_rows_; }
  [[nodiscard]] std::int64_t end(std::int64_t block) const {
    return std::min(rows_, (block + 1) * block_rows_);
  }
  // [columns], undefined until its block's first row has written it.
  template <typename W>
  [[nodiscard]] W* of_block(std::int64_t block) const {
    return mutable_data<W>(partial_) + block * columns_;
  }
  // Adds up the blocks' columns [first, first + n) into a target of n elements.
  void deliver(std::int64_t first, const GradientTarget& target) const;

  // Runs body(block) for all blocks, on as many threads as they are worth.
  template <typename Body>
  void for_blocks(Body&& body) const {
    const std::int64_t grain = std::max<std::int64_t>(1, grain_rows(columns_) / block_rows_);
    at::parallel_for(0, num_blocks_, grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t block = begin; block < end; ++block) body(block);
    });
  }

 private:
  std::int64_t rows_, columns_, block_rows_, num_blocks_;
  at::Tensor partial_;  // [num_blocks, columns]
};

}  // namespace cuboid::detail
