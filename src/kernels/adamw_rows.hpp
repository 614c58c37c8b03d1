// The arithmetic of AdamW on the host. Its source is compiled without fused multiply-add
// (-ffp-contract=off in the Makefile), so that the same weights come out of every processor and of
// vectors and remainders alike; the pass is bound by memory and loses nothing.
#pragma once

#include <cstdint>

#include "cuboid/kernels/math.hpp"

namespace cuboid::detail {

template <typename W>
struct AdamWBuffers {
  W* master;
  const W* gradient;
  W* exp_avg;
  W* exp_avg_sq;
  Bfloat16* values;  // or null
};

template <typename W>
struct AdamWNumbers {
  W gradient_scale;
  W one_minus_beta1, beta2, one_minus_beta2;
  W root_scale;  // 1 / sqrt(1 - beta2^step)
  W epsilon;
  W step_size;  // learning_rate / (1 - beta1^step)
};

// Elements [begin, end); `keep` is 1 - learning_rate * weight_decay.
template <typename W>
void adamw_range(const AdamWBuffers<W>& buffers, const AdamWNumbers<W>& numbers, W keep,
                 std::int64_t begin, std::int64_t end);

}  // namespace cuboid::detail
