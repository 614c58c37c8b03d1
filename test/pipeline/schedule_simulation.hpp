// All stages of a pipeline as a simulation: whether they come to an end, and when.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "cuboid/pipeline/schedule.hpp"

namespace cuboid::test {

using Pipeline = std::vector<std::vector<Action>>;  // the actions of every stage

Pipeline make_pipeline(PipelineSchedule schedule, int stages, int micro_batches);
Pipeline make_forward_only(int stages, int micro_batches);

// The neighbour that an action of `stage` talks to, or the stage itself for a compute.
int peer_of(ActionKind kind, int stage);
// What the other end of a message does.
ActionKind counterpart(ActionKind kind);

struct Rules {
  // false: receives are posted only when it is their turn, as by a plain blocking exchange.
  bool post_ahead = true;
  // Sends in one direction that a stage does not wait for.
  std::size_t free_sends = 0;
  // A compute ends only when the messages that its stage has begun are complete, as where a GPU
  // loads the compute's kernels for the first time.
  bool computes_wait = false;
};

// Runs all stages: a send ends only when its receive has been posted, a receive when its send has
// begun, and stages do nothing else meanwhile. True when every stage comes to its end.
bool completes(const Pipeline& pipeline, Rules rules);

// For each stage's receives, by their position: how many of the stage's own first actions must
// have been performed for the message to come.
std::vector<std::map<std::size_t, std::size_t>> own_actions_before_arrivals(
    const Pipeline& pipeline);

// When the last stage is done, with free messages and these times for the computes.
double makespan(const Pipeline& pipeline, double forward, double backward);

}  // namespace cuboid::test
