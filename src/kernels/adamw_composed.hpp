// The function of cuboid/kernels/adamw.hpp by LibTorch's fused kernel.
#pragma once

#include "cuboid/kernels/adamw.hpp"

namespace cuboid::detail {

// Two calls, one for each decay, and a pass for the values; leaves scaled gradients.
void composed_adamw_(const AdamWTensors& tensors, std::int64_t num_decaying,
                     const AdamWFactors& factors);

}  // namespace cuboid::detail
