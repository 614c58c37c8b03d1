// ranks: 4 8
// timeout: 400
// Every grid computes what one rank computes: losses, gradient norms and parameters.
#include <ATen/TensorOperators.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "trainer/harness.hpp"

namespace cuboid {
namespace {

using test::RunOptions;
using test::RunResult;

// Largest |a - b| over all elements, relative to the largest |b| of the tensor.
double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  const double scale = b.abs().max().item<double>();
  return (a - b).abs().max().item<double>() / (scale > 0 ? scale : 1.0);
}

// Softmax does not see a constant added to a row of scores, so a key's bias has a gradient of zero
// (without rotation): what moves it is rounding alone, which AdamW scales up to steps of the
// learning rate. Two runs can be no further apart than both have walked.
void expect_bounded_drift(const at::Tensor& a, const at::Tensor& b, const RunOptions& options) {
  const double walked =
      test::make_config(options).optimizer.learning_rate * static_cast<double>(options.steps);
  EXPECT_LT((a - b).abs().max().item<double>(), 2 * walked);
}

struct Tolerance {
  double loss, grad_norm, parameter;
};

// fp32: sums are grouped differently on every grid, which moves a loss by a few units in the last
// place (6e-8) a layer and step; 1e-5 leaves room for twenty steps of AdamW. Parameters: AdamW
// divides a gradient by its own size, so elements with small gradients carry their rounding error
// into whole steps.
constexpr Tolerance kFp32{.loss = 1e-5, .grad_norm = 1e-4, .parameter = 2e-3};
// fp64: the same program with rounding out of the way; what is left would be a wrong algorithm.
constexpr Tolerance kFp64{.loss = 1e-12, .grad_norm = 1e-10, .parameter = 1e-8};

class GridEquivalence : public testing::Test {
 protected:
  c10::InferenceMode no_autograd_;

  // Trains on the first shape.size() ranks and checks against one rank.
  void check(RunOptions options, const std::vector<GridShape>& shapes, const Tolerance& tolerance) {
    options.shape = {1, 1, 1};
    const RunResult reference = test::train(MPI_COMM_SELF, options);
    ASSERT_LT(reference.losses.back(), reference.losses.front() - 0.2) << "the run must learn";
    for (const GridShape& shape : shapes) {
      for (const auto schedule : {PipelineSchedule::kGpipe, PipelineSchedule::kOneFOneB}) {
        if (shape.pp == 1 && schedule == PipelineSchedule::kGpipe)
          continue;  // the same without stages
        options.shape = shape;
        options.schedule = schedule;
        run_on(options, reference, tolerance);
      }
    }
  }

 private:
  void run_on(const RunOptions& options, const RunResult& reference, const Tolerance& tolerance) {
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    const bool takes_part = rank < options.shape.size();
    MpiComm some;
    check_mpi(MPI_Comm_split(MPI_COMM_WORLD, takes_part ? 0 : 1, rank, some.out()));
    if (takes_part) compare(test::train(some.get(), options), options, reference, tolerance);
    check_mpi(MPI_Barrier(MPI_COMM_WORLD));
  }

  static void compare(const RunResult& run, const RunOptions& options, const RunResult& reference,
                      const Tolerance& tolerance) {
    SCOPED_TRACE(to_string(options.shape) +
                 (options.schedule == PipelineSchedule::kGpipe ? " gpipe" : " 1f1b"));
    for (std::size_t i = 0; i < reference.losses.size(); ++i) {
      EXPECT_NEAR(run.losses[i], reference.losses[i], tolerance.loss * reference.losses[i]) << i;
      EXPECT_NEAR(run.grad_norms[i], reference.grad_norms[i],
                  tolerance.grad_norm * reference.grad_norms[i])
          << i;
    }
    ASSERT_EQ(run.final.size(), reference.final.size());
    for (const auto& [name, value] : reference.final) {
      ASSERT_TRUE(run.final.contains(name)) << name;
      EXPECT_TRUE(run.initial.at(name).equal(reference.initial.at(name))) << "initial " << name;
      if (name.ends_with("attention.key.bias")) {
        expect_bounded_drift(run.final.at(name), value, options);
      } else {
        EXPECT_LT(relative_difference(run.final.at(name), value), tolerance.parameter) << name;
      }
    }
  }
};

std::vector<GridShape> grids_of_this_world() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (size == 8) return {{2, 2, 2}};
  return {{2, 1, 1}, {1, 2, 1}, {1, 1, 2}, {4, 1, 1}, {1, 4, 1},
          {1, 1, 4}, {2, 2, 1}, {2, 1, 2}, {1, 2, 2}};
}

TEST_F(GridEquivalence, Gpt2) {
  check({.model = test::tiny_gpt2()}, grids_of_this_world(), kFp32);
}

TEST_F(GridEquivalence, Llama) {
  check({.model = test::tiny_llama()}, grids_of_this_world(), kFp32);
}

TEST_F(GridEquivalence, Gpt2InFp64) {
  check({.model = test::tiny_gpt2(), .dtype = at::kDouble}, grids_of_this_world(), kFp64);
}

TEST_F(GridEquivalence, LlamaInFp64) {
  check({.model = test::tiny_llama(), .dtype = at::kDouble}, grids_of_this_world(), kFp64);
}

TEST_F(GridEquivalence, DropoutDropsTheSameElements) {
  RunOptions options{.model = test::tiny_gpt2(), .steps = 5, .dtype = at::kDouble};
  options.model.dropout = 0.2;
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  options.shape = {1, 1, 1};
  // Other micro-batches on the one rank: a mask belongs to a sample, not to its place in a batch.
  options.micro_batch_size = 4;
  const RunResult reference = test::train(MPI_COMM_SELF, options);
  options.micro_batch_size = 1;
  options.shape = size == 8 ? GridShape{2, 2, 2} : GridShape{2, 1, 2};
  const RunResult run = test::train(MPI_COMM_WORLD, options);
  RunOptions without = options;
  without.model.dropout = 0.0;
  const RunResult dry = test::train(MPI_COMM_WORLD, without);
  for (std::size_t i = 0; i < run.losses.size(); ++i) {
    EXPECT_NEAR(run.losses[i], reference.losses[i], 1e-12 * run.losses[i]);
    EXPECT_GT(std::abs(run.losses[i] - dry.losses[i]), 1e-6) << "dropout must do something";
  }
}

}  // namespace
}  // namespace cuboid
