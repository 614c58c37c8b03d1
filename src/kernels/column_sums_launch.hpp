// Sums over rows on a GPU, in two kernels and in a fixed order: blocks leave partial sums, and
// these are added up. Free of LibTorch, so that nvcc reads it.
#pragma once

#include <cstdint>

#include "cuboid/base/dtype.hpp"
#include "cuboid/base/host_device.hpp"

namespace cuboid::detail {

// `parts` rows of `width` partial sums, and where their sum goes: over what is there, or added.
struct PartialSums {
  const float* partial = nullptr;  // null: nothing to do
  float* target = nullptr;
  bool accumulate = false;
};

// Rows that one block of threads takes, of a tensor with so many: a function of the shape alone, so
// that the same sums come out on every device.
CUBOID_HOST_DEVICE constexpr std::int64_t rows_of_chunk(std::int64_t rows) {
  constexpr std::int64_t kMinRows = 32;
  constexpr std::int64_t kMaxChunks = 128;
  const std::int64_t even = (rows + kMaxChunks - 1) / kMaxChunks;
  return even < kMinRows ? kMinRows : (even + 7) / 8 * 8;
}
constexpr std::int64_t num_chunks(std::int64_t rows) {
  return (rows + rows_of_chunk(rows) - 1) / rows_of_chunk(rows);
}

// Asynchronous on `stream` (a cudaStream_t); throw SystemError.
// Up to three sums of the same shape [parts, width].
void launch_add_partials(const PartialSums (&sums)[3], std::int64_t parts, std::int64_t width,
                         void* stream);
// partial [num_chunks(rows), width] of x [rows, width], fp32 or bf16.
void launch_column_sums(DType type, const void* x, std::int64_t rows, std::int64_t width,
                        float* partial, void* stream);

}  // namespace cuboid::detail
