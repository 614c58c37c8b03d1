// ranks: 4
// cuboid bench collectives below its options: which rows are measured, what a wrong result does to
// them, and the table's text.
#include "cuboid/app/bench_run.hpp"

#include <gtest/gtest.h>
#include <mpi.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "collective/falsifier.hpp"
#include "cuboid/collective/backend.hpp"

namespace cuboid {
namespace {

using Sizes = std::vector<std::int64_t>;

BenchArguments arguments_of(const std::vector<std::string>& words) {
  BenchArguments arguments = read_bench_arguments(words);
  EXPECT_TRUE(arguments.problems.empty()) << arguments.problems[0];
  return arguments;
}

TEST(BenchArguments, SizesGrowByFactorOrStep) {
  EXPECT_EQ(arguments_of({"-b", "8", "-e", "64", "-f", "2"}).sizes(), (Sizes{8, 16, 32, 64}));
  EXPECT_EQ(arguments_of({"--minbytes=1K", "--maxbytes", "3k", "-i", "1000"}).sizes(),
            (Sizes{1024, 2024, 3024}));
  EXPECT_EQ(arguments_of({"-b", "1G"}).sizes(), Sizes{1 << 30});
  EXPECT_EQ(arguments_of({"-e", "100"}).sizes(), Sizes{100});
  EXPECT_EQ(arguments_of({}).sizes().back(), 16 << 20);
}

TEST(BenchArguments, CasesAreThoseThatExist) {
  const auto count = [](const BenchArguments& arguments, Collective one, DType dtype) {
    const auto cases = arguments.cases(4);
    return std::ranges::count_if(
        cases, [&](const auto& c) { return c.collective == one && c.dtype == dtype; });
  };
  const BenchArguments all = arguments_of({"-b", "1K", "-e", "1K", "-d", "all", "-o", "all"});
  EXPECT_EQ(count(all, Collective::kAllReduce, DType::kBFloat16), 3);  // sum, max, min
  EXPECT_EQ(count(all, Collective::kAllReduce, DType::kUInt8), 0);
  EXPECT_EQ(count(all, Collective::kBroadcast, DType::kUInt8), 1);
  // 8 bytes are two elements: none for each of four ranks.
  const BenchArguments small = arguments_of({"-b", "8", "-e", "16", "-f", "2"});
  EXPECT_EQ(count(small, Collective::kAllReduce, DType::kFloat32), 2);
  EXPECT_EQ(count(small, Collective::kAllGather, DType::kFloat32), 1);
  // Steps below an element are no further rows.
  const BenchArguments fine = arguments_of({"-b", "16", "-e", "24", "-i", "1", "broadcast"});
  EXPECT_EQ(fine.cases(4).size(), 3U);
}

class BenchRunTest : public testing::Test {
 protected:
  void SetUp() override {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    everyone_ = make_communicator(Backend::kMpi, MPI_COMM_WORLD, "everyone");
  }
  // Groups of the ranks of one colour; `change` is done to what they receive.
  BenchResult run(const BenchArguments& arguments, int colour, int ranks,
                  test::Falsifier::Change change) {
    MPI_Comm comm = MPI_COMM_NULL;
    MPI_Comm_split(MPI_COMM_WORLD, colour, rank_, &comm);
    BenchResult result;
    {
      const auto control = make_communicator(Backend::kMpi, comm, "control");
      test::Falsifier group(*control, std::move(change));
      std::vector<std::uint8_t> first(1 << 16);
      std::vector<std::uint8_t> second(1 << 16);
      const auto print = [&](const BenchRow& row) { printed_ += bench_line(row); };
      result = run_benchmarks(
          arguments, {.group = group, .control = *control, .everyone = *everyone_, .ranks = ranks},
          buffer_of(std::span(first)), buffer_of(std::span(second)), print);
    }
    MPI_Comm_free(&comm);
    return result;
  }

