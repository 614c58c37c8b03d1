// ranks: 1
#include "cuboid/launch/memory.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace cuboid {
namespace {

namespace fs = std::filesystem;

// A made-up /proc and /sys with 1000 KiB available.
class AvailableMemory : public testing::Test {
 protected:
  void SetUp() override {
    write("proc/meminfo", "MemTotal: 4000 kB\nMemFree: 10 kB\nMemAvailable: 1000 kB\n");
  }
  void TearDown() override { fs::remove_all(root_); }
  void write(const std::string& name, const std::string& text) {
    const fs::path path = root_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  [[nodiscard]] std::int64_t available() const { return available_memory(root_.string()); }
  fs::path root_ = fs::temp_directory_path() / ("cuboid-memory-" + std::to_string(getpid()));
};

TEST_F(AvailableMemory, IsTheKernelsWithoutLimits) {
  EXPECT_EQ(available(), 1000 * 1024);
  write("proc/self/cgroup", "0::/\n");
  EXPECT_EQ(available(), 1000 * 1024);
  write("proc/self/cgroup", "0::/user/session\n");
  write("sys/fs/cgroup/user/memory.max", "max\n");
  write("sys/fs/cgroup/user/memory.current", "5\n");
  EXPECT_EQ(available(), 1000 * 1024);
}

// A limit of an outer group counts, and files in memory give way.
TEST_F(AvailableMemory, IsWhatAGroupsLimitLeaves) {
  write("proc/self/cgroup", "0::/slurm/job_7/step_0\n");
  write("sys/fs/cgroup/slurm/job_7/memory.max", "500000\n");
  write("sys/fs/cgroup/slurm/job_7/memory.current", "400000\n");
  EXPECT_EQ(available(), 100000);
  write("sys/fs/cgroup/slurm/job_7/memory.stat", "anon 9\ninactive_file 30000\nactive_file 5000\n");
  EXPECT_EQ(available(), 135000);
  write("sys/fs/cgroup/slurm/job_7/step_0/memory.max", "1000\n");
  write("sys/fs/cgroup/slurm/job_7/step_0/memory.current", "2000\n");
  EXPECT_EQ(available(), 0);
}

TEST_F(AvailableMemory, KnowsTheFirstVersionOfGroups) {
  write("proc/self/cgroup", "12:cpu,cpuacct:/x\n9:memory:/slurm/job_7\n0::/\n");
  write("sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes", "500000\n");
  write("sys/fs/cgroup/memory/slurm/job_7/memory.usage_in_bytes", "400000\n");
  write("sys/fs/cgroup/memory/slurm/job_7/memory.stat", "total_inactive_file 1000\n");
  EXPECT_EQ(available(), 101000);
}

TEST_F(AvailableMemory, IsMoreThanNothingHere) {
  EXPECT_GT(available_memory(), 1 << 20);
}

}  // namespace
}  // namespace cuboid
