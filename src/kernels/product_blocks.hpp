// Products of matrices on the host, in blocks that fit the caches and tiles that fit the registers;
// src/kernels/product.cpp says when.
#pragma once

#include <cstdint>

#include "cuboid/kernels/math.hpp"
#include "instruction_set.hpp"

namespace cuboid::detail {

// Element (i, j) at data[i * row_stride + j * column_stride]; one of the strides is 1.
template <typename T>
struct MatrixView {
  const T* data;
  std::int64_t row_stride, column_stride;
};

// c [m, n] = a [m, k] b [k, n], plus c where `accumulate`, or plus bias [n] in every row where that
// is not null. c is contiguous and overlaps with nothing. Factors are fp32 or bf16, sums are fp32;
// where c_bf16 is not null they are rounded into it, once, and c is not used.
template <typename T>
struct HostProduct {
  std::int64_t m, k, n;
  MatrixView<T> a, b;
  float* c;
  const float* bias;
  bool accumulate;  // not into c_bf16
  Bfloat16* c_bf16 = nullptr;
};

// On as many threads as it is worth. Every number is summed by one thread, in blocks of steps that
// depend on nothing, so no number of threads changes a bit. T: float, Bfloat16.
template <typename T>
void multiply_blocks(const HostProduct<T>& product, InstructionSet set);

}  // namespace cuboid::detail
