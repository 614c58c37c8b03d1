// ranks: 1
// Properties of every schedule for 1 to 8 stages and 1 to 32 micro-batches.
#include "cuboid/pipeline/schedule.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <stdexcept>
#include <string>

namespace cuboid {
namespace {

using Pipeline = std::vector<std::vector<Action>>;  // the actions of every stage

Pipeline make_pipeline(PipelineSchedule schedule, int stages, int micro_batches) {
  Pipeline pipeline;
  for (int stage = 0; stage < stages; ++stage) {
    pipeline.push_back(make_schedule(schedule, stages, stage, micro_batches));
  }
  return pipeline;
}

Pipeline make_forward_only(int stages, int micro_batches) {
  Pipeline pipeline;
  for (int stage = 0; stage < stages; ++stage) {
    pipeline.push_back(forward_only(stages, stage, micro_batches));
  }
  return pipeline;
}

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

// The neighbour that `action` of `stage` talks to, or the stage itself for a compute.
int peer_of(ActionKind kind, int stage) {
  switch (kind) {
    case ActionKind::kSendActivation:
    case ActionKind::kReceiveGradient: return stage + 1;
    case ActionKind::kReceiveActivation:
    case ActionKind::kSendGradient: return stage - 1;
    default: return stage;
  }
}

ActionKind counterpart(ActionKind kind) {
  return kind == ActionKind::kSendActivation ? ActionKind::kReceiveActivation
                                             : ActionKind::kReceiveGradient;
}

// Runs all stages with no buffering at all: a send ends only when its receive has been posted, and
// stages do nothing else meanwhile. True when every stage comes to its end. post_ahead false:
// receives are posted only when it is their turn, as by a plain blocking exchange.
bool completes(const Pipeline& pipeline, bool post_ahead) {
  const auto count = pipeline.size();
  std::vector<std::size_t> next(count, 0);
  std::map<std::pair<std::size_t, ActionKind>, std::size_t> sent;  // by receiver and kind
  const auto num_receives = [&](std::size_t stage, ActionKind kind, std::size_t end) {
    return static_cast<std::size_t>(std::count_if(
        pipeline[stage].begin(), pipeline[stage].begin() + static_cast<std::ptrdiff_t>(end),
        [kind](const Action& action) { return action.kind == kind; }));
  };
  for (bool progress = true; progress;) {
    progress = false;
    for (std::size_t stage = 0; stage < count; ++stage) {
      while (next[stage] < pipeline[stage].size()) {
        const ActionKind kind = pipeline[stage][next[stage]].kind;
        if (is_receive(kind)) {
          if (sent[{stage, kind}] <= num_receives(stage, kind, next[stage])) break;
        } else if (!is_compute(kind)) {
          const auto peer = static_cast<std::size_t>(peer_of(kind, static_cast<int>(stage)));
          const std::size_t end = post_ahead ? posted_before(pipeline[peer], next[peer])
                                             : std::min(next[peer] + 1, pipeline[peer].size());
          auto& messages = sent[{peer, counterpart(kind)}];
          if (num_receives(peer, counterpart(kind), end) <= messages) break;
          ++messages;
        }
        ++next[stage];
        progress = true;
      }
    }
  }
  for (std::size_t stage = 0; stage < count; ++stage) {
    if (next[stage] != pipeline[stage].size()) return false;
  }
  return true;
}

// When the last stage is done, with free messages and these times for the computes.
double makespan(const Pipeline& pipeline, double forward, double backward) {
  std::vector<std::size_t> next(pipeline.size(), 0);
  std::vector<double> clock(pipeline.size(), 0);
  std::map<std::tuple<int, ActionKind, int>, double> arrival;  // receiver, kind, micro-batch
  for (bool progress = true; progress;) {
    progress = false;
    for (std::size_t stage = 0; stage < pipeline.size(); ++stage) {
      for (; next[stage] < pipeline[stage].size(); ++next[stage], progress = true) {
        const Action& action = pipeline[stage][next[stage]];
        const int index = static_cast<int>(stage);
        if (action.kind == ActionKind::kForward) {
          clock[stage] += forward;
        } else if (action.kind == ActionKind::kBackward) {
          clock[stage] += backward;
        } else if (is_receive(action.kind)) {
          const auto it = arrival.find({index, action.kind, action.micro_batch});
          if (it == arrival.end()) break;
          clock[stage] = std::max(clock[stage], it->second);
        } else {
          arrival[{peer_of(action.kind, index), counterpart(action.kind), action.micro_batch}] =
              clock[stage];
        }
      }
    }
  }
  return *std::max_element(clock.begin(), clock.end());
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
    EXPECT_TRUE(completes(make_pipeline(schedule, stages, micro_batches), true));
    EXPECT_TRUE(completes(make_forward_only(stages, micro_batches), true));
  });
}

// Not only before its own compute: its message travels during the compute before. No earlier, since
// every posted receive holds a tensor.
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
        EXPECT_TRUE(all ? computes <= 1 : computes == 1 && is_compute(actions[end].kind));
      }
    }
  });
}

// The simulation can tell: 1F1B with plain blocking sends and receives is known to lock up.
TEST(Schedule, WouldDeadlockIfReceivesWereNotPostedAhead) {
  EXPECT_FALSE(completes(make_pipeline(PipelineSchedule::kOneFOneB, 2, 2), false));
  EXPECT_TRUE(completes(make_pipeline(PipelineSchedule::kGpipe, 2, 2), false));
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
