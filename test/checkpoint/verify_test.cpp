// ranks: 1 2 4
// timeout: 180
// Verification finds whatever damage a file has, alone and by all ranks together.
#include <gtest/gtest.h>

#include <mutex>
#include <random>
#include <set>

#include "cuboid/checkpoint/damage.hpp"
#include "cuboid/checkpoint/reader.hpp"
#include "cuboid/checkpoint/save.hpp"
#include "cuboid/checkpoint/seal.hpp"
#include "cuboid/checkpoint/verify.hpp"
#include "fixture.hpp"

namespace cuboid::testing_checkpoint {
namespace {

// More than one piece each, with borders that divide nothing evenly.
std::vector<Tensor> large_model() {
  std::vector<Tensor> model = small_model();
  model.push_back({"large/rows", DType::kFloat32, {3, 700003}});
  model.push_back({"large/halves", DType::kBFloat16, {2500009}});
  model.push_back({"large/doubles", DType::kFloat64, {2, 300001}});
  model.push_back({"large/bytes", DType::kUInt8, {4194307}});
  return model;
}

std::vector<std::string> problems_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const DamagedCheckpoint& error) {
    return error.problems();
  }
  return {};
}

class Verify : public CheckpointTest {
 protected:
  void SetUp() override {
    CheckpointTest::SetUp();
    file_ = path("c.h5");
    save(large_model());
  }
  void save(const std::vector<Tensor>& model) {
    save_checkpoint(file_, MPI_COMM_WORLD, slices_of(model, Slicing::kRows, true).list,
                    some_metadata());
    places_.clear();
    const CheckpointReader reader(file_);
    for (const TensorInfo& tensor : reader.tensors())
      places_.emplace_back(tensor.name, reader.bytes_of(tensor));
    size_ = static_cast<std::int64_t>(std::filesystem::file_size(file_));
    MPI_Barrier(MPI_COMM_WORLD);
  }
  // Rank 0 flips one bit; the same call again takes it back.
  void flip(std::int64_t byte, int bit) const {
    MPI_Barrier(MPI_COMM_WORLD);
    if (world_rank() == 0) {
      std::fstream file(file_, std::ios::in | std::ios::out | std::ios::binary);
      file.seekg(byte);
      const char value = static_cast<char>(file.get() ^ (1 << bit));
      file.seekp(byte);
      file.put(value);
    }
    MPI_Barrier(MPI_COMM_WORLD);
  }
  // What all ranks find together; on every rank the same.
  [[nodiscard]] std::vector<std::string> found_together(int num_threads) const {
    auto problems = problems_of(
        [&] { verify_checkpoint(file_, MPI_COMM_WORLD, {.num_threads = num_threads}); });
    std::uint64_t hash = std::hash<std::string>{}(problems.empty() ? "" : problems.front());
    std::uint64_t first = hash;
    MPI_Bcast(&first, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
    EXPECT_EQ(hash, first);
    return problems;
  }
  void expect_named(const std::vector<std::string>& problems, const std::string& tensor) const {
    ASSERT_EQ(problems.size(), 1U) << tensor;
    EXPECT_EQ(problems[0].find("checkpoint '" + file_ + "': tensor '" + tensor + "' is damaged: "),
              0U)
        << problems[0];
  }
  std::string file_;
  std::int64_t size_ = 0;
  std::vector<std::pair<std::string, Range>> places_;
};

TEST_F(Verify, AGoodFileIsGoodWithAnyNumberOfThreads) {
  for (const bool bypass_cache : {false, true}) {
    for (const int num_threads : {0, 1, 2, 5, 40}) {
      const VerifyOptions options{.num_threads = num_threads, .bypass_cache = bypass_cache};
      const Verified alone = verify_checkpoint(file_, options);
      EXPECT_EQ(alone.num_tensors, static_cast<std::int64_t>(places_.size()));
      EXPECT_EQ(alone.bytes, size_);
      const Verified together = verify_checkpoint(file_, MPI_COMM_WORLD, options);
      EXPECT_EQ(together.num_tensors, alone.num_tensors);
      EXPECT_EQ(together.bytes, alone.bytes);
    }
  }
}

TEST_F(Verify, TheTensorOfAFlippedBitIsNamed) {
  for (const auto& [name, bytes] : places_) {
    if (bytes.size() == 0) continue;
    const std::set<std::int64_t> places = {bytes.begin, (bytes.begin + bytes.end) / 2,
                                           std::min(bytes.begin + (1 << 20), bytes.end - 1),
                                           bytes.end - 1};
    for (const std::int64_t at : places) {
      flip(at, 5);
      expect_named(found_together(2), name);
      if (world_rank() == 0) {
        for (const int num_threads : {1, 3})
          expect_named(problems_of([&] { verify_checkpoint(file_, {.num_threads = num_threads}); }),
                       name);
      }
      flip(at, 5);
    }
  }
  EXPECT_TRUE(found_together(1).empty());
}

TEST_F(Verify, NoFlippedBitAnywhereIsMissed) {
  save(small_model());
  std::mt19937 random(21);  // NOLINT(bugprone-random-generator-seed): the same on all ranks
  for (int trial = 0; trial < 200; ++trial) {
    const auto at = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(size_));
    const int bit = static_cast<int>(random() % 8);
    flip(at, bit);
    const std::string error =
        error_of<UsageError>([&] { verify_checkpoint(file_, MPI_COMM_WORLD, {}); });
    EXPECT_NE(error, "") << "byte " << at;
    flip(at, bit);
  }
  EXPECT_NO_THROW(verify_checkpoint(file_, MPI_COMM_WORLD, {}));
}

