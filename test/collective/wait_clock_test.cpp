// ranks: 1
#include "cuboid/collective/wait_clock.hpp"

#include <gtest/gtest.h>

namespace cuboid {
namespace {

TEST(WaitClock, AddsUpWhileTheWaitIsTheSame) {
  WaitClock clock(1.0);
  for (int i = 0; i < 5; ++i) {
    clock.begin_look(1.0);
    EXPECT_EQ(clock.see(0, 7), i);
  }
  clock.begin_look(1.0);
  EXPECT_EQ(clock.see(0, 9), 0) << "another wait";
  clock.begin_look(1.0);
  EXPECT_EQ(clock.see(0, std::nullopt), 0);
  clock.begin_look(1.0);
  EXPECT_EQ(clock.see(0, 9), 0) << "seen anew";
}

TEST(WaitClock, ChannelsAreApart) {
  WaitClock clock(1.0);
  clock.see(0, 1);
  clock.begin_look(1.0);
  EXPECT_EQ(clock.see(0, 1), 1);
  EXPECT_EQ(clock.see(1, 1), 0);
}

// A lid that was closed for a night, or SIGSTOP for all ranks.
TEST(WaitClock, TimeAsleepCountsForLittle) {
  WaitClock clock(0.5);
  clock.see(0, 1);
  clock.begin_look(8 * 3600.0);
  EXPECT_EQ(clock.see(0, 1), 2.0);
}

TEST(Patience, IsWhatWasGiven) {
  EXPECT_EQ(patience(7.0, 0.0), 7.0);
  EXPECT_EQ(patience(7.0, 100.0), 7.0);
}

TEST(Patience, OtherwiseGrowsWithTheSteps) {
  EXPECT_EQ(patience(std::nullopt, 0.0), 1800.0);
  EXPECT_EQ(patience(std::nullopt, 0.01), 300.0);
  EXPECT_EQ(patience(std::nullopt, 100.0), 1000.0);
}

}  // namespace
}  // namespace cuboid
