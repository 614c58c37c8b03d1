// What the CUDA kernels share: vectors of 16 bytes, sums over warps, launching. Read by nvcc; and
// by g++ in test/kernels, where an emulator runs the same sources on the host.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "cuboid/base/dtype.hpp"
#include "cuboid/base/error.hpp"

namespace cuboid::device {

using Bf16 = __nv_bfloat16;
inline constexpr int kWarp = 32;
// A number as a type, for kernels that are compiled for several.
template <int N>
using Constant = std::integral_constant<int, N>;

// Elements of T in the widest load that there is.
template <typename T>
inline constexpr int kVector = 16 / static_cast<int>(sizeof(T));

__device__ inline float widen(float x) {
  return x;
}
__device__ inline float widen(Bf16 x) {
  return __bfloat162float(x);
}
// Rounded to the nearest number of type T.
template <typename T>
__device__ inline T narrow(float x) {
  if constexpr (sizeof(T) == 2) {
    return __float2bfloat16_rn(x);
  } else {
    return x;
  }
}

// N elements as one access: 1, or kVector<T> at an address that 16 divides.
template <int N, typename T>
__device__ inline void load(float (&to)[N], const T* from) {
  if constexpr (N == 1) {
    to[0] = widen(*from);
  } else {
    static_assert(N == kVector<T>);
    const int4 bits = *reinterpret_cast<const int4*>(from);
    T values[N];
    memcpy(static_cast<void*>(values), &bits, sizeof(bits));
#pragma unroll
    for (int i = 0; i < N; ++i) to[i] = widen(values[i]);
  }
}
template <int N, typename T>
__device__ inline void store(T* to, const float (&from)[N]) {
  if constexpr (N == 1) {
    *to = narrow<T>(from[0]);
  } else {
    T values[N];
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = narrow<T>(from[i]);
    int4 bits;
    memcpy(&bits, static_cast<const void*>(values), sizeof(bits));
    *reinterpret_cast<int4*>(to) = bits;
  }
}

// e^x to about 2 units in the last place near 0, and to 2^-16 where the result is tiny.
__device__ inline float fast_exp(float x) {
#ifdef __CUDA_ARCH__
  return __expf(x);
#else
  return std::exp(x);
#endif
}

// Every lane gets the same bits: both partners of a step add the same two numbers.
template <typename W>
__device__ inline W warp_sum(W x) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    x += __shfl_xor_sync(0xFFFFFFFFU, x, distance);
  return x;
}

// Whether a type's vectors fit rows of `width` elements at these addresses (null fits).
template <typename T, typename... Pointers>
bool has_vectors(std::int64_t width, const Pointers*... pointers) {
  const auto fits = [](const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; };
  return width % kVector<T> == 0 && (fits(pointers) && ...);
}

template <typename Int>
constexpr Int divide_up(Int a, Int b) {
  return (a + b - 1) / b;
}

// Runs kernel(arguments...) on `stream`, a cudaStream_t. `name` is for errors.
template <typename Kernel, typename... Arguments>
void launch(const char* name, Kernel kernel, dim3 grid, dim3 block, void* stream,
            const Arguments&... arguments) {
  if (grid.x == 0 || grid.y == 0) return;
#ifdef __CUDACC__
  kernel<<<grid, block, 0, static_cast<cudaStream_t>(stream)>>>(arguments...);
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess)
    throw SystemError(std::string("CUDA: kernel ") + name + ": " + cudaGetErrorString(error));
#else
  emulator::run(name, grid, block, stream, [&] { kernel(arguments...); });
#endif
}

// Calls function(T{}) for a type that the kernels know.
template <typename Function>
void for_type(DType type, Function&& function) {
  require(type == DType::kFloat32 || type == DType::kBFloat16, "GPU kernels take fp32 and bf16");
  type == DType::kFloat32 ? function(float{}) : function(Bf16{});
}

// Calls function(Constant<elements of an access>).
template <typename T, typename Function>
void for_vector(bool vectors, Function&& function) {
  vectors ? function(Constant<kVector<T>>{}) : function(Constant<1>{});
}

}  // namespace cuboid::device
