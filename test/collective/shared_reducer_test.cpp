// ranks: 1 2 3 4 8
// All-reduce in memory that the ranks of a node share, through the communicator that allocates it:
// on the one node that the tests run on, and with the ranks divided into nodes of two and three,
// the last smaller than the others, between which only messages pass.
#include <gtest/gtest.h>
#include <mpi.h>
#include <omp.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <stdexcept>
#include <thread>

#include "cuboid/collective/bfloat16.hpp"
#include "cuboid/collective/mpi_communicator.hpp"

namespace cuboid {
namespace {

std::ptrdiff_t threads_of_this_process() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                       std::filesystem::directory_iterator());
}

// The parameter: ranks per node, 0 for all on one.
class SharedReduction : public ::testing::TestWithParam<int> {
 protected:
  template <typename T>
  std::span<T> take(std::int64_t count) {
    auto* memory =
        reinterpret_cast<T*>(comm_.allocate(static_cast<std::size_t>(count) * sizeof(T)));
    return {memory, static_cast<std::size_t>(count)};
  }
  // Whole numbers below 16 over 8 ranks: exact in every type.
  [[nodiscard]] static double value(int rank, std::size_t i) {
    return static_cast<double>((static_cast<std::size_t>(rank) * 7 + i * 3) % 13);
  }
  [[nodiscard]] double result(ReduceOp op, std::size_t i) const {
    double all = value(0, i);
    for (int rank = 1; rank < comm_.size(); ++rank) {
      const double next = value(rank, i);
      if (op == ReduceOp::kSum) all += next;
      if (op == ReduceOp::kMax) all = std::max(all, next);
      if (op == ReduceOp::kMin) all = std::min(all, next);
    }
    return all;
  }

  MpiCommunicator comm_{MPI_COMM_WORLD, "dp", {.ranks_per_node = GetParam()}};
};
INSTANTIATE_TEST_SUITE_P(RanksPerNode, SharedReduction, ::testing::Values(0, 2, 3),
                         ::testing::PrintToStringParamName());

// What holds on one node only.
class OneNodeReduction : public SharedReduction {};
INSTANTIATE_TEST_SUITE_P(RanksPerNode, OneNodeReduction, ::testing::Values(0),
                         ::testing::PrintToStringParamName());

TEST_P(SharedReduction, MemoryIsZeroAlignedAndItsOwn) {
  const std::span<std::uint8_t> first = take<std::uint8_t>(1000);
  const std::span<std::uint8_t> second = take<std::uint8_t>(1);
  for (const auto& memory : {first, second}) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.data()) % 64, 0U);
    for (const std::uint8_t byte : memory) ASSERT_EQ(byte, 0);
  }
  std::fill(first.begin(), first.end(), static_cast<std::uint8_t>(comm_.rank() + 1));
  comm_.barrier();
  EXPECT_EQ(first.back(), comm_.rank() + 1);
}

TEST_P(SharedReduction, EveryTypeAndOperationOfEverySize) {
  constexpr std::int64_t kLargest = 300'000;
  const std::span<double> memory = take<double>(kLargest);
  const auto check = [&]<typename T>(T, ReduceOp op, std::int64_t count) {
    // Not at the begin, so that shares are cut in odd places.
    const std::span<T> values{reinterpret_cast<T*>(memory.data()) + 3,
                              static_cast<std::size_t>(count)};
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<T>(value(comm_.rank(), i));
    comm_.all_reduce(buffer_of(values), op);
    for (std::size_t i = 0; i < values.size(); ++i)
      ASSERT_EQ(static_cast<double>(values[i]), result(op, i)) << i << " of " << count;
    comm_.barrier();
  };
  for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kMin}) {
    for (const std::int64_t count : {1, 2, 15, 16, 17, 1000, 65'537, 299'990}) {
      check(float{}, op, count);
      check(double{}, op, count);
      check(std::int64_t{}, op, count);
    }
  }
}