TEST_F(Verify, AllDamagedTensorsAreNamedAtOnce) {
  std::vector<std::string> damaged;
  for (const auto& [name, bytes] : places_) {
    if (bytes.size() == 0) continue;
    flip(bytes.begin, 0);
    damaged.push_back(name);
  }
  const auto problems = found_together(2);
  ASSERT_EQ(problems.size(), damaged.size());
  for (std::size_t i = 0; i < damaged.size(); ++i)
    EXPECT_NE(problems[i].find("'" + damaged[i] + "'"), std::string::npos) << problems[i];
}

TEST_F(Verify, WhatIsNoCheckpointIsNamedForWhatItIs) {
  const auto error = [&](const std::string& file) {
    const VerifyOptions options{.num_threads = 2, .bypass_cache = true};
    const std::string alone = error_of<UsageError>([&] { verify_checkpoint(file, options); });
    EXPECT_EQ(error_of<UsageError>([&] { verify_checkpoint(file, MPI_COMM_WORLD, options); }),
              alone);
    return alone;
  };
  EXPECT_EQ(error(path("none.h5")),
            "checkpoint '" + path("none.h5") + "': No such file or directory");
  EXPECT_EQ(error(folder_), "checkpoint '" + folder_ + "': it is not a regular file");
  flip(size_ - 40, 0);
  EXPECT_EQ(error(file_), "checkpoint '" + file_ + "': the seal is damaged");
  flip(size_ - 40, 0);
  MPI_Barrier(MPI_COMM_WORLD);
  if (world_rank() == 0)
    std::filesystem::resize_file(file_, static_cast<std::uintmax_t>(size_ / 2));
  MPI_Barrier(MPI_COMM_WORLD);
  EXPECT_NE(error(file_).find("it has no seal"), std::string::npos);
}

TEST_F(Verify, ProgressRisesToTheWhole) {
  std::int64_t last = 0;
  std::int64_t whole = 0;
  std::mutex mutex;
  const auto progress = [&](std::int64_t done, std::int64_t all) {
    const std::unique_lock lock(mutex, std::try_to_lock);
    EXPECT_TRUE(lock.owns_lock()) << "two threads at once";
    EXPECT_GT(done, last);
    last = done;
    whole = all;
  };
  verify_checkpoint(file_, {.num_threads = 4, .progress = progress});
  std::int64_t sum = 0;
  for (const auto& [name, bytes] : places_) sum += bytes.size();
  EXPECT_EQ(last, sum);
  EXPECT_EQ(whole, sum);
}

}  // namespace
}  // namespace cuboid::testing_checkpoint
