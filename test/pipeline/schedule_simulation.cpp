#include "schedule_simulation.hpp"

#include <algorithm>
#include <tuple>

namespace cuboid::test {

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
  switch (kind) {
    case ActionKind::kSendActivation: return ActionKind::kReceiveActivation;
    case ActionKind::kSendGradient: return ActionKind::kReceiveGradient;
    case ActionKind::kReceiveActivation: return ActionKind::kSendActivation;
    case ActionKind::kReceiveGradient: return ActionKind::kSendGradient;
    default: return kind;
  }
}

namespace {

class Simulation {
 public:
  Simulation(const Pipeline& pipeline, Rules rules)
      : pipeline_(pipeline), rules_(rules), next_(pipeline.size(), 0) {}

  bool completes() {
    for (bool progress = true; progress;) {
      progress = false;
      for (int stage = 0; stage < num_stages(); ++stage) {
        for (; next(stage) < actions(stage).size() && can_end(stage); ++next(stage)) {
          progress = true;
        }
      }
    }
    for (int stage = 0; stage < num_stages(); ++stage) {
      if (next(stage) != actions(stage).size()) return false;
    }
    return true;
  }

 private:
  [[nodiscard]] int num_stages() const { return static_cast<int>(pipeline_.size()); }
  std::size_t& next(int stage) { return next_[static_cast<std::size_t>(stage)]; }
  const std::vector<Action>& actions(int stage) const {
    return pipeline_[static_cast<std::size_t>(stage)];
  }
  // Messages of this kind that the stage has begun to send, or has posted.
  std::size_t begun(int stage, ActionKind kind) {
    std::size_t end = std::min(next(stage) + 1, actions(stage).size());
    if (is_receive(kind) && rules_.post_ahead) end = posted_before(actions(stage), next(stage));
    return static_cast<std::size_t>(
        std::count_if(actions(stage).begin(), actions(stage).begin() + static_cast<long>(end),
                      [kind](const Action& action) { return action.kind == kind; }));
  }
  // Whether the other ends of what the stage has begun have begun too, but for the last `free`.
  bool is_met(int stage, ActionKind kind, std::size_t free) {
    const int peer = peer_of(kind, stage);
    if (peer < 0 || peer == num_stages()) return true;
    return begun(peer, counterpart(kind)) + free >= begun(stage, kind);
  }
  bool can_end(int stage) {
    using enum ActionKind;
    const Action& action = actions(stage)[next(stage)];
    if (is_compute(action.kind)) {
      return !rules_.computes_wait ||
             (is_met(stage, kSendActivation, 0) && is_met(stage, kReceiveActivation, 0) &&
              is_met(stage, kSendGradient, 0) && is_met(stage, kReceiveGradient, 0));
    }
    if (is_send(action.kind)) return is_met(stage, action.kind, rules_.free_sends);
    return begun(peer_of(action.kind, stage), counterpart(action.kind)) >
           static_cast<std::size_t>(action.micro_batch);
  }

  const Pipeline& pipeline_;
  Rules rules_;
  std::vector<std::size_t> next_;
};

}  // namespace

bool completes(const Pipeline& pipeline, Rules rules) {
  return Simulation(pipeline, rules).completes();
}

std::vector<std::map<std::size_t, std::size_t>> own_actions_before_arrivals(
    const Pipeline& pipeline) {
  using Past = std::vector<std::size_t>;  // of each stage, the actions that something needs
  const std::size_t count = pipeline.size();
  std::vector<Past> past(count, Past(count, 0));
  std::map<std::tuple<int, ActionKind, int>, Past> messages;  // receiver, kind, micro-batch
  std::vector<std::map<std::size_t, std::size_t>> needed(count);
  for (bool progress = true; progress;) {
    progress = false;
    for (std::size_t stage = 0; stage < count; ++stage) {
      for (std::size_t& at = past[stage][stage]; at < pipeline[stage].size(); progress = true) {
        const Action& action = pipeline[stage][at];
        const int index = static_cast<int>(stage);
        if (is_receive(action.kind)) {
          const auto it = messages.find({index, action.kind, action.micro_batch});
          if (it == messages.end()) break;
          needed[stage][at] = it->second[stage];
          for (std::size_t other = 0; other < count; ++other) {
            past[stage][other] = std::max(past[stage][other], it->second[other]);
          }
        }
        ++at;
        if (is_send(action.kind)) {
          messages[{peer_of(action.kind, index), counterpart(action.kind), action.micro_batch}] =
              past[stage];
        }
      }
    }
  }
  return needed;
}

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

}  // namespace cuboid::test
