// Rotary position embedding (Su et al., arXiv:2104.09864) of queries and keys, in place.
#pragma once

#include <ATen/core/Tensor.h>

namespace cuboid {

// x [sequences, seq, heads, head_dim], any strides but the last (1): dims i and i + head_dim/2 turn
// by the angle whose cosine and sine stand in cos, sin [seq, head_dim / 2] (fp32; fp64 for fp64),
// backwards for the gradient. bf16 turns in fp32 and is rounded once.
void rotate_(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, bool forwards);

}  // namespace cuboid