TEST_P(OneNodeReduction, BFloat16IsRoundedOnce) {
  const std::span<std::uint16_t> values = take<std::uint16_t>(5000);
  const auto term = [](int rank, std::size_t i) {
    return std::ldexp(
        128.0F + static_cast<float>((i * 5 + static_cast<std::size_t>(rank) * 3) % 128),
        static_cast<int>((i + static_cast<std::size_t>(rank)) % 4));
  };
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = bfloat16_of_float(term(comm_.rank(), i));
  comm_.all_reduce({values.data(), 5000, DType::kBFloat16, Place::kHost});
  for (std::size_t i = 0; i < values.size(); ++i) {
    float sum = 0;
    for (int rank = 0; rank < comm_.size(); ++rank) sum += term(rank, i);
    ASSERT_EQ(values[i], bfloat16_of_float(sum)) << i;
  }
}

// Floating sums in rank order: the same bits on all ranks, and what one rank would get alone.
TEST_P(OneNodeReduction, AddsInRankOrder) {
  const std::span<float> values = take<float>(100'000);
  const auto term = [](int rank, std::size_t i) {
    return 1.0F / static_cast<float>(1 + rank + static_cast<int>(i % 97));
  };
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = term(comm_.rank(), i);
  comm_.all_reduce(buffer_of(values));
  for (std::size_t i = 0; i < values.size(); ++i) {
    float sum = term(0, i);
    for (int rank = 1; rank < comm_.size(); ++rank) sum += term(rank, i);
    ASSERT_EQ(values[i], sum) << i;
  }
}

// The threads of a rank that waits share its sums: each element is still added in rank order.
TEST_P(SharedReduction, ATeamSumsTheSameBits) {
  constexpr std::size_t kCount = 1'500'000;
  const std::span<float> values = take<float>(kCount);
  const auto sums_of = [&](int threads, std::int64_t count) {
    omp_set_num_threads(threads);
    for (std::size_t i = 0; i < kCount; ++i)
      values[i] = 1.0F / static_cast<float>(1 + comm_.rank() * 3 + static_cast<int>(i % 97));
    comm_.all_reduce(slice(buffer_of(values), 5, count));
    comm_.barrier();
    return std::vector<float>(values.begin(), values.end());
  };
  for (const std::int64_t count : {1, 1000, 40'000, 300'001, 1'499'990}) {
    const std::vector<float> alone = sums_of(1, count);
    for (const int threads : {2, 3}) {
      const std::vector<float> team = sums_of(threads, count);
      ASSERT_EQ(std::memcmp(alone.data(), team.data(), values.size_bytes()), 0)
          << count << " by " << threads;
    }
  }
  omp_set_num_threads(1);
}

TEST_P(OneNodeReduction, AllThreadsSumWhereARankWaitsForMuch) {
  if (comm_.size() == 1) return;
  constexpr int kThreads = 3;
  const std::span<float> values = take<float>(std::int64_t{comm_.size()} << 18);
  const auto new_threads = [&](std::int64_t count) {
    // Of a thread of its own, whose team is not there before.
    std::ptrdiff_t before = 0;
    std::ptrdiff_t after = 0;
    std::thread([&] {
      omp_set_num_threads(kThreads);
      before = threads_of_this_process();
      comm_.all_reduce(slice(buffer_of(values), 0, count));
      after = threads_of_this_process();
    }).join();
    return after - before;
  };
  EXPECT_EQ(new_threads(1000), 0);
  EXPECT_EQ(new_threads(static_cast<std::int64_t>(values.size())), kThreads - 1);
}

// Between nodes the sum of each is rounded, then theirs; whatever the order, all get the same.
TEST_P(SharedReduction, EveryRankReceivesTheSameBits) {
  constexpr std::int64_t kCount = 700'000;
  const std::span<float> values = take<float>(kCount);
  const auto term = [](int rank, std::size_t i) {
    return 1.0F / static_cast<float>(1 + rank * 3 + static_cast<int>(i % 97));
  };
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = term(comm_.rank(), i);
  comm_.all_reduce(buffer_of(values));
  for (std::size_t i = 0; i < values.size(); ++i) {
    double sum = 0;
    for (int rank = 0; rank < comm_.size(); ++rank) sum += term(rank, i);
    // Each addition of positive terms rounds by at most 2^-24 of the sum.
    ASSERT_NEAR(values[i], sum, sum * comm_.size() * std::ldexp(1.0, -24)) << i;
  }
  std::vector<float> first(values.begin(), values.end());
  comm_.broadcast(buffer_of(std::span(first)), 0);
  EXPECT_EQ(std::memcmp(first.data(), values.data(), values.size_bytes()), 0);
}

// More under way than signatures are kept, with ranks that start and poll at different times.
TEST_P(SharedReduction, ManyUnderWayAtOnce) {
  constexpr std::int64_t kPart = 5000;
  constexpr int kParts = 150;
  const std::span<float> memory = take<float>(kPart * kParts);
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 0; i < memory.size(); ++i)
      memory[i] = static_cast<float>(value(comm_.rank(), i + static_cast<std::size_t>(round)));
    std::vector<PendingWork> works;
    for (int part = 0; part < kParts; ++part) {
      if ((part + comm_.rank()) % 40 == 0)
        std::this_thread::sleep_for(std::chrono::milliseconds(comm_.rank()));
      works.push_back(
          comm_.start_all_reduce(slice(buffer_of(memory), part * kPart, kPart), ReduceOp::kSum));
      if (part % 3 == comm_.rank() % 3) works[static_cast<std::size_t>(part / 2)]->poll();
    }
    // Waiting in another order than that of the starts.
    for (std::size_t i = works.size(); i-- > 0;) works[i]->wait();
    for (std::size_t i = 0; i < memory.size(); ++i)
      ASSERT_EQ(memory[i], result(ReduceOp::kSum, i + static_cast<std::size_t>(round))) << i;
  }
}

