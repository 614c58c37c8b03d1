// One optimizer step: micro-batches through the pipeline, gradients summed over replicas while the
// backward pass runs, clipping by the global norm, AdamW.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "cuboid/collective/grid_communicators.hpp"
#include "cuboid/config/config.hpp"
#include "cuboid/data/batch_loader.hpp"
#include "cuboid/grid/grid.hpp"
#include "cuboid/model/stage.hpp"
#include "cuboid/optimizer/adamw.hpp"
#include "cuboid/optimizer/gradient_norm.hpp"
#include "cuboid/optimizer/reducer.hpp"
#include "cuboid/pipeline/executor.hpp"
#include "cuboid/trainer/batches.hpp"
#include "cuboid/trainer/evaluator.hpp"
#include "cuboid/trainer/step_graph.hpp"

namespace cuboid {

struct StepResult {
  double loss = 0.0;       // mean over the global batch's tokens, in nats
  double grad_norm = 0.0;  // of the whole model, before clipping
  double learning_rate = 0.0;
  bool attention = false;  // some rank wants all to talk before the next step
};

struct StepHooks {
  // Asked on every rank whenever losses are added up, so that what one rank knows (a signal, a
  // failed save) reaches all of them without a message of its own.
  std::function<bool()> wants_attention = [] { return false; };
  // Called before weights and moments change: the one moment of a step at which they do.
  std::function<void()> before_update = [] {};
  // A line for people, on every rank: how the steps run on the device.
  std::function<void(const std::string&)> say = [](const std::string&) {};
};

class TrainStep {
 public:
  // `config` is resolved; the others must outlive this. Collective over the grid. Throws UsageError
  // where `--cuda-graph true` is asked for and steps cannot be captured.
  TrainStep(const Config& config, const Grid& grid, GridCommunicators& communicators, Stage& stage,
            StepHooks hooks = {});

  // Runs the update after `step` completed ones. Collective; the result is the same on all ranks.
  // Where loss or norm is not finite, no weight has been changed.
  StepResult run(const Batch& batch, std::int64_t step);

  [[nodiscard]] Evaluator& evaluator() { return evaluator_; }
  [[nodiscard]] AdamW& optimizer() { return optimizer_; }

 private:
  StepGraph make_graph();
  void feed(const Batch& batch);
  void begin(const Batch& batch);
  void compute();
  void abandon();
  StepGraph::Ran run_passes(const Batch& batch);
  struct Measured {
    double loss_sum, grad_norm;
  };
  Measured measure(StepGraph::Ran ran);
  void update(double learning_rate, double clip);

  Config config_;
  StepHooks hooks_;
  const Grid& grid_;
  GridCommunicators& communicators_;
  Stage& stage_;
  StepRecorder& recorder_;
  std::int64_t tokens_per_step_;
  PipelineExecutor executor_;
  Evaluator evaluator_;
  BucketedReducer reducer_;
  GradientNorm norm_;
  AdamW optimizer_;
  std::vector<Action> schedule_;
  std::optional<StepInput> input_;  // on a GPU
  at::Tensor numbers_;  // fp64 on the device: the loss where this stage has it, then squares
  StepGraph graph_;
};

}  // namespace cuboid
