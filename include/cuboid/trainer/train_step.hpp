// One optimizer step: micro-batches through the pipeline, gradients summed over replicas while the
// backward pass runs, clipping by the global norm, AdamW.
#pragma once

#include "cuboid/collective/grid_communicators.hpp"
#include "cuboid/config/config.hpp"
#include "cuboid/data/batch_loader.hpp"
#include "cuboid/grid/grid.hpp"
#include "cuboid/model/stage.hpp"
#include "cuboid/optimizer/adamw.hpp"
#include "cuboid/optimizer/gradient_norm.hpp"
#include "cuboid/optimizer/reducer.hpp"
#include "cuboid/pipeline/executor.hpp"

namespace cuboid {

struct StepResult {
  double loss = 0.0;       // mean over the global batch's tokens, in nats
  double grad_norm = 0.0;  // of the whole model, before clipping
  double learning_rate = 0.0;
};

class TrainStep {
 public:
  // `config` is resolved; the others must outlive this. Collective over the grid.
  TrainStep(const Config& config, const Grid& grid, GridCommunicators& communicators, Stage& stage);

  // Runs the update after `step` completed ones. Collective; the result is the same on all ranks.
  // Where loss or norm is not finite, no weight has been changed.
  StepResult run(const Batch& batch, std::int64_t step);

  // Mean loss over batches of a reader, without gradients or dropout. Collective.
  double evaluate(const BatchReader& reader, std::int64_t num_batches);

  [[nodiscard]] AdamW& optimizer() { return optimizer_; }

 private:
  [[nodiscard]] std::vector<MicroBatch> micro_batches(const Batch& batch) const;
  // Sum over the last stages' losses, divided by the tokens of a global batch.
  [[nodiscard]] double mean_loss(double loss_sum, std::int64_t num_batches);

  Config config_;
  const Grid& grid_;
  GridCommunicators& communicators_;
  Stage& stage_;
  std::int64_t tokens_per_step_;
  PipelineExecutor executor_;
  BucketedReducer reducer_;
  GradientNorm norm_;
  AdamW optimizer_;
  std::vector<Action> schedule_, evaluation_schedule_;
};

}  // namespace cuboid
