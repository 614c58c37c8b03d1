// ranks: 4 8
// Questions to more ranks than are asked at a time, some of which do not answer: a stopped process
// is connected to by its kernel all the same.
#include "../../src/collective/side_channel.hpp"

#include <gtest/gtest.h>
#include <mpi.h>

#include <atomic>
#include <numeric>
#include <thread>

#include "cuboid/base/timer.hpp"

namespace cuboid {
namespace {

class SideChannelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }

  // Rank 0 asks all others, of which the first `silent` do nothing; returns who answered.
  std::vector<int> ask(std::size_t most_at_once, int silent, double seconds) {
    SideChannel channel(
        MPI_COMM_WORLD, /*is_one_host=*/true,
        [this](Question) { return "rank " + std::to_string(rank_); }, most_at_once);
    std::atomic<bool> is_over = false;
    std::thread server;
    if (rank_ > silent)
      server = std::thread([&] {
        while (!is_over) channel.serve(0.05);
      });
    std::vector<int> who;
    if (rank_ == 0) {
      std::vector<int> others(static_cast<std::size_t>(size_ - 1));
      std::iota(others.begin(), others.end(), 1);
      const Timer timer;
      for (const auto& [rank, answer] : channel.ask(others, Question::kState, seconds)) {
        EXPECT_EQ(answer, "rank " + std::to_string(rank));
        who.push_back(rank);
      }
      took_ = timer.seconds();
    }
    MPI_Barrier(MPI_COMM_WORLD);
    is_over = true;
    if (server.joinable()) server.join();
    return who;
  }

  [[nodiscard]] std::vector<int> ranks_from(int first) const {
    std::vector<int> ranks(static_cast<std::size_t>(size_ - first));
    std::iota(ranks.begin(), ranks.end(), first);
    return ranks;
  }

  int rank_ = 0;
  int size_ = 1;
  double took_ = 0.0;
};

TEST_F(SideChannelTest, AllAnswerBeforeTheTimeIsOver) {
  for (const std::size_t most_at_once : {1, 2, 128}) {
    const std::vector<int> who = ask(most_at_once, /*silent=*/0, /*seconds=*/20.0);
    if (rank_ == 0) {
      EXPECT_EQ(who, ranks_from(1));
      EXPECT_LT(took_, 10.0);
    }
  }
}

TEST_F(SideChannelTest, SilentRanksKeepNobodyFromBeingHeard) {
  constexpr double kSeconds = 1.2;
  for (const std::size_t most_at_once : {1, 2}) {
    for (int silent = 1; silent < size_; silent += 2) {
      const std::vector<int> who = ask(most_at_once, silent, kSeconds);
      if (rank_ != 0) continue;
      EXPECT_EQ(who, ranks_from(silent + 1)) << most_at_once << " at once, " << silent << " silent";
      EXPECT_LT(took_, kSeconds + 0.5);
    }
  }
}

// It is asked again while there is time: who was slow once is not silent.
TEST_F(SideChannelTest, ARankThatWakesUpIsHeard) {
  constexpr double kSeconds = 3.0;
  SideChannel channel(
      MPI_COMM_WORLD, /*is_one_host=*/true, [](Question) { return std::string("yes"); },
      /*most_at_once=*/1);
  MPI_Barrier(MPI_COMM_WORLD);
  const Timer timer;
  if (rank_ == 0) {
    // Rank 2 stays silent: it takes turns with rank 1.
    EXPECT_EQ(channel.ask({1, 2}, Question::kState, kSeconds).size(), 1U);
  } else if (rank_ == 1) {
    std::this_thread::sleep_for(std::chrono::duration<double>(kSeconds * 0.4));
    while (timer.seconds() < kSeconds) channel.serve(0.05);
  }
  MPI_Barrier(MPI_COMM_WORLD);
}

}  // namespace
}  // namespace cuboid
