// Launching the GPU's norms (norm.cu). Free of LibTorch, so that nvcc reads it.
#pragma once

#include <cstdint>

#include "cuboid/base/dtype.hpp"

namespace cuboid::detail {

// Pointers to elements of `type`; [rows, width] or [width], contiguous; null where not wanted.
struct AddNormLaunch {
  DType type;
  bool has_mean;  // LayerNorm; otherwise RMSNorm
  std::int64_t rows, width;
  float epsilon;
  const void *residual, *delta, *delta_bias, *weight, *bias;
  void *sum, *normalized;  // sum: unused without delta; may be delta
  float *mean, *rstd;      // [rows]
};

struct AddNormBackwardLaunch {
  DType type;
  bool has_mean;
  std::int64_t rows, width;
  const void *dy, *sum, *weight, *d_residual;
  const float *mean, *rstd;
  void* d_sum;  // may be d_residual
  // [norm_parts(launch), width] each
  float *weight_partial, *bias_partial, *delta_bias_partial;
};

// Whether a block's threads can hold rows of this width in their registers: 8192 elements, or 2048
// where vectors of 16 bytes do not fit them. Other rows are LibTorch's.
bool norm_fits(const AddNormLaunch& launch);
bool norm_fits(const AddNormBackwardLaunch& launch);

// How many partial sums a backward pass leaves for each column, at most one for each row.
std::int64_t norm_parts(const AddNormBackwardLaunch& launch);

// Asynchronous on `stream` (a cudaStream_t); throw SystemError.
void launch_add_norm(const AddNormLaunch& launch, void* stream);
void launch_add_norm_backward(const AddNormBackwardLaunch& launch, void* stream);

}  // namespace cuboid::detail
