// The device side of dropout: one thread makes one Philox block, that is four elements.
#include <cuda_bf16.h>

#include "cuboid/base/error.hpp"
#include "cuboid/model/dropout_launch.hpp"

namespace cuboid::detail {
namespace {

template <typename T>
__global__ void drop(T* x, DropoutLaunch launch) {
  const std::int64_t blocks = (launch.elements_per_sequence + 3) / 4;
  const std::int64_t index = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= launch.num_sequences * blocks) return;
  const std::int64_t sequence = index / blocks;
  const std::int64_t block = index % blocks;
  const PhiloxBlock random = philox(launch.key.seed, dropout_stream(launch.key, sequence),
                                    static_cast<std::uint64_t>(block));
  T* values = x + sequence * launch.elements_per_sequence + block * 4;
  const std::int64_t lanes = min(std::int64_t{4}, launch.elements_per_sequence - block * 4);
  for (std::int64_t lane = 0; lane < lanes; ++lane) {
    const float value = static_cast<float>(values[lane]);
    values[lane] = random.word[lane] < launch.threshold ? T(0.0F) : T(value * launch.scale);
  }
}

template <typename T>
void launch_on(T* x, const DropoutLaunch& launch, void* stream) {
  constexpr int kThreads = 256;
  const std::int64_t blocks = launch.num_sequences * ((launch.elements_per_sequence + 3) / 4);
  const auto grid = static_cast<unsigned>((blocks + kThreads - 1) / kThreads);
  drop<<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(x, launch);
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) {
    throw SystemError(std::string("CUDA dropout kernel: ") + cudaGetErrorString(error));
  }
}

}  // namespace

void launch_dropout(float* x, const DropoutLaunch& launch, void* stream) {
  launch_on(x, launch, stream);
}

void launch_dropout_bf16(void* x, const DropoutLaunch& launch, void* stream) {
  launch_on(static_cast<__nv_bfloat16*>(x), launch, stream);
}

}  // namespace cuboid::detail
