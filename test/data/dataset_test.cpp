// ranks: 1 4
#include "cuboid/data/dataset.hpp"

#include <gtest/gtest.h>
#include <mpi.h>

#include <numeric>
#include <optional>

#include "cuboid/collective/mpi_communicator.hpp"
#include "cuboid/data/digest.hpp"
#include "files.hpp"

namespace cuboid {
namespace {

namespace fs = std::filesystem;
using testing::contains;
using testing::counting;
using testing::llm_c16;
using testing::raw;
using testing::TemporaryFolder;
using testing::usage_error_of;
using testing::write_file;

// Rank 0 makes a folder that all ranks know, and fills it.
class DatasetTest : public ::testing::Test {
 protected:
  DatasetTest() : control_(MPI_COMM_WORLD, "control") {
    std::string path(1000, '\0');
    if (root()) {
      mine_.emplace();
      path.replace(0, mine_->path().size(), mine_->path());
    }
    MPI_Bcast(path.data(), static_cast<int>(path.size()), MPI_CHAR, 0, MPI_COMM_WORLD);
    folder_ = path.c_str();
  }
  // No rank removes or changes files that another still uses.
  ~DatasetTest() override { control_.barrier(); }

  [[nodiscard]] bool root() const { return control_.rank() == 0; }
  void write(const std::string& name, const std::string& bytes) {
    control_.barrier();
    if (root()) write_file(folder_ + "/" + name, bytes);
    control_.barrier();
  }
  [[nodiscard]] DataRequest request(const DataNeeds& needs = {8, 50257, true}) const {
    return {folder_ + "/data", folder_ + "/out", needs};
  }
  std::string error_of(const DataRequest& what) {
    return usage_error_of([&] { open_dataset(control_, what); });
  }
  // Fails the test unless all ranks hold the same text.
  void expect_same_everywhere(const std::string& text) {
    const std::uint64_t digest = xxh3(std::as_bytes(std::span(text)));
    auto low = static_cast<std::int64_t>(digest >> 1);
    auto high = low;
    control_.all_reduce(buffer_of(low), ReduceOp::kMin);
    control_.all_reduce(buffer_of(high), ReduceOp::kMax);
    EXPECT_EQ(low, high) << text;
  }

  MpiCommunicator control_;
  std::optional<TemporaryFolder> mine_;
  std::string folder_;
};

std::vector<std::int64_t> all_of(const TokenSplit& split) {
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(split.size()));
  split.read(0, tokens);
  return tokens;
}

TEST_F(DatasetTest, TextIsPackedOnceAndTheSameEverywhere) {
  write("data/a.txt", std::string(100, 'a'));
  write("data/b.txt", std::string(99, 'b'));
  const auto first = open_dataset(control_, request());
  EXPECT_FALSE(first.cache_reused);
  EXPECT_EQ(first.info.kind, DataKind::kText);
  EXPECT_EQ(first.info.num_files, 2);
  EXPECT_EQ(first.info.vocab_size, 256);
  auto tokens = all_of(first.train);
  ASSERT_EQ(tokens.size(), 180U);
  const auto rest = all_of(first.validation);
  EXPECT_EQ(rest.size(), 20U);
  tokens.insert(tokens.end(), rest.begin(), rest.end());
  std::vector<std::int64_t> expected(200, 'b');
  std::fill(expected.begin(), expected.begin() + 100, 'a');
  expected[100] = '\n';
  EXPECT_EQ(tokens, expected);

  control_.barrier();
  const auto second = open_dataset(control_, request());
  EXPECT_TRUE(second.cache_reused);
  EXPECT_EQ(second.cache_path, first.cache_path);
}

TEST_F(DatasetTest, SplitsOutliveTheDataset) {
  write("data", std::string(200, 'a'));
  const TokenSplit train = open_dataset(control_, request()).train;
  EXPECT_EQ(all_of(train), std::vector<std::int64_t>(180, 'a'));
}

TEST_F(DatasetTest, ShardsAndTheirValidationFile) {
  write("data/train_1.bin", llm_c16(counting<std::uint16_t>(100, 50)));
  write("data/train_0.bin", llm_c16(counting<std::uint16_t>(50)));
  write("data/val.bin", llm_c16(counting<std::uint16_t>(30, 1000)));
  const auto dataset = open_dataset(control_, request());
  std::vector<std::int64_t> expected(150);
  std::iota(expected.begin(), expected.end(), 1);
  EXPECT_EQ(all_of(dataset.train), expected);
  expected.resize(30);
  std::iota(expected.begin(), expected.end(), 1001);
  EXPECT_EQ(all_of(dataset.validation), expected);
  EXPECT_EQ(describe(dataset.info),
            "llm.c tokens (uint16), 3 files, 150 training and 30 validation tokens");
}

TEST_F(DatasetTest, RelativePathsWork) {
  write("data/train.bin", raw(counting<std::uint16_t>(100)));
  auto relative = request();
  relative.path = fs::relative(relative.path).string();
  EXPECT_EQ(open_dataset(control_, relative).train.size(), 90);
}

TEST_F(DatasetTest, ErrorsOfRankZeroReachAllRanks) {
  const auto expect = [&](const DataRequest& what, const std::string& part) {
    const auto error = error_of(what);
    EXPECT_TRUE(contains(error, part)) << error;
    expect_same_everywhere(error);
  };
  expect(request(), "No such file");
  write("data/train.bin", "");
  expect(request(), "is empty");
  write("data/train.bin", "odd");
  expect(request(), "odd size");
  write("data/train.bin", raw(counting<std::uint16_t>(100)));
  expect(request({10, 50257, true}), "10 validation tokens (the last tenth), fewer than");
  expect(request({8, 100, true}), "token id 100 at position 99");
  EXPECT_EQ(error_of(request({8, 101, true})), "(no error)");
}

TEST_F(DatasetTest, AllProblemsReachAllRanks) {
  write("data/a.bin", "odd");
  write("data/b.bin", "");
  try {
    open_dataset(control_, request());
    ADD_FAILURE() << "no error";
  } catch (const UsageError& error) {
    EXPECT_EQ(error.problems().size(), 2U);
    expect_same_everywhere(error.what());
  }
}

TEST_F(DatasetTest, AnUnwritableOutputFolderReachesAllRanks) {
  write("data/a.txt", std::string(200, 'a'));
  write("out", "a file where the folder should be");
  const auto error = error_of(request());
  EXPECT_TRUE(contains(error, "--output-dir, which must be writable")) << error;
  expect_same_everywhere(error);
}

// A file that one rank cannot read (a node without the file system) must not leave the others
// waiting.
TEST_F(DatasetTest, AnErrorOfOneRankReachesAllRanks) {
  if (control_.size() == 1) GTEST_SKIP() << "needs two ranks";
  write("data/train.bin", raw(counting<std::uint16_t>(100)));
  if (root()) {
    fs::permissions(folder_,
                    fs::perms::owner_all | fs::perms::others_exec | fs::perms::others_read);
    fs::permissions(folder_ + "/data/train.bin", fs::perms::owner_read);
  }
  control_.barrier();
  std::string error;
  {
    std::optional<testing::WithoutRoot> user;
    if (control_.rank() == 1) user.emplace();
    error = error_of(request());
  }
  EXPECT_TRUE(contains(error, "rank 1: ")) << error;
  EXPECT_TRUE(contains(error, "Permission denied")) << error;
  expect_same_everywhere(error);
}

}  // namespace
}  // namespace cuboid
