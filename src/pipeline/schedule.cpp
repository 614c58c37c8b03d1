#include "cuboid/pipeline/schedule.hpp"

#include <algorithm>

#include "cuboid/base/error.hpp"

namespace cuboid {
namespace {

// Writes a stage's actions with the messages that each compute needs around it.
class Writer {
 public:
  Writer(int num_stages, int stage, int num_microbatches)
      : first_(stage == 0), last_(stage == num_stages - 1) {
    require(num_stages >= 1 && stage >= 0 && stage < num_stages, "a stage of the pipeline");
    require(num_microbatches >= 1, "a step has at least one micro-batch");
    actions_.reserve(6 * static_cast<std::size_t>(num_microbatches));
  }

  void forward(int micro_batch) {
    if (!first_) actions_.push_back({ActionKind::kReceiveActivation, micro_batch});
    actions_.push_back({ActionKind::kForward, micro_batch});
    if (!last_) actions_.push_back({ActionKind::kSendActivation, micro_batch});
  }
  void backward(int micro_batch) {
    if (!last_) actions_.push_back({ActionKind::kReceiveGradient, micro_batch});
    actions_.push_back({ActionKind::kBackward, micro_batch});
    if (!first_) actions_.push_back({ActionKind::kSendGradient, micro_batch});
  }
  std::vector<Action> take() { return std::move(actions_); }

 private:
  bool first_;
  bool last_;
  std::vector<Action> actions_;
};

}  // namespace

std::string_view name_of(ActionKind kind) {
  switch (kind) {
    case ActionKind::kForward: return "forward";
    case ActionKind::kBackward: return "backward";
    case ActionKind::kBackwardInput: return "backward input";
    case ActionKind::kBackwardWeight: return "backward weight";
    case ActionKind::kSendActivation: return "send activation";
    case ActionKind::kReceiveActivation: return "receive activation";
    case ActionKind::kSendGradient: return "send gradient";
    case ActionKind::kReceiveGradient: return "receive gradient";
  }
  return "?";
}

std::vector<Action> gpipe(int num_stages, int stage, int num_microbatches) {
  Writer writer(num_stages, stage, num_microbatches);
  for (int i = 0; i < num_microbatches; ++i) writer.forward(i);
  for (int i = 0; i < num_microbatches; ++i) writer.backward(i);
  return writer.take();
}

std::vector<Action> one_f_one_b(int num_stages, int stage, int num_microbatches) {
  Writer writer(num_stages, stage, num_microbatches);
  const int warm_up = std::min(num_stages - 1 - stage, num_microbatches);
  for (int i = 0; i < warm_up; ++i) writer.forward(i);
  for (int i = warm_up; i < num_microbatches; ++i) {
    writer.forward(i);
    writer.backward(i - warm_up);
  }
  for (int i = num_microbatches - warm_up; i < num_microbatches; ++i) writer.backward(i);
  return writer.take();
}

std::vector<Action> forward_only(int num_stages, int stage, int num_microbatches) {
  Writer writer(num_stages, stage, num_microbatches);
  for (int i = 0; i < num_microbatches; ++i) writer.forward(i);
  return writer.take();
}

std::vector<Action> make_schedule(PipelineSchedule schedule, int num_stages, int stage,
                                  int num_microbatches) {
  switch (schedule) {
    case PipelineSchedule::kGpipe: return gpipe(num_stages, stage, num_microbatches);
    case PipelineSchedule::kOneFOneB: return one_f_one_b(num_stages, stage, num_microbatches);
  }
  require(false, "a known pipeline schedule");
  return {};
}

std::size_t posted_before(std::span<const Action> actions, std::size_t at) {
  constexpr Action kFirstGradient{ActionKind::kReceiveGradient, 0};
  // A send belongs to the compute before it.
  int computes = at < actions.size() && is_send(actions[at].kind) ? 1 : 0;
  std::size_t end = at;
  for (; end < actions.size(); ++end) {
    if (is_compute(actions[end].kind) && ++computes == 2) break;
    if (actions[end] == kFirstGradient && end > at) break;
  }
  return end;
}

int activations_in_flight(PipelineSchedule schedule, int num_stages, int stage,
                          int num_microbatches) {
  return schedule == PipelineSchedule::kGpipe ? num_microbatches
                                              : std::min(num_microbatches, num_stages - stage);
}

double bubble_fraction(int num_stages, int num_microbatches) {
  return static_cast<double>(num_stages - 1) / (num_microbatches + num_stages - 1);
}

}  // namespace cuboid
