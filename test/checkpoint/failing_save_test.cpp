// ranks: 1 2 4 8
// timeout: 240
// Saves that fail: the same error on all ranks, nothing left behind, what was there untouched.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "cuboid/checkpoint/load.hpp"
#include "cuboid/checkpoint/save.hpp"
#include "fixture.hpp"

namespace cuboid::testing_checkpoint {
namespace {

class FailingSave : public CheckpointTest {
 protected:
  // All ranks get a SystemError with the same text, and that is returned.
  static std::string save_error(const std::string& file, Slicing slicing, bool reserve) {
    std::string text = error_of<SystemError>([&] {
      save_checkpoint(file, MPI_COMM_WORLD, slices_of(small_model(), slicing, true).list,
                      some_metadata(), {.reserve_space = reserve});
    });
    std::array<char, 2000> first{};
    text.copy(first.data(), first.size() - 1);
    MPI_Bcast(first.data(), static_cast<int>(first.size()), MPI_CHAR, 0, MPI_COMM_WORLD);
    EXPECT_EQ(text.substr(0, first.size() - 1), first.data());
    return text;
  }
  void expect_intact(const std::string& file) {
    MPI_Barrier(MPI_COMM_WORLD);
    EXPECT_EQ(files(), std::vector<std::string>{"c.h5"});
    const Slices slices = slices_of(small_model(), Slicing::kRows, false);
    load_checkpoint(file, MPI_COMM_WORLD, slices.list);
    expect_filled(slices);
  }
};

class FileSizeLimit {
 public:
  FileSizeLimit(rlim_t bytes, bool here) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    if (here) limit({.rlim_cur = bytes, .rlim_max = before_.rlim_max});
  }
  ~FileSizeLimit() { limit(before_); }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  static void limit(const rlimit& value) { EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &value), 0); }
  rlimit before_{};
};

TEST_F(FailingSave, AFileSizeLimitOnOneRankFailsAll) {
  const std::string file = path("c.h5");
  save_checkpoint(file, MPI_COMM_WORLD, slices_of(small_model(), Slicing::kRows, true).list,
                  some_metadata());
  for (const Slicing slicing : {Slicing::kRows, Slicing::kColumns}) {
    for (const int limited : {0, world_size() - 1}) {
      for (const bool reserve : {true, false}) {
        std::string error;
        {
          const FileSizeLimit limit(200 << 10, world_rank() == limited);
          error = save_error(file, slicing, reserve);
        }
        EXPECT_NE(error.find("cannot save checkpoint '" + file + "'"), std::string::npos) << error;
        EXPECT_NE(error.find("File too large"), std::string::npos) << error;
        expect_intact(file);
      }
    }
  }
  // And the next one works.
  save_checkpoint(file, MPI_COMM_WORLD, slices_of(small_model(), Slicing::kColumns, true).list,
                  some_metadata());
  expect_intact(file);
}

TEST_F(FailingSave, FoldersThatCannotBeWrittenAreNamed) {
  if (world_rank() == 0) write_bytes(path("file"), {'x'});
  MPI_Barrier(MPI_COMM_WORLD);
  EXPECT_NE(save_error(path("file") + "/c.h5", Slicing::kRows, true)
                .find("cannot save checkpoint '" + path("file") + "/c.h5': Not a directory"),
            std::string::npos);
  EXPECT_NE(save_error(path("none") + "/c.h5", Slicing::kRows, true)
                .find("cannot save checkpoint '" + path("none") + "/c.h5': No such file"),
            std::string::npos);
  EXPECT_NE(
      save_error("/proc/c.h5", Slicing::kRows, true).find("cannot save checkpoint '/proc/c.h5'"),
      std::string::npos);
  EXPECT_EQ(files(), std::vector<std::string>{"file"});
}

TEST_F(FailingSave, AFolderInTheFilesPlaceStays) {
  if (world_rank() == 0) std::filesystem::create_directories(path("c.h5/inside"));
  MPI_Barrier(MPI_COMM_WORLD);
  EXPECT_NE(save_error(path("c.h5"), Slicing::kRows, true).find("Is a directory"),
            std::string::npos);
  EXPECT_EQ(files(), std::vector<std::string>{"c.h5"});
  EXPECT_TRUE(std::filesystem::is_directory(path("c.h5/inside")));
}

// On a file system of its own, too small for a second file.
class FullDisk : public FailingSave {
 protected:
  void SetUp() override {
    FailingSave::SetUp();
    if (world_rank() == 0)
      mounted_ = ::mount("cuboid", folder_.c_str(), "tmpfs", 0, "size=2000k") == 0 ? 1 : 0;
    MPI_Bcast(&mounted_, 1, MPI_INT, 0, MPI_COMM_WORLD);
  }
  void TearDown() override {
    MPI_Barrier(MPI_COMM_WORLD);
    if (mounted_ != 0 && world_rank() == 0) {
      EXPECT_EQ(::umount2(folder_.c_str(), MNT_DETACH), 0);
    }
    FailingSave::TearDown();
  }
  int mounted_ = 0;
};

TEST_F(FullDisk, LosesNothing) {
  if (mounted_ == 0) GTEST_SKIP() << "no right to mount a small file system";
  const std::string file = path("c.h5");
  save_checkpoint(file, MPI_COMM_WORLD, slices_of(small_model(), Slicing::kRows, true).list,
                  some_metadata());
  for (const Slicing slicing : {Slicing::kRows, Slicing::kColumns, Slicing::kReplicated}) {
    for (const bool reserve : {true, false}) {
      const std::string error = save_error(file, slicing, reserve);
      EXPECT_NE(error.find("cannot save checkpoint '" + file + "'"), std::string::npos) << error;
      EXPECT_NE(error.find("No space left on device"), std::string::npos) << error;
      expect_intact(file);
    }
  }
}

}  // namespace
}  // namespace cuboid::testing_checkpoint
