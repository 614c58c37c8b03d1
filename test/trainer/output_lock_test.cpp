// ranks: 1
#include "cuboid/trainer/output_lock.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>

#include "cuboid/base/error.hpp"

namespace cuboid {
namespace {

class OutputLocks : public testing::TestWithParam<Locking> {
 protected:
  void SetUp() override {
    std::string name = std::filesystem::temp_directory_path() / "cuboid-lock-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  // What a second job is told; "" where it gets the lock.
  [[nodiscard]] std::string refusal() const {
    try {
      const OutputLock second(folder_, "", GetParam());
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  }
  [[nodiscard]] bool has_file() const { return std::filesystem::exists(folder_ + "/cuboid.lock"); }
  std::string folder_;
};

// A process that holds the lock until it is killed.
pid_t start_holder(const std::string& folder, Locking locking) {
  std::array<int, 2> ready{};
  EXPECT_EQ(::pipe(ready.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const OutputLock lock(folder, "SLURM job 77", locking);
    [[maybe_unused]] const auto told = ::write(ready[1], "x", 1);
    for (;;) ::pause();
  }
  char x = 0;
  EXPECT_EQ(::read(ready[0], &x, 1), 1);
  ::close(ready[0]);
  ::close(ready[1]);
  return child;
}

TEST_P(OutputLocks, TheSecondIsRefusedAndToldWhoHasIt) {
  const pid_t holder = start_holder(folder_, GetParam());
  const std::string text = refusal();
  EXPECT_NE(text.find("--output-dir '" + folder_ + "' is in use by process " +
                      std::to_string(holder) + " on "),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("SLURM job 77, since 20"), std::string::npos) << text;
  ::kill(holder, SIGKILL);
  ::waitpid(holder, nullptr, 0);
}

TEST_P(OutputLocks, TheLockOfADeadJobIsTakenOver) {
  const pid_t holder = start_holder(folder_, GetParam());
  ::kill(holder, SIGKILL);
  ::waitpid(holder, nullptr, 0);
  EXPECT_TRUE(has_file());
  EXPECT_EQ(refusal(), "");
  EXPECT_FALSE(has_file());
}

TEST_P(OutputLocks, ItIsFreeWhenItsOwnerEnds) {
  {
    std::optional<OutputLock> lock(std::in_place, folder_, "", GetParam());
    EXPECT_NE(refusal(), "");
    OutputLock moved = std::move(*lock);
    lock.reset();
    EXPECT_NE(refusal(), "") << "a lock that was moved from releases nothing";
    moved = OutputLock();
    EXPECT_EQ(refusal(), "");
  }
  EXPECT_FALSE(has_file());
}

TEST_P(OutputLocks, AMachineThatCannotBeAskedKeepsItsLock) {
  std::ofstream(folder_ + "/cuboid.lock") << "host far-away\npid 1\nstart 1\nsince 2026\n";
  const std::string text = refusal();
  if (GetParam() == Locking::kKernel) {
    EXPECT_EQ(text, "");  // the kernel knows that nobody has it
  } else {
    EXPECT_NE(text.find("process 1 on far-away, since 2026"), std::string::npos) << text;
    EXPECT_NE(text.find("remove " + folder_ + "/cuboid.lock"), std::string::npos) << text;
  }
}

TEST_P(OutputLocks, AFolderThatIsNotThereIsNamed) {
  try {
    const OutputLock lock(folder_ + "/none", "", GetParam());
    FAIL() << "it locked nothing";
  } catch (const SystemError& error) {
    EXPECT_NE(std::string(error.what()).find(folder_ + "/none/cuboid.lock"), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Both, OutputLocks, testing::Values(Locking::kKernel, Locking::kFileOnly),
                         [](const auto& value) {
                           return value.param == Locking::kKernel ? "Kernel" : "FileOnly";
                         });

}  // namespace
}  // namespace cuboid
