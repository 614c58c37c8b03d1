// Pipeline schedules as data: what one stage does in one step, in order, communication included.
// Pure functions; executor.hpp runs the result. A new schedule is a new function here, not a loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "cuboid/config/config.hpp"

namespace cuboid {

enum class ActionKind : unsigned char {
  kForward,
  kBackward,        // whole: gradients of the input and of the weights
  kBackwardInput,   // gradient of the input only, sent on at once (zero-bubble schedules)
  kBackwardWeight,  // gradients of the weights, any time after
  kSendActivation,
  kReceiveActivation,
  kSendGradient,
  kReceiveGradient,
};

std::string_view name_of(ActionKind kind);
constexpr bool is_compute(ActionKind kind) {
  return kind <= ActionKind::kBackwardWeight;
}
constexpr bool is_receive(ActionKind kind) {
  return kind == ActionKind::kReceiveActivation || kind == ActionKind::kReceiveGradient;
}
constexpr bool is_send(ActionKind kind) {
  return kind == ActionKind::kSendActivation || kind == ActionKind::kSendGradient;
}

struct Action {
  ActionKind kind;
  int micro_batch;
  int chunk = 0;  // which of a stage's model parts, for interleaved schedules
  bool operator==(const Action&) const = default;
};

// All take 0 <= stage < num_stages and num_microbatches >= 1 (std::logic_error otherwise), and go
// through micro-batches upwards in both directions: gradients then add up in one order on every
// grid and with either schedule.

// All forwards, then all backwards. Huang et al., "GPipe", NeurIPS 2019.
std::vector<Action> gpipe(int num_stages, int stage, int num_microbatches);
// num_stages - 1 - stage forwards, then one forward and one backward in turns, then the backwards
// that are left: PipeDream-Flush, Narayanan et al., arXiv 2104.04473, section 2.2.1.
std::vector<Action> one_f_one_b(int num_stages, int stage, int num_microbatches);
// Forwards only (evaluation).
std::vector<Action> forward_only(int num_stages, int stage, int num_microbatches);
std::vector<Action> make_schedule(PipelineSchedule schedule, int num_stages, int stage,
                                  int num_microbatches);

// When a receive is posted: by the time the action at index `at` runs, every receive in
// [0, posted_before(actions, at)) is. That reaches to the second compute from here (from the
// compute whose result this sends), so the message for the next compute travels during this one.
// The first gradient is posted only at its turn: it may answer the activation that is sent right
// before (with one micro-batch it does), and a receive over NCCL holds a part of the GPU until its
// message comes. And a stage that sends has always posted what its neighbours may send first:
// schedule_test.cpp proves that no exchange deadlocks, even without any buffering, and that nothing
// is posted ahead of a send that it answers.
std::size_t posted_before(std::span<const Action> actions, std::size_t at);

// Micro-batches whose activations this stage holds at once: num_microbatches for GPipe,
// min(num_microbatches, num_stages - stage) for 1F1B.
int activations_in_flight(PipelineSchedule schedule, int num_stages, int stage,
                          int num_microbatches);

// The share of a step in which a stage idles, (p - 1) / (m + p - 1), with either schedule: bubble
// time (p - 1) (forward + backward) over the whole time, for stages of equal cost and free
// messages.
double bubble_fraction(int num_stages, int num_microbatches);

}  // namespace cuboid
