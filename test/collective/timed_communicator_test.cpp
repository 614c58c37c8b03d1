// ranks: 1 2 4
// Timed communicators pass on what they are asked (verbs.hpp's tests of the grid's communicators
// run through them as well) and record it.
#include "cuboid/collective/timed_communicator.hpp"

#include <gtest/gtest.h>
#include <mpi.h>

#include <algorithm>
#include <numeric>
#include <thread>

#include "cuboid/base/timer.hpp"
#include "cuboid/collective/mpi_communicator.hpp"

namespace cuboid {
namespace {

class TimedCommunicatorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    comm_ = make_timed_communicator(std::make_unique<MpiCommunicator>(MPI_COMM_WORLD, "dp"),
                                    recorder_, StepPart::kDpWait);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }
  StepRecord end() {
    recorder_.end_step();
    return recorder_.take().front();
  }
  static std::vector<std::string> names(const StepRecord& record) {
    std::vector<std::string> names;
    for (const Slice& slice : record.slices) names.push_back(label_text(slice.label));
    return names;
  }

  StepRecorder recorder_;
  std::unique_ptr<Communicator> comm_;
  int rank_ = 0;
  int size_ = 1;
};

TEST_F(TimedCommunicatorTest, VerbsReachTheCommunicatorWithin) {
  EXPECT_EQ(comm_->rank(), rank_);
  EXPECT_EQ(comm_->size(), size_);
  EXPECT_EQ(comm_->name(), "dp");
  double value = rank_ + 1;
  comm_->all_reduce(buffer_of(value));
  EXPECT_EQ(value, size_ * (size_ + 1) / 2);
  value = rank_;
  comm_->start_all_reduce(buffer_of(value), ReduceOp::kMax)->wait();
  EXPECT_EQ(value, size_ - 1);
  std::vector<double> all(static_cast<std::size_t>(size_));
  double mine = rank_;
  comm_->all_gather(buffer_of(mine), buffer_of(std::span(all)));
  for (int r = 0; r < size_; ++r) EXPECT_EQ(all[static_cast<std::size_t>(r)], r);
  double part = -1;
  comm_->reduce_scatter(buffer_of(std::span(all)), buffer_of(part));
  EXPECT_EQ(part, size_ * rank_);
  comm_->start_reduce_scatter(buffer_of(std::span(all)), buffer_of(part), ReduceOp::kMin, {})
      ->wait();
  EXPECT_EQ(part, rank_);
  value = rank_;
  comm_->broadcast(buffer_of(value), size_ - 1);
  EXPECT_EQ(value, size_ - 1);
  comm_->barrier();
  double received = -1;
  const Transfer ring[] = {
      {Transfer::Kind::kReceive, buffer_of(received), (rank_ + size_ - 1) % size_},
      {Transfer::Kind::kSend, buffer_of(mine), (rank_ + 1) % size_}};
  comm_->start_exchange(ring)->wait();
  EXPECT_EQ(received, (rank_ + size_ - 1) % size_);
}

TEST_F(TimedCommunicatorTest, OneRankHasNothingToTime) {
  if (size_ > 1) GTEST_SKIP() << "for one rank";
  recorder_.begin_step(1, Detail::kSpans);
  double value = 1;
  comm_->all_reduce(buffer_of(value));
  EXPECT_EQ(names(end()), (std::vector<std::string>{"step"}));
}

TEST_F(TimedCommunicatorTest, CallsAreSpansOfTheirAxis) {
  if (size_ == 1) GTEST_SKIP() << "one rank has nothing to time";
  std::vector<float> values(1000, 1.0F);
  recorder_.begin_step(1, Detail::kSpans);
  comm_->all_reduce(buffer_of(std::span(values)));
  const PendingWork work = comm_->start_all_reduce(buffer_of(std::span(values)), ReduceOp::kSum);
  work->wait();
  comm_->barrier();
  const StepRecord record = end();
  EXPECT_EQ(names(record), (std::vector<std::string>{"step", "dp all_reduce", "dp all_reduce",
                                                     "dp all_reduce", "dp barrier"}));
  for (std::size_t i = 1; i < record.slices.size(); ++i)
    EXPECT_EQ(record.slices[i].part, StepPart::kDpWait);
  EXPECT_EQ(record.slices[1].label.bytes, 4000);
  // The started one was under way from its start to its wait.
  ASSERT_EQ(record.flights.size(), 1U);
  EXPECT_GE(record.flights[0].begin_ns, record.slices[2].begin_ns);
  EXPECT_LE(record.flights[0].end_ns, record.slices[3].end_ns);
  EXPECT_GE(record.flights[0].end_ns, record.slices[3].begin_ns);
}

// What one rank waits for a late one is in its dp_wait, to the clock's word: at least the sleep.
TEST_F(TimedCommunicatorTest, AWaitForALateRankIsCounted) {
  if (size_ == 1) GTEST_SKIP() << "one rank waits for nobody";
  constexpr auto kLate = std::chrono::milliseconds(50);
  comm_->barrier();
  recorder_.begin_step(1, Detail::kSums);
  const Timer timer;
  if (rank_ == 0) {
    const Span span(&recorder_, StepPart::kForward, {.what = "forward"});
    std::this_thread::sleep_for(kLate);
  }
  double value = 1;
  comm_->all_reduce(buffer_of(value));
  const double passed = timer.seconds();
  const StepRecord record = end();
  const double waited = record.seconds[static_cast<std::size_t>(StepPart::kDpWait)];
  const double computed = record.seconds[static_cast<std::size_t>(StepPart::kForward)];
  if (rank_ == 0) {
    EXPECT_GE(computed, 0.05);
  }
  // All but what lies between the barrier's ends on the two ranks.
  EXPECT_GE(computed + waited, 0.9 * passed);
  EXPECT_LE(computed + waited, static_cast<double>(record.end_ns - record.begin_ns) * 1e-9 + 1e-12);
}

}  // namespace
}  // namespace cuboid
