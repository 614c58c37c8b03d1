#include "cuboid/optimizer/lr_schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace cuboid {
namespace {

// How far `step` is on the way from `begin` to `end`, in [0, 1].
double progress(std::int64_t step, std::int64_t begin, std::int64_t end) {
  if (step >= end) return 1.0;
  if (step <= begin) return 0.0;
  return static_cast<double>(step - begin) / static_cast<double>(end - begin);
}

// The share of the way from the smallest to the full rate after the warm-up.
double coefficient(LrSchedule schedule, std::int64_t step, std::int64_t warmup,
                   std::int64_t max_steps) {
  const double ratio = progress(step, warmup, max_steps);
  switch (schedule) {
    case LrSchedule::kCosine: return 0.5 * (1.0 + std::cos(std::numbers::pi * ratio));
    case LrSchedule::kLinear: return 1.0 - ratio;
    case LrSchedule::kConstant: return 1.0;
    case LrSchedule::kWsd:
      return 1.0 - progress(step, std::max(warmup, max_steps - max_steps / 5), max_steps);
  }
  return 1.0;
}

}  // namespace

std::int64_t num_warmup_steps(const OptimizerConfig& config, std::int64_t max_steps) {
  return config.warmup_steps.value_or(
      std::llround(config.warmup_ratio * static_cast<double>(max_steps)));
}

double final_learning_rate(const OptimizerConfig& config) {
  return config.min_learning_rate.value_or(0.1 * config.learning_rate);
}

double learning_rate(const OptimizerConfig& config, std::int64_t step, std::int64_t max_steps) {
  const std::int64_t warmup = num_warmup_steps(config, max_steps);
  if (step < warmup) {
    return config.learning_rate * static_cast<double>(step + 1) / static_cast<double>(warmup + 1);
  }
  const double smallest = final_learning_rate(config);
  return smallest + coefficient(config.lr_schedule, step, warmup, max_steps) *
                        (config.learning_rate - smallest);
}

}  // namespace cuboid
