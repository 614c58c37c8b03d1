// ranks: 1
// Expected values are worked out by hand from the formulas in the header.
#include "cuboid/optimizer/lr_schedule.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace cuboid {
namespace {

OptimizerConfig make_config(LrSchedule schedule) {
  OptimizerConfig config;
  config.learning_rate = 1e-3;
  config.min_learning_rate = 1e-4;
  config.lr_schedule = schedule;
  config.warmup_steps = 4;
  return config;
}

TEST(LearningRate, WarmsUpLinearlyAndNeverStartsAtZero) {
  for (const auto schedule :
       {LrSchedule::kCosine, LrSchedule::kLinear, LrSchedule::kConstant, LrSchedule::kWsd}) {
    const OptimizerConfig config = make_config(schedule);
    EXPECT_DOUBLE_EQ(learning_rate(config, 0, 24), 0.2e-3);
    EXPECT_DOUBLE_EQ(learning_rate(config, 1, 24), 0.4e-3);
    EXPECT_DOUBLE_EQ(learning_rate(config, 3, 24), 0.8e-3);
    EXPECT_DOUBLE_EQ(learning_rate(config, 4, 24), 1e-3);
  }
}

TEST(LearningRate, Cosine) {
  const OptimizerConfig config = make_config(LrSchedule::kCosine);
  // A quarter, half and three quarters of the way from 4 to 24.
  EXPECT_NEAR(learning_rate(config, 9, 24), 1e-4 + 0.9e-3 * (2 + std::sqrt(2.0)) / 4, 1e-18);
  EXPECT_NEAR(learning_rate(config, 14, 24), 5.5e-4, 1e-18);
  EXPECT_NEAR(learning_rate(config, 19, 24), 1e-4 + 0.9e-3 * (2 - std::sqrt(2.0)) / 4, 1e-18);
  EXPECT_NEAR(learning_rate(config, 24, 24), 1e-4, 1e-18);
  EXPECT_NEAR(learning_rate(config, 1000, 24), 1e-4, 1e-18);
}

TEST(LearningRate, Linear) {
  const OptimizerConfig config = make_config(LrSchedule::kLinear);
  EXPECT_NEAR(learning_rate(config, 9, 24), 7.75e-4, 1e-18);
  EXPECT_NEAR(learning_rate(config, 23, 24), 1.45e-4, 1e-18);
  EXPECT_NEAR(learning_rate(config, 24, 24), 1e-4, 1e-18);
}

TEST(LearningRate, Constant) {
  const OptimizerConfig config = make_config(LrSchedule::kConstant);
  for (const int step : {4, 10, 23, 24, 100}) {
    EXPECT_DOUBLE_EQ(learning_rate(config, step, 24), 1e-3);
  }
}

TEST(LearningRate, WsdDecaysOverTheLastFifth) {
  const OptimizerConfig config = make_config(LrSchedule::kWsd);
  EXPECT_DOUBLE_EQ(learning_rate(config, 5, 50), 1e-3);
  EXPECT_DOUBLE_EQ(learning_rate(config, 40, 50), 1e-3);
  EXPECT_NEAR(learning_rate(config, 41, 50), 9.1e-4, 1e-18);
  EXPECT_NEAR(learning_rate(config, 45, 50), 5.5e-4, 1e-18);
  EXPECT_NEAR(learning_rate(config, 49, 50), 1.9e-4, 1e-18);
  EXPECT_NEAR(learning_rate(config, 50, 50), 1e-4, 1e-18);
}

TEST(LearningRate, WsdDecayBeginsAfterALongWarmUp) {
  OptimizerConfig config = make_config(LrSchedule::kWsd);
  config.warmup_steps = 45;
  EXPECT_DOUBLE_EQ(learning_rate(config, 44, 50), 1e-3 * 45 / 46);
  EXPECT_DOUBLE_EQ(learning_rate(config, 45, 50), 1e-3);
  EXPECT_NEAR(learning_rate(config, 48, 50), 1e-4 + 0.9e-3 * 0.4, 1e-18);
}

TEST(LearningRate, WarmUpRatioAndDefaults) {
  OptimizerConfig config;
  config.learning_rate = 3e-4;
  config.warmup_ratio = 0.07;  // 0.07 * 100 is not 7 in binary
  EXPECT_EQ(num_warmup_steps(config, 100), 7);
  EXPECT_DOUBLE_EQ(learning_rate(config, 0, 100), 3e-4 / 8);
  EXPECT_DOUBLE_EQ(final_learning_rate(config), 3e-5);
  EXPECT_NEAR(learning_rate(config, 100, 100), 3e-5, 1e-19);
  config.warmup_steps = 2;  // wins over the ratio
  EXPECT_EQ(num_warmup_steps(config, 100), 2);
}

TEST(LearningRate, WarmUpAsLongAsTheRun) {
  OptimizerConfig config = make_config(LrSchedule::kCosine);
  config.warmup_steps = 10;
  EXPECT_DOUBLE_EQ(learning_rate(config, 9, 10), 1e-3 * 10 / 11);
  EXPECT_DOUBLE_EQ(learning_rate(config, 10, 10), 1e-4);
}

}  // namespace
}  // namespace cuboid
