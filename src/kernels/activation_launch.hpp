// Launching the GPU's activations (activation.cu). Free of LibTorch, so that nvcc reads it.
#pragma once

#include <cstdint>

#include "column_sums_launch.hpp"
#include "cuboid/base/dtype.hpp"

namespace cuboid::detail {

// Pointers to elements of `type`, fp32 or bf16; tensors [rows, width], contiguous.
// Asynchronous on `stream` (a cudaStream_t); throw SystemError.

// inner += bias [width] in place, unless it is null; activated = gelu(inner).
struct BiasGeluLaunch {
  DType type;
  std::int64_t rows, width;
  void* inner;
  const void* bias;
  void* activated;
};
void launch_bias_gelu(const BiasGeluLaunch& launch, void* stream);

// gradient *= gelu'(inner) in place; partial [num_chunks(rows), width]: its column sums, or null.
struct GeluBackwardLaunch {
  DType type;
  std::int64_t rows, width;
  void* gradient;
  const void* inner;
  float* partial;
};
void launch_gelu_backward(const GeluBackwardLaunch& launch, void* stream);

// inner [rows, 2 * width], gate and up side by side.
struct SwigluLaunch {
  DType type;
  std::int64_t rows, width;
  const void* inner;
  void* activated;  // of launch_swiglu: silu(gate) * up
  // Of launch_swiglu_backward:
  const void* d_activated;
  void* d_inner;  // [rows, 2 * width]
};
void launch_swiglu(const SwigluLaunch& launch, void* stream);
void launch_swiglu_backward(const SwigluLaunch& launch, void* stream);

// x [sequences, seq, heads, head_dim] with these strides (in elements; the last is 1), in place:
// dims i and i + half of a head turn by the angle of (position, i). cosines, sines [seq, half].
struct RotateLaunch {
  DType type;
  std::int64_t sequences, seq_length, heads, half;
  std::int64_t sequence_stride, position_stride, head_stride;
  void* x;
  const float *cosines, *sines;
  bool forwards;
};
void launch_rotate(const RotateLaunch& launch, void* stream);

}  // namespace cuboid::detail
