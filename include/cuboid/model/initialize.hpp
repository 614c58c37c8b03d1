// Initial weights as a pure function of (seed, name, element index), so that every grid starts from
// the same bits and no rank ever holds more than its slice.
#pragma once

#include <ATen/core/Tensor.h>

#include "cuboid/model/weight.hpp"

namespace cuboid {

// Fills `local` [part.local_shape(), fp32 or fp64, any device] with this rank's slice. Normal
// values by Box-Muller on Philox words, computed on the host in fp32, so that GPUs start from the
// same bits.
void initialize(const at::Tensor& local, const LogicalParameter& part, std::uint64_t seed);

}  // namespace cuboid
