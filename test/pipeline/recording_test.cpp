// ranks: 2 4
// What the executor records: its actions by name, and the bubble that theory foretells. Time is a
// number that each stage keeps: a compute adds to it, a message brings the sender's. Nothing
// depends on how busy the machine is. bench/pipeline/bubble.sh measures the same with real time.
#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <mpi.h>

#include <algorithm>
#include <utility>

#include "cuboid/pipeline/executor.hpp"

namespace cuboid {
namespace {

constexpr std::int64_t kForwardTime = 100;
constexpr std::int64_t kBackwardTime = 200;

class OwnTime final : public StepClock {
 public:
  explicit OwnTime(const std::int64_t& now) : now_(now) {}
  std::int64_t mark() override { return now_; }
  void resolve(std::vector<std::int64_t>& /*marks*/) override {}
  void align() override {}
  [[nodiscard]] bool lags() const override { return false; }

 private:
  const std::int64_t& now_;
};

// Sends when it computed, in each element.
class CountingStage final : public StageCompute {
 public:
  CountingStage(const Grid& grid, std::int64_t& now) : grid_(grid), now_(now) {}
  [[nodiscard]] std::vector<std::int64_t> boundary_shape() const override { return {4}; }
  [[nodiscard]] at::TensorOptions boundary_options() const override {
    return at::TensorOptions(at::kDouble);
  }
  at::Tensor forward(int /*micro_batch*/, const at::Tensor& /*input*/) override {
    now_ += kForwardTime;
    return grid_.is_last_stage() ? at::Tensor() : message();
  }
  at::Tensor backward(int /*micro_batch*/, const at::Tensor& /*gradient*/,
                      bool /*is_last*/) override {
    now_ += kBackwardTime;
    return grid_.is_first_stage() ? at::Tensor() : message();
  }

 private:
  [[nodiscard]] at::Tensor message() const {
    return at::full({4}, static_cast<double>(now_), boundary_options());
  }
  const Grid& grid_;
  std::int64_t& now_;
};

// Waits until the time that the message brings.
class BringsTime final : public Work {
 public:
  BringsTime(PendingWork inner, Buffer buffer, std::int64_t& now)
      : inner_(std::move(inner)), buffer_(buffer), now_(now) {}
  void wait() override {
    inner_->wait();
    now_ = std::max(now_, static_cast<std::int64_t>(*static_cast<const double*>(buffer_.data)));
  }
  bool poll() override { return inner_->poll(); }

 private:
  PendingWork inner_;
  Buffer buffer_;
  std::int64_t& now_;
};

class TimedReceives final : public Communicator {
 public:
  TimedReceives(std::unique_ptr<Communicator> inner, std::int64_t& now)
      : Communicator(inner->rank(), inner->size(), inner->name()),
        inner_(std::move(inner)),
        now_(now) {}
  PendingWork start_exchange(std::span<const Transfer> transfers) override {
    PendingWork work = inner_->start_exchange(transfers);
    return std::make_unique<BringsTime>(std::move(work), transfers.front().buffer, now_);
  }
  PendingWork start_all_reduce(Buffer b, ReduceOp op) override {
    return inner_->start_all_reduce(b, op);
  }
  PendingWork start_all_gather(ConstBuffer s, Buffer r, std::span<const std::int64_t> c) override {
    return inner_->start_all_gather(s, r, c);
  }
  PendingWork start_reduce_scatter(ConstBuffer s, Buffer r, ReduceOp op,
                                   std::span<const std::int64_t> c) override {
    return inner_->start_reduce_scatter(s, r, op, c);
  }
  PendingWork start_broadcast(Buffer b, int root) override {
    return inner_->start_broadcast(b, root);
  }
  void barrier() override { inner_->barrier(); }

 private:
  std::unique_ptr<Communicator> inner_;
  std::int64_t& now_;
};

class Recording : public testing::Test {
 protected:
  Recording()
      : grid_(MPI_COMM_WORLD, {.dp = 1, .tp = 1, .pp = size()}),
        communicators_(make_grid_communicators(grid_, Backend::kMpi)) {
    communicators_.recorder->use_clock(std::make_unique<OwnTime>(now_));
    for (auto* in : {&communicators_.activation_in, &communicators_.gradient_in})
      *in = std::make_unique<TimedReceives>(std::move(*in), now_);
  }
  static int size() {
    int size = 0;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    return size;
  }