  int rank_ = 0;
  int size_ = 0;
  std::string printed_;
  std::unique_ptr<Communicator> everyone_;
};

TEST_F(BenchRunTest, NothingIsWrongWithMpi) {
  const BenchArguments arguments =
      arguments_of({"-b", "1K", "-e", "64K", "-n", "2", "-w", "1", "-c", "2"});
  const BenchResult result = run(arguments, 0, size_, [](auto*, auto) {});
  EXPECT_EQ(result.rows.size(), 5U * 4U);
  EXPECT_EQ(result.wrong(), 0);
  EXPECT_GT(result.average_bus(), 0);
  EXPECT_NE(bench_ending(result).find("# Out of bounds values : 0 OK\n"), std::string::npos);
  for (const BenchRow& row : result.rows) {
    EXPECT_EQ(row.in_place.has_value(), row.one.collective != Collective::kSendReceive);
    EXPECT_EQ(row.out_of_place.has_value(), row.one.collective != Collective::kAllReduce &&
                                                row.one.collective != Collective::kBroadcast);
  }
}

// One rank's last element is wrong, in each of three checks: every row says three.
TEST_F(BenchRunTest, AWrongElementIsCountedOnAllRanks) {
  const BenchArguments arguments =
      arguments_of({"-b", "1K", "-e", "4K", "-n", "1", "-w", "0", "-c", "3"});
  const BenchResult result = run(arguments, 0, size_, [&](std::byte* data, std::size_t bytes) {
    if (rank_ == size_ - 1) data[bytes - 1] ^= std::byte{0x40};
  });
  std::int64_t figures = 0;
  for (const BenchRow& row : result.rows) {
    for (const auto* one : {&row.out_of_place, &row.in_place}) {
      if (!*one) continue;
      ++figures;
      EXPECT_EQ((*one)->wrong, 3) << bench_line(row);
    }
  }
  EXPECT_EQ(figures, 2 * 7);
  EXPECT_EQ(result.wrong(), 3 * figures);
  EXPECT_NE(bench_ending(result).find(" 42 FAILED\n"), std::string::npos);
}

// Without checks nobody can say that nothing was wrong.
TEST_F(BenchRunTest, WhatIsNotCheckedIsNotCalledRight) {
  const BenchArguments arguments =
      arguments_of({"all_reduce", "-b", "1K", "-e", "1K", "-n", "1", "-c", "0"});
  const BenchResult result = run(arguments, 0, size_, [](auto*, auto) {});
  EXPECT_FALSE(result.rows[0].in_place->wrong.has_value());
  EXPECT_NE(printed_.find("N/A"), std::string::npos);
}

// As with `--axis ends` of a long pipeline: the others wait, and their zero is not the time.
TEST_F(BenchRunTest, RanksOfSmallerGroupsOnlyWait) {
  const bool is_end = rank_ == 0 || rank_ == 3;
  const BenchArguments arguments = arguments_of({"-b", "1K", "-e", "1K", "-n", "2", "--root", "1"});
  const BenchResult result = run(arguments, is_end ? 0 : rank_, 2, [](auto*, auto) {});
  EXPECT_EQ(result.wrong(), 0);
  for (const BenchRow& row : result.rows)
    EXPECT_GT((row.in_place ? row.in_place : row.out_of_place)->seconds, 0);
}

// 4 MiB over 4 ranks in 2 ms: 2.097152 GB/s, and three quarters of it twice on the bus.
TEST(BenchTable, ReadsLikeNcclTests) {
  const BenchRow row = {.one = {.count = 1 << 20},
                        .bytes = 4 << 20,
                        .out_of_place = {},
                        .in_place = BenchFigures{.seconds = 2e-3,
                                                 .algorithm = algorithm_bandwidth(4 << 20, 2e-3),
                                                 .bus = 3.145728,
                                                 .wrong = 0}};
  EXPECT_EQ(
      bench_line(row),
      "     4194304       1048576      fp32     sum      -1   2000.0    2.10    3.15       0\n");
  const std::string heading = bench_heading(Collective::kAllReduce);
  EXPECT_NE(heading.find("#       size         count      type   redop    root     time   algbw   "
                         "busbw  #wrong\n"),
            std::string::npos)
      << heading;
  BenchResult two;
  two.rows = {row, row};
  two.rows[1].in_place->bus = 1.145728;
  EXPECT_DOUBLE_EQ(two.average_bus(), 2.145728);
}

}  // namespace
}  // namespace cuboid
