// ranks: 1 2 4
// What the memory of a node does while it is made. posix_fallocate is this file's, in front of the
// system's.
#include "../../src/collective/shared_memory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <string>

namespace {

// What a call comes to, before the system is asked: 0, or an error.
std::function<int()> g_before_pages;

}  // namespace

extern "C" int posix_fallocate(int file, off_t offset, off_t bytes) {
  if (const int error = g_before_pages ? g_before_pages() : 0; error != 0) return error;
  return ::posix_fallocate64(file, offset, bytes);
}

namespace cuboid {
namespace {

class SharedMemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    first_process_ = static_cast<int>(::getpid());
    MPI_Bcast(&first_process_, 1, MPI_INT, 0, MPI_COMM_WORLD);
  }
  void TearDown() override { g_before_pages = nullptr; }

  // Files in /dev/shm that rank 0 has made.
  [[nodiscard]] std::ptrdiff_t names() const {
    const std::string begin = "cuboid-" + std::to_string(first_process_) + "-";
    return std::ranges::count_if(
        std::filesystem::directory_iterator("/dev/shm"),
        [&](const auto& entry) { return entry.path().filename().string().starts_with(begin); });
  }

  int rank_ = 0;
  int size_ = 1;
  int first_process_ = 0;
};

// Who is killed for want of memory would otherwise leave it taken until the machine restarts.
TEST_F(SharedMemoryTest, HasNoNameOnceItTakesPages) {
  int calls = 0;
  std::ptrdiff_t seen = 0;
  g_before_pages = [&] {
    ++calls;
    seen += names();
    return 0;
  };
  SharedMemory memory(MPI_COMM_WORLD, 100'000);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(seen, 0);
  *memory.of(rank_) = static_cast<std::byte>(rank_ + 1);
  MPI_Barrier(MPI_COMM_WORLD);
  for (int rank = 0; rank < size_; ++rank)
    EXPECT_EQ(*memory.of(rank), static_cast<std::byte>(rank + 1));
  MPI_Barrier(MPI_COMM_WORLD);
}

TEST_F(SharedMemoryTest, TakesPagesThoughSignalsInterrupt) {
  int calls = 0;
  g_before_pages = [&] { return ++calls < 3 && rank_ == size_ - 1 ? EINTR : 0; };
  const SharedMemory memory(MPI_COMM_WORLD, 100'000);
  EXPECT_EQ(calls, rank_ == size_ - 1 ? 3 : 1);
}

TEST_F(SharedMemoryTest, NoRoomOnOneRankIsAnErrorOnAllAndLeavesNoName) {
  g_before_pages = [&] { return rank_ == size_ - 1 ? ENOSPC : 0; };
  EXPECT_ANY_THROW(SharedMemory(MPI_COMM_WORLD, 100'000));
  EXPECT_EQ(names(), 0);
}

}  // namespace
}  // namespace cuboid
