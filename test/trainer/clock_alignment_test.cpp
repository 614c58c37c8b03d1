// ranks: 1 2 4
#include "cuboid/trainer/clock_alignment.hpp"

#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdlib>

#include "cuboid/collective/mpi_communicator.hpp"

namespace cuboid {
namespace {

// All ranks of a test share one clock; each gets an error of its own.
class ClockAlignmentTest : public ::testing::Test {
 protected:
  MpiCommunicator comm_{MPI_COMM_WORLD, "control"};
  const std::int64_t ahead_ns_ = std::int64_t{5'000'000'000} * comm_.rank();
};

TEST_F(ClockAlignmentTest, FindsHowFarAClockIsAhead) {
  const auto now = [this] { return steady_ns() + ahead_ns_; };
  const std::int64_t offset = measure_clock_offset(comm_, now).ns;
  // The error is at most half of the shortest of 32 round trips: far below 10 ms on any machine,
  // and the clocks are seconds apart.
  EXPECT_LT(std::abs(offset + ahead_ns_), 10'000'000) << offset;
  if (comm_.rank() == 0) {
    EXPECT_EQ(offset, 0);
  }
}

TEST_F(ClockAlignmentTest, FollowsADriftBetweenBeginAndEnd) {
  const std::int64_t start = steady_ns();
  // Ten times as fast on rank 1, twenty times on rank 2, ...
  const std::int64_t speed = 1 + 10 * comm_.rank();
  const auto clock_at = [&](std::int64_t ns) { return start + ahead_ns_ + (ns - start) * speed; };
  ClockAlignment alignment([&] { return clock_at(steady_ns()); });
  alignment.begin(comm_);
  const std::int64_t until = steady_ns() + 100'000'000;
  while (steady_ns() < until) {
  }
  const std::int64_t true_time = steady_ns();
  while (steady_ns() < until + 100'000'000) {
  }
  alignment.end(comm_);
  // Without drift it would be off by half a second times the rank and more.
  EXPECT_LT(std::abs(alignment.on_first_rank(clock_at(true_time)) - true_time), 50'000'000);
}

}  // namespace
}  // namespace cuboid
