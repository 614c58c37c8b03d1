#include "cuboid/trainer/evaluate_checkpoint.hpp"

#include "cuboid/base/timer.hpp"
#include "cuboid/checkpoint/load.hpp"
#include "cuboid/trainer/state.hpp"

namespace cuboid {

Evaluation evaluate_checkpoint(const std::string& path, const Config& config, const Grid& grid,
                               GridCommunicators& communicators, const Dataset& dataset,
                               Stage& stage) {
  const Timer loading;
  const StateSlices weights = parameter_slices(stage.store());
  load_checkpoint(path, grid.world(), weights.slices);
  restore_parameters(weights, stage.store());
  Evaluation result;
  result.load_seconds = loading.seconds();
  PipelineExecutor executor(stage, communicators);
  Evaluator evaluator(config, grid, communicators, stage, executor);
  const Timer timer;
  // Nothing asks for attention, so it is never cut short.
  result.loss = evaluator.run(dataset.validation).value();
  result.seconds = timer.seconds();
  result.tokens = evaluator.num_batches(dataset.validation) * config.batch.global_batch_size *
                  config.model.seq_length;
  return result;
}

}  // namespace cuboid