TEST_P(SharedReduction, WaitsInItsDestructor) {
  const std::span<double> values = take<double>(40'000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = value(comm_.rank(), i);
  {
    const PendingWork work = comm_.start_all_reduce(buffer_of(values), ReduceOp::kSum);
  }
  for (std::size_t i = 0; i < values.size(); ++i)
    ASSERT_EQ(values[i], result(ReduceOp::kSum, i)) << i;
}

// What does not lie in shared memory goes the usual way, before and after.
TEST_P(SharedReduction, OtherMemoryGoesOverMessages) {
  const std::span<double> shared = take<double>(100);
  std::vector<double> own(100, comm_.rank());
  std::fill(shared.begin(), shared.end(), comm_.rank());
  comm_.all_reduce(buffer_of(std::span(own)));
  comm_.all_reduce(buffer_of(shared));
  comm_.all_reduce(buffer_of(std::span(own)), ReduceOp::kMax);
  const double sum = comm_.size() * (comm_.size() - 1) / 2.0;
  EXPECT_EQ(shared[99], sum);
  EXPECT_EQ(own[99], sum);
}

// A rank that waits here answers messages meanwhile: a large one needs both ends.
TEST_P(SharedReduction, MessagesArriveWhileARankWaits) {
  if (comm_.size() < 2) return;
  MpiCommunicator messages(MPI_COMM_WORLD, "p2p");
  const std::span<double> values = take<double>(10);
  std::vector<double> large(1 << 20, 1.0);
  if (comm_.rank() == 0) {
    const PendingWork sent = messages.start_send(buffer_of(std::span(large)), 1);
    comm_.all_reduce(buffer_of(values));
    sent->wait();
  } else {
    if (comm_.rank() == 1) messages.receive(buffer_of(std::span(large)), 0);
    comm_.all_reduce(buffer_of(values));
  }
}

TEST_P(OneNodeReduction, RanksThatDifferAreAnError) {
  if (comm_.size() < 2) return;
  const std::span<double> values = take<double>(100);
  EXPECT_THROW(comm_.all_reduce(slice(buffer_of(values), 0, comm_.rank() == 0 ? 50 : 51)),
               std::logic_error);
}

}  // namespace
}  // namespace cuboid
