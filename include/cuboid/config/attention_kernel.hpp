// Which attention kernels take which shapes, on a GPU.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "cuboid/config/config.hpp"

namespace cuboid {

// Whether LibTorch's kernel computes heads of this width in this type. kEfficient takes everything;
// kAuto is no kernel.
bool takes(AttentionKernel kernel, Precision dtype, std::int64_t head_dim);

// What a value of --attention-kernel names, where it takes such heads; else kAuto.
AttentionKernel usable_kernel(std::string_view value, Precision dtype, std::int64_t head_dim);

// Those to choose among by their speed, never none: flash and cuDNN where they take it, else the
// memory-efficient kernel, which is slower than both.
std::vector<AttentionKernel> attention_candidates(Precision dtype, std::int64_t head_dim);

}  // namespace cuboid