  StepRecord run(PipelineSchedule kind, int micro_batches) {
    CountingStage stage(grid_, now_);
    PipelineExecutor executor(stage, communicators_);
    return run(executor, make_schedule(kind, grid_.shape().pp, grid_.at().pp, micro_batches));
  }

  StepRecord run(PipelineExecutor& executor, const std::vector<Action>& actions) {
    StepRecorder& recorder = *communicators_.recorder;
    now_ = 0;
    recorder.begin_step(1, Detail::kSpans);
    executor.run(actions);
    {
      // As a training step ends: stages wait for the last.
      const Span wait(&recorder, StepPart::kP2pWait, {.what = "end"});
      communicators_.control->all_reduce(buffer_of(now_), ReduceOp::kMax);
    }
    recorder.end_step();
    return recorder.take().front();
  }

  std::int64_t now_ = 0;
  Grid grid_;
  GridCommunicators communicators_;
};

double part_of(const StepRecord& record, StepPart part) {
  return record.seconds[static_cast<std::size_t>(part)];
}

TEST_F(Recording, TheBubbleIsTheOneOfTheory) {
  for (const auto kind : {PipelineSchedule::kGpipe, PipelineSchedule::kOneFOneB}) {
    for (const int micro_batches : {1, 2, 4, 8, 16}) {
      const StepRecord record = run(kind, micro_batches);
      EXPECT_NEAR(part_of(record, StepPart::kForward), 100e-9 * micro_batches, 1e-15);
      EXPECT_NEAR(part_of(record, StepPart::kBackward), 200e-9 * micro_batches, 1e-15);
      // Each stage idles as long as any other.
      const double step = static_cast<double>(record.end_ns - record.begin_ns) * 1e-9;
      EXPECT_NEAR(part_of(record, StepPart::kP2pWait) / step,
                  bubble_fraction(grid_.shape().pp, micro_batches), 1e-9)
          << micro_batches << " micro-batches";
    }
  }
}

TEST_F(Recording, EveryActionIsASpanByItsName) {
  const StepRecord record = run(PipelineSchedule::kOneFOneB, 3);
  std::vector<std::string> expected;
  for (const Action& action : one_f_one_b(grid_.shape().pp, grid_.at().pp, 3)) {
    expected.push_back(label_text({.what = name_of(action.kind),
                                   .communicator = {},
                                   .micro_batch = action.micro_batch,
                                   .chunk = action.chunk}));
  }
  std::vector<std::string> recorded;
  for (const Slice& slice : record.slices) {
    if (slice.label.micro_batch >= 0) recorded.push_back(label_text(slice.label));
  }
  EXPECT_EQ(recorded, expected);
  EXPECT_EQ(expected.front(),
            grid_.is_first_stage() ? "forward mb 0 chunk 0" : "receive activation mb 0 chunk 0");
  // Each message was under way: one in each direction for each neighbour and micro-batch.
  const int neighbours = (grid_.is_first_stage() ? 0 : 1) + (grid_.is_last_stage() ? 0 : 1);
  EXPECT_GE(record.flights.size(), static_cast<std::size_t>(2 * 3 * neighbours));
}

// How many receives are posted during another action than the one that takes them.
int num_posted_ahead(const StepRecord& record) {
  int count = 0;
  for (std::size_t i = 0; i + 1 < record.slices.size(); ++i) {
    const bool is_post = record.slices[i].label.what == "post";
    if (is_post && !record.slices[i + 1].label.what.starts_with("receive")) ++count;
  }
  return count;
}

TEST_F(Recording, TheFirstStepOfAKindPostsNothingAhead) {
  CountingStage stage(grid_, now_);
  PipelineExecutor executor(stage, communicators_);
  const auto train = one_f_one_b(grid_.shape().pp, grid_.at().pp, 8);
  const auto evaluate = forward_only(grid_.shape().pp, grid_.at().pp, 8);
  EXPECT_EQ(num_posted_ahead(run(executor, train)), 0);
  EXPECT_GT(num_posted_ahead(run(executor, train)), 0);
  EXPECT_EQ(num_posted_ahead(run(executor, evaluate)), 0);
  const int ahead = num_posted_ahead(run(executor, evaluate));
  EXPECT_TRUE(grid_.is_first_stage() ? ahead == 0 : ahead > 0);
}

}  // namespace
}  // namespace cuboid
