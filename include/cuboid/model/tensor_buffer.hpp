// LibTorch tensors as the buffers that communicators and files move.
#pragma once

#include <ATen/core/Tensor.h>

#include "cuboid/base/buffer.hpp"
#include "cuboid/collective/communicator.hpp"

namespace cuboid {

DType dtype_of(at::ScalarType type);
at::ScalarType scalar_type_of(DType dtype);

// The tensor's elements; it must be contiguous and outlive the buffer. An undefined tensor is
// empty.
Buffer buffer_of(const at::Tensor& tensor);

// A tensor, with undefined values, for a product that is summed over `tp` at once: on the CPU in
// the communicator's workspace, so it must be used up before the next but one. Collective over tp.
at::Tensor empty_to_reduce(Communicator& tp, at::IntArrayRef shape,
                           const at::TensorOptions& options);
// Whether empty_to_reduce() gives out the workspace.
inline bool reduces_in_workspace(const Communicator& tp, const at::Tensor& like) {
  return tp.size() > 1 && like.is_cpu();
}

}  // namespace cuboid
