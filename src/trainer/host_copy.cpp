#include "cuboid/trainer/host_copy.hpp"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <cuda_runtime_api.h>

#include <utility>

namespace cuboid {

at::Tensor host_copy_of(const at::Tensor& of, std::int64_t count) {
  at::Tensor memory = at::zeros({count}, of.options().device(at::kCPU));
  return of.is_cuda() ? lock_pages(std::move(memory)) : memory;
}

// Not LibTorch's pinned memory, which is rounded up to a power of two: up to twice a whole state.
at::Tensor lock_pages(at::Tensor memory) {
  if (memory.nbytes() == 0) return memory;
  void* const begin = memory.data_ptr();
  if (cudaHostRegister(begin, memory.nbytes(), cudaHostRegisterPortable) != cudaSuccess) {
    cudaGetLastError();
    return memory;
  }
  const at::IntArrayRef shape = memory.sizes();
  const auto options = memory.options();
  return at::from_blob(
      begin, shape, [memory](void* locked) { cudaHostUnregister(locked); }, options);
}

}  // namespace cuboid
