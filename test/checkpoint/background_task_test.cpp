// ranks: 1 2
#include "cuboid/checkpoint/background_task.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <stdexcept>
#include <thread>

namespace cuboid {
namespace {

TEST(BackgroundTask, RunsOnAThreadAndACommunicatorOfItsOwn) {
  BackgroundTask task(MPI_COMM_WORLD);
  const auto here = std::this_thread::get_id();
  std::thread::id there;
  int same = MPI_IDENT;
  int sum = 0;
  std::atomic<bool> go = false;
  task.start([&](MPI_Comm comm) {
    while (!go) std::this_thread::yield();
    there = std::this_thread::get_id();
    MPI_Comm_compare(comm, MPI_COMM_WORLD, &same);
    const int one = 1;
    MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, comm);
  });
  EXPECT_TRUE(task.is_running());
  // Other calls of this rank go on meanwhile.
  MPI_Barrier(MPI_COMM_WORLD);
  go = true;
  task.finish();
  EXPECT_FALSE(task.is_running());
  EXPECT_NE(there, here);
  EXPECT_EQ(same, MPI_CONGRUENT);
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  EXPECT_EQ(sum, size);
}

TEST(BackgroundTask, ThrowsOnceWhatTheWorkThrew) {
  BackgroundTask task(MPI_COMM_WORLD);
  task.start([](MPI_Comm) { throw std::runtime_error("no disk"); });
  while (task.is_running()) std::this_thread::yield();
  EXPECT_TRUE(task.has_failed());
  EXPECT_THROW(task.finish(), std::runtime_error);
  EXPECT_FALSE(task.has_failed());
  EXPECT_NO_THROW(task.finish());
}

TEST(BackgroundTask, TheNextWaitsForTheOneBefore) {
  BackgroundTask task(MPI_COMM_WORLD);
  std::atomic<int> under_way = 0;
  int most = 0;
  for (int i = 0; i < 20; ++i) {
    task.start([&](MPI_Comm comm) {
      most = std::max(most, ++under_way);
      MPI_Barrier(comm);
      --under_way;
    });
  }
  task.finish();
  EXPECT_EQ(most, 1);
  task.start([](MPI_Comm) { throw std::runtime_error("no disk"); });
  EXPECT_THROW(task.start([](MPI_Comm) {}), std::runtime_error);
}

TEST(BackgroundTask, SignalsDoNotReachItsThread) {
  BackgroundTask task(MPI_COMM_WORLD);
  bool blocked = false;
  task.start([&](MPI_Comm) {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGUSR1) == 1;
  });
  task.finish();
  EXPECT_TRUE(blocked);
}

}  // namespace
}  // namespace cuboid
