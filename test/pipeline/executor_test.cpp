// ranks: 1 2 3 4 8
// The executor over real communicators, with stages of y = a x + b whose gradients are known.
#include "cuboid/pipeline/executor.hpp"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <stdexcept>
#include <thread>

#include "cuboid/base/philox.hpp"

namespace cuboid {
namespace {

// Small tensors travel at once, large ones only when both sides meet.
struct Boundary {
  std::vector<std::int64_t> shape;
  at::ScalarType type = at::kFloat;
};

// Stage s computes y = a x + b with a = 2 (odd s) or 1, b = s + 1: whole numbers, so results are
// exact. The first stage's input for micro-batch i is i + 1, the last one's gradient -(i + 1).
double factor_of(int stage) {
  return stage % 2 == 1 ? 2.0 : 1.0;
}
double input_of(int stage, int micro_batch) {
  double x = micro_batch + 1;
  for (int s = 0; s < stage; ++s) x = factor_of(s) * x + s + 1;
  return x;
}
double output_gradient_of(int num_stages, int stage, int micro_batch) {
  double gradient = -(micro_batch + 1);
  for (int s = num_stages - 1; s > stage; --s) gradient *= factor_of(s);
  return gradient;
}

class AffineStage : public StageCompute {
 public:
  AffineStage(int num_stages, int stage, Boundary boundary)
      : num_stages_(num_stages), stage_(stage), boundary_(std::move(boundary)) {}

  std::vector<std::int64_t> boundary_shape() const override { return boundary_.shape; }
  at::TensorOptions boundary_options() const override { return at::TensorOptions(boundary_.type); }

  at::Tensor forward(int micro_batch, const at::Tensor& input) override {
    delay(micro_batch);
    forwards.push_back(micro_batch);
    EXPECT_EQ(input.defined(), stage_ != 0);
    expect_all(input, input_of(stage_, micro_batch));
    held[micro_batch] = input;
    peak = std::max(peak, held.size());
    if (stage_ == num_stages_ - 1) return {};
    return filled(factor_of(stage_) * input_of(stage_, micro_batch) + stage_ + 1);
  }

  at::Tensor backward(int micro_batch, const at::Tensor& gradient, bool is_last) override {
    delay(micro_batch + 100);
    backwards.push_back(micro_batch);
    last_flags.push_back(is_last);
    EXPECT_EQ(gradient.defined(), stage_ != num_stages_ - 1);
    const double expected = output_gradient_of(num_stages_, stage_, micro_batch);
    expect_all(gradient, expected);
    // The input must have stayed as it was received: no later message may overwrite it.
    EXPECT_EQ(held.count(micro_batch), 1U);
    expect_all(held[micro_batch], input_of(stage_, micro_batch));
    held.erase(micro_batch);
    return stage_ == 0 ? at::Tensor() : filled(factor_of(stage_) * expected);
  }

  std::vector<int> forwards, backwards;
  std::vector<bool> last_flags;
  std::map<int, at::Tensor> held;
  std::size_t peak = 0;
  bool slow = true;

 private:
  at::Tensor filled(double value) const {
    return at::full(boundary_.shape, value, boundary_options());
  }
  static void expect_all(const at::Tensor& tensor, double value) {
    if (!tensor.defined()) return;
    EXPECT_EQ(tensor.min().item<double>(), value);
    EXPECT_EQ(tensor.max().item<double>(), value);
  }
  // Up to 2 ms, different for each stage and compute.
  void delay(int salt) const {
    if (!slow) return;
    const auto block = philox(11, static_cast<std::uint64_t>(stage_), static_cast<unsigned>(salt));
    std::this_thread::sleep_for(std::chrono::microseconds(block.word[0] % 2000));
  }

  int num_stages_;
  int stage_;
  Boundary boundary_;
};

int world_size() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

class Executor : public testing::Test {
 protected:
  Executor()
      : grid_(MPI_COMM_WORLD, {.dp = 1, .tp = 1, .pp = world_size()}),
        communicators_(make_grid_communicators(grid_, Backend::kMpi)),
        num_stages_(grid_.shape().pp),
        stage_(grid_.at().pp) {}

