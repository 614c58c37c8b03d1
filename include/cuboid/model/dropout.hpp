// Dropout whose mask is a pure function of (seed, sample, site, element): the same on every grid,
// and recomputed in the backward pass instead of kept.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "cuboid/model/dropout_launch.hpp"

namespace cuboid {

// x [sequences * seq_length, hidden], contiguous: each element is zeroed with probability
// `probability` (0 <= p < 1), the others scaled by 1 / (1 - p), in place. Rows of sequence s use
// sample number first_sample + s. Host and device give the same mask.
void apply_dropout_(const at::Tensor& x, double probability, std::int64_t seq_length,
                    const DropoutKey& key);

}  // namespace cuboid
