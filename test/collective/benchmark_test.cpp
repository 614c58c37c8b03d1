// ranks: 2 3 4
// The collectives' benchmark: bandwidth against a calculation by hand, numbers that are exact in
// every type, and wrong results that are counted.
#include "cuboid/collective/benchmark.hpp"

#include <gtest/gtest.h>
#include <mpi.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "collective/falsifier.hpp"
#include "cuboid/collective/backend.hpp"
#include "cuboid/collective/bfloat16.hpp"
#include "cuboid/collective/check_data.hpp"

namespace cuboid {
namespace {

using test::Falsifier;

constexpr DType kTypes[] = {DType::kFloat32, DType::kFloat64, DType::kBFloat16, DType::kInt64,
                            DType::kUInt8};
constexpr ReduceOp kOps[] = {ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kMin};

// 4 ranks, 1 MiB in 500 us: 2.097152 GB/s. Each rank of a ring all_reduce sends three quarters
// twice.
TEST(Bandwidth, IsWhatAHandCalculatesIt) {
  EXPECT_DOUBLE_EQ(algorithm_bandwidth(1 << 20, 500e-6), 2.097152);
  EXPECT_DOUBLE_EQ(algorithm_bandwidth(3'000'000'000, 2), 1.5);
  EXPECT_DOUBLE_EQ(2.097152 * bus_factor(Collective::kAllReduce, 4), 3.145728);
  EXPECT_DOUBLE_EQ(bus_factor(Collective::kAllGather, 4), 0.75);
  EXPECT_DOUBLE_EQ(bus_factor(Collective::kReduceScatter, 8), 0.875);
  EXPECT_DOUBLE_EQ(bus_factor(Collective::kBroadcast, 8), 1);
  EXPECT_DOUBLE_EQ(bus_factor(Collective::kSendReceive, 8), 1);
  EXPECT_DOUBLE_EQ(bus_factor(Collective::kAllReduce, 2), 1);
}

// A row that nccl-tests printed for 16 ranks: 1 GiB in 6759.0 us, algbw 158.86, busbw 297.86.
TEST(Bandwidth, AgreesWithARowOfNcclTests) {
  const double algorithm = algorithm_bandwidth(std::int64_t{1} << 30, 6759.0e-6);
  EXPECT_NEAR(algorithm, 158.86, 0.005);
  EXPECT_NEAR(algorithm * bus_factor(Collective::kAllReduce, 16), 297.86, 0.005);
}

// Sizes as nccl-tests counts them: of all parts together, rounded down to equal parts.
TEST(Case, CountsAndSizesFollowNcclTests) {
  EXPECT_EQ(count_for(Collective::kAllReduce, DType::kFloat32, 1030, 4), 257);
  EXPECT_EQ(count_for(Collective::kAllGather, DType::kFloat32, 1030, 4), 64);
  EXPECT_EQ(count_for(Collective::kReduceScatter, DType::kFloat64, 31, 4), 0);
  const CollectiveCase gather = {
      .collective = Collective::kAllGather, .in_place = false, .count = 64};
  EXPECT_EQ(size_of(gather, 4), 1024);
  EXPECT_EQ(memory_for(gather, 4).first, 256);
  EXPECT_EQ(memory_for(gather, 4).second, 1024);
}

TEST(CheckData, IsExactInEveryTypeForAnyNumberOfRanks) {
  for (const int ranks : {1, 2, 3, 16, 17, 1000}) {
    for (std::int64_t i = 0; i < 50; ++i) {
      for (const ReduceOp op : kOps) {
        std::int64_t expected = check_term(op, 0, ranks, i, 3);
        for (int rank = 1; rank < ranks; ++rank) {
          const std::int64_t term = check_term(op, rank, ranks, i, 3);
          if (op == ReduceOp::kSum) expected += term;
          if (op == ReduceOp::kMax) expected = std::max(expected, term);
          if (op == ReduceOp::kMin) expected = std::min(expected, term);
        }
        EXPECT_EQ(check_result(op, ranks, i, 3), expected) << ranks << " ranks, element " << i;
        // Up to 256, bf16 has every whole number; partial sums are smaller.
        const auto number = static_cast<float>(expected);
        EXPECT_EQ(float_of_bfloat16(bfloat16_of_float(number)), number);
      }
    }
  }
}

TEST(CheckData, DiffersBetweenRanksElementsAndRounds) {
  const auto differing = [](auto&& a, auto&& b) {
    int count = 0;
    for (std::int64_t i = 0; i < 1000; ++i) count += a(i) != b(i) ? 1 : 0;
    return count;
  };
  const auto message = [](int rank, std::int64_t shift, int round) {
    return [=](std::int64_t i) { return check_message(rank, i + shift, round); };
  };
  EXPECT_GT(differing(message(0, 0, 0), message(1, 0, 0)), 900);
  EXPECT_GT(differing(message(0, 0, 0), message(0, 1, 0)), 900);
  EXPECT_GT(differing(message(0, 0, 0), message(0, 1 << 18, 0)), 900);
  EXPECT_GT(differing(message(0, 0, 0), message(0, 0, 1)), 900);
}

class CollectiveBenchmarkTest : public testing::Test {
 protected:
  void SetUp() override { comm_ = make_communicator(Backend::kMpi, MPI_COMM_WORLD, "test"); }

  CollectiveBenchmark benchmark(Communicator& group) {
    return {group, *comm_, buffer_of(std::span(first_)), buffer_of(std::span(second_))};
  }
  // Every case of this many bytes a rank (at most).
  template <typename Visit>
  void for_each_case(std::int64_t bytes, Visit&& visit) {
    for (const Collective collective : all_collectives()) {
      for (const DType dtype : kTypes) {
        for (const ReduceOp op : kOps) {
          if (reduces(collective) ? dtype == DType::kUInt8 : op != ReduceOp::kSum) continue;
          for (const bool in_place : {false, true}) {
            if (in_place ? !runs_in_place(collective) : !runs_out_of_place(collective)) continue;
            const CollectiveCase one = {
                collective,        dtype,    op,
                comm_->size() - 1, in_place, count_for(collective, dtype, bytes, comm_->size())};
            SCOPED_TRACE(std::string(name_of(collective)) + " " + name_of(dtype).data() +
                         (in_place ? " in place" : " out of place"));
            visit(one);
          }
        }
      }
    }
  }

  std::unique_ptr<Communicator> comm_;
  std::vector<std::uint8_t> first_ = std::vector<std::uint8_t>(300000);
  std::vector<std::uint8_t> second_ = std::vector<std::uint8_t>(300000);
};

TEST_F(CollectiveBenchmarkTest, FindsNothingWrongWithMpi) {
  CollectiveBenchmark subject = benchmark(*comm_);
  for (const std::int64_t bytes : {64, 300000}) {
    for_each_case(bytes, [&](const CollectiveCase& one) {
      ASSERT_GT(one.count, 0);
      for (int round = 0; round < 2; ++round) EXPECT_EQ(subject.check(one, round), 0);
    });
  }
}

// One wrong byte is one wrong element, whatever the type; other ranks have none.
TEST_F(CollectiveBenchmarkTest, CountsAWrongElement) {
  const bool guilty = comm_->rank() == comm_->size() - 1;
  Falsifier falsifier(*comm_, [&](std::byte* data, std::size_t bytes) {
    // The highest byte of the last element: it changes every type's value.
    if (guilty) data[bytes - 1] ^= std::byte{0x40};
  });
  CollectiveBenchmark subject = benchmark(falsifier);
  for_each_case(
      4096, [&](const CollectiveCase& one) { EXPECT_EQ(subject.check(one, 1), guilty ? 1 : 0); });
}

// A collective that does nothing leaves what was there before: all of it must count as wrong, but
// for the rank's own part.
TEST_F(CollectiveBenchmarkTest, CountsWhatNeverArrived) {
  Falsifier falsifier(*comm_,
                      [](std::byte* data, std::size_t bytes) { std::memset(data, 0xFF, bytes); });
  CollectiveBenchmark subject = benchmark(falsifier);
  for_each_case(4096, [&](const CollectiveCase& one) {
    const std::int64_t parts = one.collective == Collective::kAllGather ? comm_->size() : 1;
    EXPECT_EQ(subject.check(one, 1), one.count * parts);
  });
}

// A sum without one rank's numbers is found wherever that rank contributes more than nothing.
TEST_F(CollectiveBenchmarkTest, CountsAMissingContribution) {
  const int n = comm_->size();
  std::int64_t expected = 0;
  for (std::int64_t i = 0; i < 1024; ++i)
    expected += check_term(ReduceOp::kSum, n - 1, n, i, 2) != 0 ? 1 : 0;
  Falsifier falsifier(*comm_, [&](std::byte* data, std::size_t bytes) {
    for (std::size_t at = 0; at < bytes; at += sizeof(float)) {
      float value = 0;
      std::memcpy(&value, data + at, sizeof(float));
      value -= static_cast<float>(
          check_term(ReduceOp::kSum, n - 1, n, static_cast<std::int64_t>(at / sizeof(float)), 2));
      std::memcpy(data + at, &value, sizeof(float));
    }
  });
  CollectiveBenchmark subject = benchmark(falsifier);
  EXPECT_EQ(subject.check({.count = 1024}, 2), expected);
  EXPECT_GT(expected, 900);
}

TEST_F(CollectiveBenchmarkTest, TimesAndAverages) {
  CollectiveBenchmark subject = benchmark(*comm_);
  EXPECT_GE(subject.time({.count = 1024}, 1, 3), 0);
  const double mine = comm_->rank() + 1.0;
  const double n = comm_->size();
  EXPECT_EQ(over_ranks(mine, Average::kFirst, *comm_), 1);
  EXPECT_DOUBLE_EQ(over_ranks(mine, Average::kMean, *comm_), (n + 1) / 2);
  EXPECT_EQ(over_ranks(mine, Average::kMinimum, *comm_), 1);
  EXPECT_EQ(over_ranks(mine, Average::kMaximum, *comm_), n);
}

}  // namespace
}  // namespace cuboid
