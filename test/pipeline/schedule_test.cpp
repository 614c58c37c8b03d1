// ranks: 1
// Properties of every schedule for 1 to 8 stages and 1 to 32 micro-batches.
#include "cuboid/pipeline/schedule.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <stdexcept>
#include <string>

#include "schedule_simulation.hpp"

namespace cuboid {
namespace {

using namespace test;

template <typename Check>
void for_all(Check check) {
  for (const auto schedule : {PipelineSchedule::kGpipe, PipelineSchedule::kOneFOneB}) {
    for (int stages = 1; stages <= 8; ++stages) {
      for (int micro_batches = 1; micro_batches <= 32; ++micro_batches) {
        SCOPED_TRACE(std::string(schedule == PipelineSchedule::kGpipe ? "gpipe" : "1f1b") + ", " +
                     std::to_string(stages) + " stages, " + std::to_string(micro_batches) +
                     " micro-batches");
        check(schedule, stages, micro_batches);
        if (testing::Test::HasFailure()) return;
      }
    }
  }
}

std::vector<int> micro_batches_of(const std::vector<Action>& actions, ActionKind kind) {
  std::vector<int> found;
  for (const Action& action : actions) {
    if (action.kind == kind) found.push_back(action.micro_batch);
  }
  return found;
}

std::size_t position(const std::vector<Action>& actions, ActionKind kind, int micro_batch) {
  const auto it = std::find(actions.begin(), actions.end(), Action{kind, micro_batch});
  return static_cast<std::size_t>(it - actions.begin());
}

TEST(Schedule, ComputesEachMicroBatchOnceInOrder) {
  for_all([](PipelineSchedule schedule, int stages, int micro_batches) {
    std::vector<int> all(static_cast<std::size_t>(micro_batches));
    for (int i = 0; i < micro_batches; ++i) all[static_cast<std::size_t>(i)] = i;
    for (const auto& actions : make_pipeline(schedule, stages, micro_batches)) {
      EXPECT_EQ(micro_batches_of(actions, ActionKind::kForward), all);
      EXPECT_EQ(micro_batches_of(actions, ActionKind::kBackward), all);
      for (int i = 0; i < micro_batches; ++i) {
        EXPECT_LT(position(actions, ActionKind::kForward, i),
                  position(actions, ActionKind::kBackward, i));
      }
    }
  });
}

TEST(Schedule, MessagesSurroundTheirCompute) {
  for_all([](PipelineSchedule schedule, int stages, int micro_batches) {
    const Pipeline pipeline = make_pipeline(schedule, stages, micro_batches);
    for (int stage = 0; stage < stages; ++stage) {
      const auto& actions = pipeline[static_cast<std::size_t>(stage)];
      const auto at = [&](ActionKind kind, int i) { return position(actions, kind, i); };
      const bool first = stage == 0;
      const bool last = stage == stages - 1;
      for (int i = 0; i < micro_batches; ++i) {
        const std::size_t forward = at(ActionKind::kForward, i);
        const std::size_t backward = at(ActionKind::kBackward, i);
        const std::size_t none = actions.size();
        EXPECT_TRUE(first ? at(ActionKind::kReceiveActivation, i) == none
                          : at(ActionKind::kReceiveActivation, i) < forward);
        EXPECT_TRUE(last ? at(ActionKind::kReceiveGradient, i) == none
                         : at(ActionKind::kReceiveGradient, i) < backward);
        EXPECT_EQ(at(ActionKind::kSendActivation, i), last ? none : forward + 1);
        EXPECT_EQ(at(ActionKind::kSendGradient, i), first ? none : backward + 1);
      }
    }
  });
}

TEST(Schedule, SendsMatchReceivesInOrder) {
  for_all([](PipelineSchedule schedule, int stages, int micro_batches) {
    const Pipeline pipeline = make_pipeline(schedule, stages, micro_batches);
    for (std::size_t stage = 0; stage + 1 < pipeline.size(); ++stage) {
      EXPECT_EQ(micro_batches_of(pipeline[stage], ActionKind::kSendActivation),
                micro_batches_of(pipeline[stage + 1], ActionKind::kReceiveActivation));
      EXPECT_EQ(micro_batches_of(pipeline[stage + 1], ActionKind::kSendGradient),
                micro_batches_of(pipeline[stage], ActionKind::kReceiveGradient));
    }
  });
}

TEST(Schedule, HoldsAsManyActivationsAsPromised) {
  for_all([](PipelineSchedule schedule, int stages, int micro_batches) {
    for (int stage = 0; stage < stages; ++stage) {
      int held = 0;
      int peak = 0;
      for (const Action& action : make_schedule(schedule, stages, stage, micro_batches)) {
        if (action.kind == ActionKind::kForward) peak = std::max(peak, ++held);
        if (action.kind == ActionKind::kBackward) --held;
      }
      EXPECT_EQ(held, 0);
      EXPECT_EQ(peak, activations_in_flight(schedule, stages, stage, micro_batches));
      EXPECT_EQ(peak, schedule == PipelineSchedule::kGpipe
                          ? micro_batches
                          : std::min(micro_batches, stages - stage));
    }
  });
}

TEST(Schedule, NeverDeadlocksWithoutAnyBuffering) {
  for_all([](PipelineSchedule schedule, int stages, int micro_batches) {
    EXPECT_TRUE(completes(make_pipeline(schedule, stages, micro_batches), {}));
    EXPECT_TRUE(completes(make_forward_only(stages, micro_batches), {}));
  });
}

// In its first step a stage loads kernels, for which CUDA may wait until the GPU is idle: a receive
// that has been posted by then must not need anything that the stage does later.
TEST(Schedule, WithoutPostingAheadComputesMayWaitForMessages) {
  const Rules rules{.post_ahead = false, .free_sends = 1, .computes_wait = true};
  for_all([&](PipelineSchedule schedule, int stages, int micro_batches) {
    EXPECT_TRUE(completes(make_pipeline(schedule, stages, micro_batches), rules));
    EXPECT_TRUE(completes(make_forward_only(stages, micro_batches), rules));
  });
}

// The simulation can tell: a stage that computes forwards waits for a gradient that was posted
// ahead, and the next stage, which is to compute it, waits for those forwards.
TEST(Schedule, PostingAheadWouldDeadlockWhereComputesWait) {
  const Rules rules{.computes_wait = true};
  EXPECT_FALSE(completes(make_pipeline(PipelineSchedule::kOneFOneB, 3, 4), rules));
}

// A receive over NCCL runs on the GPU until its message comes: it is not to be there before what
// the message answers has left.
TEST(Schedule, NoReceiveIsPostedAheadOfASendThatItAnswers) {
  for_all([](PipelineSchedule schedule, int stages, int micro_batches) {
    const Pipeline pipeline = make_pipeline(schedule, stages, micro_batches);
    const auto needed = own_actions_before_arrivals(pipeline);
    for (std::size_t stage = 0; stage < pipeline.size(); ++stage) {
      const auto& actions = pipeline[stage];
      for (std::size_t at = 0, posted = 0; at < actions.size(); ++at) {
        for (; posted < posted_before(actions, at); ++posted) {
          if (!is_receive(actions[posted].kind)) continue;
          EXPECT_LE(needed[stage].at(posted), at) << "stage " << stage << ", action " << posted;
        }
      }
    }
  });
}

// Not only before its own compute: its message travels during the compute before. No earlier, since
// every posted receive holds a tensor. Only the first gradient, which nothing can hide, waits for
// its turn.
TEST(Schedule, PostsAReceiveOneComputeAhead) {
  for_all([](PipelineSchedule schedule, int stages, int micro_batches) {
    for (const auto& actions : make_pipeline(schedule, stages, micro_batches)) {
      for (std::size_t at = 0; at < actions.size(); ++at) {
        const std::size_t end = posted_before(actions, at);
        const auto computes =
            std::count_if(actions.begin() + static_cast<std::ptrdiff_t>(at),
                          actions.begin() + static_cast<std::ptrdiff_t>(end),
                          [](const Action& action) { return is_compute(action.kind); });
        const bool all = end == actions.size();
        const bool next = !all && is_compute(actions[end].kind) &&
                          computes == (is_send(actions[at].kind) ? 0 : 1);
        const bool first_gradient = !all && actions[end] == Action{ActionKind::kReceiveGradient, 0};
        EXPECT_TRUE(all ? computes <= 1 : next || first_gradient);
        EXPECT_GT(end, at);
      }
    }
  });
}

// The simulation can tell: 1F1B with plain blocking sends and receives is known to lock up.
TEST(Schedule, WouldDeadlockIfReceivesWereNotPostedAhead) {
  const Rules blocking{.post_ahead = false};
  EXPECT_FALSE(completes(make_pipeline(PipelineSchedule::kOneFOneB, 2, 2), blocking));
  EXPECT_TRUE(completes(make_pipeline(PipelineSchedule::kGpipe, 2, 2), blocking));
}

TEST(Schedule, BubbleIsTheTheoreticalOne) {
  for_all([](PipelineSchedule schedule, int stages, int micro_batches) {
    const Pipeline pipeline = make_pipeline(schedule, stages, micro_batches);
    const double equal = makespan(pipeline, 1, 1);
    EXPECT_NEAR(1 - 2.0 * micro_batches / equal, bubble_fraction(stages, micro_batches), 1e-12);
    // Backward twice as long as forward: the bubble takes (p - 1) (1 + 2).
    EXPECT_DOUBLE_EQ(makespan(pipeline, 1, 2), 3.0 * (micro_batches + stages - 1));
  });
  EXPECT_DOUBLE_EQ(bubble_fraction(4, 8), 3.0 / 11.0);
  EXPECT_DOUBLE_EQ(bubble_fraction(1, 8), 0.0);
}

TEST(Schedule, OneFOneBInFull) {
  using enum ActionKind;
  const std::vector<Action> expected{
      {kReceiveActivation, 0}, {kForward, 0},  {kSendActivation, 0},
      {kReceiveActivation, 1}, {kForward, 1},  {kSendActivation, 1},
      {kReceiveGradient, 0},   {kBackward, 0}, {kSendGradient, 0},
      {kReceiveGradient, 1},   {kBackward, 1}, {kSendGradient, 1},
  };
  EXPECT_EQ(one_f_one_b(3, 1, 2), expected);
}

TEST(Schedule, RefusesWhatIsNoStage) {
  EXPECT_THROW(gpipe(2, 2, 1), std::logic_error);
  EXPECT_THROW(one_f_one_b(2, -1, 1), std::logic_error);
  EXPECT_THROW(forward_only(1, 0, 0), std::logic_error);
}

}  // namespace
}  // namespace cuboid
