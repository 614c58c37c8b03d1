#include "cuboid/trainer/evaluator.hpp"

#include <array>
#include <span>
#include <utility>

#include "cuboid/data/sampler.hpp"
#include "cuboid/trainer/batches.hpp"

namespace cuboid {

LossTotal add_up_losses(const Config& config, const Grid& grid, GridCommunicators& communicators,
                        double loss_sum, bool attention) {
  // All TP ranks of the last stage hold the same sum; one of them speaks for each replica.
  const bool speaks = grid.is_last_stage() && grid.at().tp == 0;
  std::array<double, 2> sums = {speaks ? loss_sum : 0.0, attention ? 1.0 : 0.0};
  communicators.control->all_reduce(buffer_of(std::span<double>(sums)));
  const std::int64_t tokens = config.batch.global_batch_size * config.model.seq_length;
  return {.loss = sums[0] / static_cast<double>(tokens), .attention = sums[1] > 0.0};
}

Evaluator::Evaluator(const Config& config, const Grid& grid, GridCommunicators& communicators,
                     Stage& stage, PipelineExecutor& executor,
                     std::function<bool()> wants_attention)
    : config_(config),
      grid_(grid),
      communicators_(communicators),
      stage_(stage),
      executor_(executor),
      wants_attention_(std::move(wants_attention)),
      schedule_(forward_only(grid.shape().pp, grid.at().pp,
                             static_cast<int>(config.batch.num_microbatches))) {}

std::int64_t Evaluator::num_batches(const TokenSplit& validation) const {
  return ValidationSampler(validation.size(), config_.model.seq_length, config_.train.eval_steps,
                           config_.batch.global_batch_size)
      .num_batches();
}

std::optional<double> Evaluator::run(const TokenSplit& validation) {
  const ValidationSampler sampler(validation.size(), config_.model.seq_length,
                                  config_.train.eval_steps, config_.batch.global_batch_size);
  const BatchReader reader =
      batch_reader(config_, grid_, stage_.place(), validation, order_of(sampler));
  Batch batch;
  double losses = 0.0;
  for (std::int64_t i = 0; i < sampler.num_batches(); ++i) {
    reader.read(i * reader.shape().global_batch_size(), batch);
    stage_.begin_step(micro_batches_of(batch, config_, stage_), /*loss_scale=*/0.0);
    executor_.run(schedule_);
    const LossTotal total =
        add_up_losses(config_, grid_, communicators_, stage_.loss_sum(), wants_attention_());
    if (total.attention) return std::nullopt;
    losses += total.loss;
  }
  return losses / static_cast<double>(sampler.num_batches());
}

}  // namespace cuboid
