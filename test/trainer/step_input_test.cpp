// ranks: 1
// A step's tokens in memory that stays, against those that lie in the batch; and a step that is cut
// short and begun again. On CPUs: what a captured step on a GPU relies on.
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "cuboid/base/error.hpp"
#include "cuboid/optimizer/reducer.hpp"
#include "cuboid/trainer/batches.hpp"
#include "trainer/harness.hpp"

namespace cuboid {
namespace {

class StepInputTest : public testing::Test {
 protected:
  StepInputTest() {
    options_.model = test::tiny_gpt2();
    options_.model.dropout = 0.3;
    options_.shape = {1, 1, 1};
    options_.micro_batch_size = 2;
    config_ = test::make_config(options_);
  }

  Stage make_stage(StagePlace place) {
    return Stage(config_.model, place, *communicators_.tp,
                 {.seed = 7, .micro_batch_size = 2, .dp = communicators_.dp.get()});
  }
  Batch batch(std::int64_t step) { return test::make_batch(config_, options_.shape, 0, step); }

  // The gradients of one step over these micro-batches.
  at::Tensor gradients(const std::vector<MicroBatch>& micro_batches) {
    Stage stage = make_stage(stage_place(config_.model, 1, 0));
    stage.begin_step(micro_batches, 1e-3);
    pass(stage, static_cast<int>(micro_batches.size()));
    return stage.store().gradients().clone();
  }
  static void pass(Stage& stage, int num_micro_batches) {
    for (int m = 0; m < num_micro_batches; ++m) {
      (void)stage.forward(m, {});
      (void)stage.backward(m, {}, m + 1 == num_micro_batches);
    }
  }

  test::RunOptions options_;
  Config config_;
  Grid grid_{MPI_COMM_SELF, {1, 1, 1}};
  GridCommunicators communicators_ = make_grid_communicators(grid_, Backend::kMpi);
};

TEST_F(StepInputTest, StepsHaveTheirOwnTokensAndDropTheirOwnElements) {
  Stage stage = make_stage(stage_place(config_.model, 1, 0));
  StepInput input(config_, stage);
  const void* address = input.micro_batches()[1].tokens.const_data_ptr();
  at::Tensor before;
  for (std::int64_t step = 0; step < 3; ++step) {
    const Batch now = batch(step);
    input.fill(now);
    EXPECT_EQ(input.micro_batches()[1].tokens.const_data_ptr(), address);
    const at::Tensor staying = gradients(input.micro_batches());
    EXPECT_TRUE(at::equal(staying, gradients(micro_batches_of(now, config_, stage)))) << step;
    if (before.defined()) {
      EXPECT_FALSE(at::equal(staying, before));
    }
    before = staying;
  }
}

TEST_F(StepInputTest, SamplesAreCountedOnTheDevice) {
  Stage stage = make_stage(stage_place(config_.model, 1, 0));
  StepInput input(config_, stage);
  Batch now = batch(0);
  input.fill(now);
  const at::Tensor first = gradients(input.micro_batches());
  now.first_sample += 8;  // the same tokens, other samples
  input.fill(now);
  EXPECT_FALSE(at::equal(gradients(input.micro_batches()), first));
}

TEST_F(StepInputTest, StagesBetweenHaveNoTokensAndOthersBothOrOne) {
  const Batch now = batch(0);
  for (const int index : {0, 1, 2}) {
    const StagePlace place = stage_place(config_.model, 3, index);
    Stage stage = make_stage(place);
    StepInput input(config_, stage);
    input.fill(now);
    const auto wanted = micro_batches_of(now, config_, stage);
    ASSERT_EQ(input.micro_batches().size(), wanted.size());
    for (std::size_t m = 0; m < wanted.size(); ++m) {
      const MicroBatch& one = input.micro_batches()[m];
      ASSERT_EQ(one.tokens.defined(), place.is_first);
      ASSERT_EQ(one.targets.defined(), place.is_last);
      if (place.is_first) {
        EXPECT_TRUE(at::equal(one.tokens, wanted[m].tokens));
      }
      if (place.is_last) {
        EXPECT_TRUE(at::equal(one.targets, wanted[m].targets));
      }
      EXPECT_EQ(one.first_sample + one.samples_before.item<std::int64_t>(), wanted[m].first_sample);
    }
  }
}

TEST_F(StepInputTest, AStepOfAnotherSizeIsAMistake) {
  Stage stage = make_stage(stage_place(config_.model, 1, 0));
  StepInput input(config_, stage);
  Batch now = batch(0);
  now.tokens.pop_back();
  EXPECT_THROW(input.fill(now), std::logic_error);
}

TEST_F(StepInputTest, OnACpuACapturedStepIsRefusedAndAutoSaysNothing) {
  std::vector<std::string> said;
  options_.said = &said;
  options_.steps = 1;
  options_.cuda_graph = true;
  EXPECT_THROW((void)test::train(MPI_COMM_SELF, options_), UsageError);
  options_.cuda_graph = std::nullopt;
  (void)test::train(MPI_COMM_SELF, options_);
  EXPECT_TRUE(said.empty());
}

TEST_F(StepInputTest, AStepThatWasCutShortCanBeBegunAgain) {
  Stage stage = make_stage(stage_place(config_.model, 1, 0));
  BucketedReducer reducer(stage.store(), *communicators_.dp, 5000);
  stage.on_final_gradient([&](Weight& weight) { reducer.add(weight); });
  const Batch now = batch(0);
  const auto micro_batches = micro_batches_of(now, config_, stage);
  const auto count = static_cast<int>(micro_batches.size());
  stage.begin_step(micro_batches, 1e-3);
  (void)stage.forward(0, {});
  (void)stage.backward(0, {}, /*is_last=*/true);  // some weights are with the reducer
  (void)stage.forward(1, {});
  EXPECT_THROW(stage.begin_step(micro_batches, 1e-3), std::logic_error) << "a forward is left over";
  stage.abandon_step();
  reducer.abandon();
  stage.begin_step(micro_batches, 1e-3);
  pass(stage, count);
  reducer.finish();
  EXPECT_TRUE(at::equal(stage.store().gradients(), gradients(micro_batches)));
}

}  // namespace
}  // namespace cuboid
