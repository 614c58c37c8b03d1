// Owner types and checks for the CUDA runtime. Nothing here is called on a machine without a GPU.
#pragma once

#include <cuda_runtime_api.h>

#include <source_location>

#include "cuboid/base/buffer.hpp"
#include "cuboid/base/handle.hpp"

namespace cuboid {

// Throws SystemError with CUDA's own text when `code` is not cudaSuccess.
void check_cuda(cudaError_t code, std::source_location where = std::source_location::current());

struct CudaStreamTraits {
  using Type = cudaStream_t;
  static Type null() { return nullptr; }
  static void release(Type stream) noexcept;
};
using CudaStream = Handle<CudaStreamTraits>;

struct CudaEventTraits {
  using Type = cudaEvent_t;
  static Type null() { return nullptr; }
  static void release(Type event) noexcept;
};
using CudaEvent = Handle<CudaEventTraits>;

// A stream of the current device that does not wait for the legacy default stream, nor it for this.
CudaStream make_cuda_stream();
// An event without a time stamp: for ordering only.
CudaEvent make_cuda_event();
// True once everything recorded in the event has finished.
bool is_complete(const CudaEvent& event);

// Whether what the stream is given goes into a graph instead of being done.
bool is_capturing(cudaStream_t stream);

// Copies elements between buffers of one place; of equal count and dtype. Between device buffers
// in the order of `stream`, not waited for. Nothing where both are the same memory.
void copy_elements(ConstBuffer from, Buffer to, cudaStream_t stream);

}  // namespace cuboid
