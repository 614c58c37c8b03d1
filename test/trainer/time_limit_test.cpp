// ranks: 1
#include "cuboid/trainer/time_limit.hpp"

#include <gtest/gtest.h>

namespace cuboid {
namespace {

TEST(TimeLimit, WithoutOneItIsNeverNear) {
  TimeLimit limit(TimeLimit::kNone);
  limit.took_step(1e6);
  EXPECT_FALSE(limit.is_near(1e9));
}

TEST(TimeLimit, LeavesTimeForAStepAndASave) {
  TimeLimit limit(100.0);
  limit.took_step(4.0);
  limit.took_step(2.0);
  limit.took_save(6.0);
  limit.took_save(3.0);
  EXPECT_DOUBLE_EQ(limit.reserve_seconds(), 1.5 * (4.0 + 6.0) + 5.0);
  EXPECT_FALSE(limit.is_near(79.9));
  EXPECT_TRUE(limit.is_near(80.0));
}

TEST(TimeLimit, TheEstimateOfASaveGivesWayToAMeasurement) {
  TimeLimit limit(100.0, 20.0);
  EXPECT_DOUBLE_EQ(limit.reserve_seconds(), 35.0);
  limit.took_save(2.0);
  EXPECT_DOUBLE_EQ(limit.reserve_seconds(), 8.0);
}

TEST(TimeLimit, AStepOfLongAgoIsForgotten) {
  TimeLimit limit(100.0);
  limit.took_step(40.0);
  for (int i = 0; i < 15; ++i) limit.took_step(1.0);
  EXPECT_DOUBLE_EQ(limit.reserve_seconds(), 65.0);
  limit.took_step(1.0);
  EXPECT_DOUBLE_EQ(limit.reserve_seconds(), 6.5);
}

TEST(TimeLimit, ALimitThatHasPassedIsNearAtOnce) {
  EXPECT_TRUE(TimeLimit(-3.0).is_near());
}

}  // namespace
}  // namespace cuboid