  Grid grid_;
  GridCommunicators communicators_;
  int num_stages_;
  int stage_;
};

std::vector<int> count_to(int end) {
  std::vector<int> numbers;
  for (int i = 0; i < end; ++i) numbers.push_back(i);
  return numbers;
}

TEST_F(Executor, MovesEveryValueWithinTheBoundOfActivations) {
  for (const Boundary& boundary :
       {Boundary{{3, 5}}, Boundary{{512, 160}}, Boundary{{7, 9}, at::kDouble}}) {
    for (const auto schedule : {PipelineSchedule::kGpipe, PipelineSchedule::kOneFOneB}) {
      for (const int micro_batches : {1, 2, 3, 7}) {
        AffineStage stage(num_stages_, stage_, boundary);
        PipelineExecutor executor(stage, communicators_);
        // The first step posts no receive ahead, the second does.
        for (int step = 0; step < 2; ++step) {
          stage.forwards = stage.backwards = {};
          stage.last_flags = {};
          executor.run(make_schedule(schedule, num_stages_, stage_, micro_batches));
          EXPECT_EQ(stage.forwards, count_to(micro_batches));
          EXPECT_EQ(stage.backwards, count_to(micro_batches));
          std::vector<bool> flags(static_cast<std::size_t>(micro_batches), false);
          flags.back() = true;
          EXPECT_EQ(stage.last_flags, flags);
          EXPECT_TRUE(stage.held.empty());
          EXPECT_EQ(static_cast<int>(stage.peak),
                    activations_in_flight(schedule, num_stages_, stage_, micro_batches));
        }
      }
    }
  }
}

// Many micro-batches without delays: more sends than may be under way at once.
TEST_F(Executor, RunsStepAfterStep) {
  AffineStage stage(num_stages_, stage_, {{64, 64}});
  stage.slow = false;
  PipelineExecutor executor(stage, communicators_);
  for (int step = 0; step < 3; ++step) {
    executor.run(gpipe(num_stages_, stage_, 20));
    executor.run(one_f_one_b(num_stages_, stage_, 20));
  }
  EXPECT_EQ(stage.backwards.size(), 120U);
  EXPECT_EQ(std::count(stage.last_flags.begin(), stage.last_flags.end(), true), 6);
}

// bf16 holds whole numbers up to 256 exactly; three micro-batches through eight stages stay below.
TEST_F(Executor, MovesBFloat16) {
  AffineStage stage(num_stages_, stage_, {{33, 3}, at::kBFloat16});
  PipelineExecutor executor(stage, communicators_);
  executor.run(one_f_one_b(num_stages_, stage_, 3));
  EXPECT_EQ(stage.backwards, count_to(3));
}

TEST_F(Executor, RunsForwardsOnly) {
  AffineStage stage(num_stages_, stage_, {{16, 16}});
  PipelineExecutor executor(stage, communicators_);
  executor.run(forward_only(num_stages_, stage_, 5));
  EXPECT_EQ(stage.forwards, count_to(5));
  EXPECT_TRUE(stage.backwards.empty());
  // And a whole step after it.
  stage.held.clear();
  executor.run(one_f_one_b(num_stages_, stage_, 2));
  EXPECT_EQ(stage.backwards, count_to(2));
}

TEST_F(Executor, MeasuresWaitingForNeighbours) {
  AffineStage stage(num_stages_, stage_, {{4, 4}});
  stage.slow = false;
  PipelineExecutor executor(stage, communicators_);
  communicators_.control->barrier();
  if (stage_ == 0) std::this_thread::sleep_for(std::chrono::milliseconds(300));
  executor.run(one_f_one_b(num_stages_, stage_, 1));
  if (num_stages_ == 1) {
    EXPECT_LT(executor.wait_seconds(), 0.05);
  } else if (stage_ > 0) {
    EXPECT_GT(executor.wait_seconds(), 0.05);
  }
}

TEST_F(Executor, RefusesWhatAStageCannotDo) {
  AffineStage stage(num_stages_, stage_, {{4, 4}});
  PipelineExecutor executor(stage, communicators_);
  using Actions = std::vector<Action>;
  EXPECT_THROW(executor.run(Actions{{ActionKind::kBackwardInput, 0}}), std::logic_error);
  EXPECT_THROW(executor.run(Actions{{ActionKind::kForward, 0, 1}}), std::logic_error);
  EXPECT_THROW(executor.run(Actions{{ActionKind::kSendActivation, 0}}), std::logic_error);
  if (stage_ == 0) {
    EXPECT_THROW(executor.run(Actions{{ActionKind::kReceiveActivation, 0}}), std::logic_error);
  }
}

// A stage that returns something else than the boundary says would corrupt its neighbour.
class WrongShape : public AffineStage {
 public:
  using AffineStage::AffineStage;
  at::Tensor forward(int, const at::Tensor&) override { return at::full({2, 2}, 1.0); }
};

TEST_F(Executor, RefusesAResultThatIsNotTheBoundarys) {
  if (stage_ != 0 || num_stages_ == 1) return;
  WrongShape stage(num_stages_, stage_, {{4, 4}});
  PipelineExecutor executor(stage, communicators_);
  EXPECT_THROW(executor.run(gpipe(num_stages_, stage_, 1)), std::logic_error);
}

class FailingStage : public AffineStage {
 public:
  using AffineStage::AffineStage;
  int fails_at = -1;
  at::Tensor forward(int micro_batch, const at::Tensor& input) override {
    if (micro_batch == fails_at) throw std::runtime_error("out of memory");
    return AffineStage::forward(micro_batch, input);
  }
};

// When a stage throws, messages that were posted ahead may never come: run() must not wait for
// them, or the job would hang instead of ending. Here the second stage fails while a message from
// the first, which fails too, is still outstanding. It is the second step: the first posts nothing
// ahead.
TEST_F(Executor, EndsWhenAStageThrows) {
  FailingStage stage(num_stages_, stage_, {{200, 300}});
  stage.slow = false;
  PipelineExecutor executor(stage, communicators_);
  executor.run(gpipe(num_stages_, stage_, 3));
  if (stage_ > 1) return;
  stage.fails_at = stage_ == 0 ? 1 : 0;
  EXPECT_THROW(executor.run(gpipe(num_stages_, stage_, 3)), std::runtime_error);
  // Sends what was abandoned, so that this test leaves nothing behind.
  if (stage_ == 0 && num_stages_ > 1) {
    const at::Tensor message = at::full({200, 300}, 0.0);
    communicators_.activation_out->send(
        ConstBuffer{message.const_data_ptr(), message.numel(), DType::kFloat32}, 1);
  }
}

}  // namespace
}  // namespace cuboid
