// ranks: 2 4
// What a watchdog sees of communication, and that it leaves alone what is slow. How it ends a job
// that hangs is shown with real runs: test/faults.
#include "cuboid/collective/watchdog.hpp"

#include <gtest/gtest.h>
#include <mpi.h>

#include <chrono>
#include <numeric>
#include <span>
#include <thread>

#include "cuboid/collective/mpi_communicator.hpp"
#include "cuboid/collective/watched_communicator.hpp"

namespace cuboid {
namespace {

class WatchedCommunicatorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    everyone_.resize(static_cast<std::size_t>(size_));
    std::iota(everyone_.begin(), everyone_.end(), 0);
    channel_ = &board_.add("dp", everyone_);
    comm_ = make_watched_communicator(std::make_unique<MpiCommunicator>(MPI_COMM_WORLD, "dp"),
                                      channel_);
  }

  int rank_ = 0;
  int size_ = 1;
  std::vector<int> everyone_;
  ProgressBoard board_;
  Channel* channel_ = nullptr;
  std::unique_ptr<Communicator> comm_;
};

TEST_F(WatchedCommunicatorTest, VerbsReachTheCommunicatorWithinAndAreCounted) {
  double value = 1;
  comm_->all_reduce(buffer_of(value));
  EXPECT_EQ(value, size_);
  comm_->start_all_reduce(buffer_of(value), ReduceOp::kMax)->wait();
  EXPECT_EQ(value, size_);
  comm_->broadcast(buffer_of(value), 0);
  std::vector<double> all(static_cast<std::size_t>(size_));
  double mine = rank_;
  comm_->all_gather(buffer_of(mine), buffer_of(std::span(all)));
  EXPECT_EQ(all.back(), size_ - 1);
  comm_->reduce_scatter(buffer_of(std::span(all)), buffer_of(mine));
  EXPECT_EQ(mine, size_ * rank_);
  comm_->barrier();
  EXPECT_EQ(channel_->see().num_collectives, 6U);
  EXPECT_EQ(channel_->see().num_messages, 0U);
  EXPECT_FALSE(channel_->see().wait);
  if (rank_ == 0) comm_->send(buffer_of(value), 1);
  if (rank_ == 1) comm_->receive(buffer_of(value), 0);
  EXPECT_EQ(channel_->see().num_messages, rank_ < 2 ? 1U : 0U);
}

// Who sums in place must know.
TEST_F(WatchedCommunicatorTest, SharedMemoryIsThatOfTheCommunicatorWithin) {
  auto* memory = reinterpret_cast<float*>(comm_->allocate(64 * sizeof(float)));
  EXPECT_TRUE(comm_->shares(buffer_of(std::span(memory, 64))));
  float elsewhere = 0;
  EXPECT_FALSE(comm_->shares(buffer_of(std::span(&elsewhere, 1))));
}

TEST_F(WatchedCommunicatorTest, AWaitIsSeenFromAnotherThread) {
  std::atomic<bool> is_over = false;
  std::optional<WaitSeen> seen;
  std::thread watcher([&] {
    while (!is_over && !seen) seen = channel_->see().wait;
  });
  std::int64_t value = 0;
  MPI_Barrier(MPI_COMM_WORLD);
  // The last rank comes late: the others wait for it.
  if (rank_ == size_ - 1) std::this_thread::sleep_for(std::chrono::milliseconds(200));
  comm_->all_reduce(buffer_of(value));
  is_over = true;
  watcher.join();
  if (rank_ == size_ - 1) return;
  ASSERT_TRUE(seen);
  EXPECT_STREQ(seen->operation.verb, "all_reduce");
  EXPECT_EQ(seen->operation.bytes, 8);
  EXPECT_EQ(seen->operation.number, 1U);
  EXPECT_EQ(seen->wait % 2, 1U);
}

TEST_F(WatchedCommunicatorTest, WorkUnderWayIsNoWait) {
  double value = 1;
  auto work = comm_->start_all_reduce(buffer_of(value), ReduceOp::kSum);
  EXPECT_FALSE(channel_->see().wait);
  work->wait();
  EXPECT_FALSE(channel_->see().wait);
}

TEST(Watchdog, LeavesSlowRanksAlone) {
  int size = 1;
  int rank = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  std::vector<int> everyone(static_cast<std::size_t>(size));
  std::iota(everyone.begin(), everyone.end(), 0);
  Watchdog watchdog(MPI_COMM_WORLD,
                    {.timeout = 30.0,
                     .prefix = {},
                     .name_of = [](int of) { return "rank " + std::to_string(of); },
                     .node_of = std::vector<int>(static_cast<std::size_t>(size), 0),
                     .abort_job = [](int code) { MPI_Abort(MPI_COMM_WORLD, code); }});
  const auto comm =
      make_watched_communicator(std::make_unique<MpiCommunicator>(MPI_COMM_WORLD, "control"),
                                &watchdog.board().add("control", everyone));
  double value = 1;
  for (int i = 0; i < 3; ++i) {
    if (rank == i % size) std::this_thread::sleep_for(std::chrono::milliseconds(300));
    comm->all_reduce(buffer_of(value));
  }
  EXPECT_EQ(value, size * size * size);
}

}  // namespace
}  // namespace cuboid
