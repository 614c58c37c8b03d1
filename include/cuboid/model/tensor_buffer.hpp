// LibTorch tensors as the buffers that communicators and files move.
#pragma once

#include <ATen/core/Tensor.h>

#include "cuboid/base/buffer.hpp"

namespace cuboid {

DType dtype_of(at::ScalarType type);
at::ScalarType scalar_type_of(DType dtype);

// The tensor's elements; it must be contiguous and outlive the buffer. An undefined tensor is
// empty.
Buffer buffer_of(const at::Tensor& tensor);

}  // namespace cuboid
