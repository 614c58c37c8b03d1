// The learning rate as a pure function of the step, so that a resumed run continues exactly.
#pragma once

#include <cstdint>

#include "cuboid/config/config.hpp"

namespace cuboid {

// Steps of the linear warm-up: warmup_steps, or warmup_ratio * max_steps rounded to the nearest.
std::int64_t num_warmup_steps(const OptimizerConfig& config, std::int64_t max_steps);

// min_learning_rate, or a tenth of learning_rate.
double final_learning_rate(const OptimizerConfig& config);

// The learning rate of the update after `step` completed ones, 0 <= step < max_steps; beyond
// max_steps it stays at its last value. With w warm-up steps:
//   step < w: learning_rate * (step + 1) / (w + 1);
//   then min + coefficient * (learning_rate - min) with r = (step - w) / (max_steps - w) and
//   cosine: coefficient (1 + cos(pi r)) / 2;  linear: 1 - r;  constant: 1 (min is never reached);
//   wsd (warm-up, stable, decay): 1, then linearly down to 0 over the last fifth of max_steps.
// Warm-up and cosine are nanoGPT's get_lr with lr_decay_iters = max_steps; linear, constant and
// wsd's linear style follow Megatron-LM's OptimizerParamScheduler. wsd: Hu et al., arXiv
// 2404.06395.
double learning_rate(const OptimizerConfig& config, std::int64_t step, std::int64_t max_steps);

}  // namespace cuboid
