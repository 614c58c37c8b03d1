// Runs a stage's schedule: computes, and moves activations and gradients between stages. Receives
// are posted ahead and sends are not waited for, so messages travel while the stage computes.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <map>
#include <span>

#include "cuboid/base/step_recorder.hpp"
#include "cuboid/collective/grid_communicators.hpp"
#include "cuboid/model/stage_compute.hpp"
#include "cuboid/pipeline/point_to_point.hpp"
#include "cuboid/pipeline/schedule.hpp"

namespace cuboid {

class PipelineExecutor {
 public:
  // Both must outlive the executor. Computes, and calls for messages, are spans of the
  // communicators' recorder.
  PipelineExecutor(StageCompute& stage, const GridCommunicators& communicators);

  // Runs one step; collective over the pipeline, every stage with its schedule of the same kind and
  // number of micro-batches (see make_schedule and forward_only). Nothing is under way afterwards.
  // The first run with backwards, and the first without, post no receive ahead: see the README.
  // The stage learns which backward is its last. Throws std::logic_error where an action is not
  // possible (a message without its compute, an unknown kind of action), and what the stage and the
  // communicators throw; then messages under way are abandoned, not waited for, because their
  // other ends may never come: the job must end.
  void run(std::span<const Action> actions);

  // Seconds, summed over all runs, in which the host waited for a neighbour: the bubble, and
  // messages that were not hidden. On a GPU only the host's waits count, which are short.
  [[nodiscard]] double wait_seconds() const { return wait_seconds_; }

 private:
  // Tensors between a compute and its message, by micro-batch.
  using Tensors = std::map<int, at::Tensor>;

  void run_all(std::span<const Action> actions);
  void post_receives(std::span<const Action> actions);
  void perform(const Action& action, bool is_last_backward);
  void forward(const Action& action);
  void backward(const Action& action, bool is_last);
  void receive(Inbox& inbox, Tensors& to, const Action& action);
  void send(Outbox& outbox, Tensors& from, const Action& action);
  void poll();
  void finish();
  void abandon();

  StageCompute& stage_;
  StepRecorder& recorder_;
  bool has_neighbours_;
  bool has_trained_ = false;
  bool has_evaluated_ = false;
  Inbox activations_in_, gradients_in_;
  Outbox activations_out_, gradients_out_;
  Tensors inputs_, outputs_, output_gradients_, input_gradients_;
  double wait_seconds_ = 0;
};

}  // namespace cuboid
