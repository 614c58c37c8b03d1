// ranks: 1
// What keeps the main thread from a communicator that the watchdog aborts, without any device.
#include "cuboid/collective/abort_gate.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace cuboid {
namespace {

TEST(AbortGate, ClosesOnceAndForAll) {
  AbortGate gate;
  int uses = 0;
  EXPECT_TRUE(gate.pass([&] { ++uses; }));
  EXPECT_FALSE(gate.is_closed());
  EXPECT_TRUE(gate.close());
  EXPECT_FALSE(gate.close());  // or it would be aborted twice
  EXPECT_TRUE(gate.is_closed());
  EXPECT_FALSE(gate.pass([&] { ++uses; }));
  EXPECT_EQ(uses, 1);
}

// As the main thread polls a communicator while the watchdog aborts it.
TEST(AbortGate, NobodyUsesWhatIsFreedBehindIt) {
  for (int round = 0; round < 200; ++round) {
    AbortGate gate;
    std::atomic<bool> is_freed = false;
    std::atomic<bool> has_used_freed = false;
    std::atomic<int> uses = 0;
    std::thread poller([&] {
      while (gate.pass([&] {
        has_used_freed = has_used_freed || is_freed;
        std::this_thread::yield();
        has_used_freed = has_used_freed || is_freed;
        ++uses;
      })) {
      }
    });
    while (uses == 0) std::this_thread::yield();
    EXPECT_TRUE(gate.close());
    is_freed = true;
    poller.join();
    ASSERT_FALSE(has_used_freed) << "round " << round;
  }
}

// The thread stays until the process ends.
TEST(AbortGate, WhoMayGoNoFurtherDoesNotReturn) {
  static std::atomic<bool> has_begun = false;
  static std::atomic<bool> has_returned = false;
  std::thread([] {
    has_begun = true;
    wait_for_the_end();
    has_returned = true;
  }).detach();
  while (!has_begun) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(has_returned);
}

}  // namespace
}  // namespace cuboid
