// Sums of squares over parts of a flat buffer on a GPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "cuboid/grid/shape.hpp"

namespace cuboid {

// fp64 [1] on the device of `flat` (fp32, contiguous, of one dim): two kernels for up to 64 ranges,
// fixed blocks added up in a fixed order. Nothing waits for the device.
at::Tensor sum_of_squares_on_device(const at::Tensor& flat, std::span<const Range> ranges);

}  // namespace cuboid
