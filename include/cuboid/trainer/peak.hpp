// The matrix-product rate that MFU is measured against.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include "cuboid/collective/communicator.hpp"

namespace cuboid {

// FLOP/s of square products (1024^3 on CPUs, 8192^3 on GPUs) of this type, summed over the ranks of
// `control`, which all compute at the same time: the best of several rounds, about 0.3 s.
double measure_product_rate(Communicator& control, c10::ScalarType dtype, c10::Device device);

}  // namespace cuboid
