#include "cuboid/trainer/train_step.hpp"

#include <ATen/ops/cat.h>

#include <cmath>
#include <span>
#include <utility>

#include "cuboid/optimizer/lr_schedule.hpp"
#include "cuboid/trainer/batches.hpp"

namespace cuboid {

TrainStep::TrainStep(const Config& config, const Grid& grid, GridCommunicators& communicators,
                     Stage& stage, StepHooks hooks)
    : config_(config),
      hooks_(std::move(hooks)),
      grid_(grid),
      communicators_(communicators),
      stage_(stage),
      recorder_(*communicators.recorder),
      tokens_per_step_(config.batch.global_batch_size * config.model.seq_length),
      executor_(stage, communicators),
      evaluator_(config, grid, communicators, stage, executor_, hooks_.wants_attention),
      reducer_(stage.store(), *communicators.dp, config.optimizer.ddp_bucket_size),
      norm_(stage.store(), *communicators.model_parallel, grid.at().tp),
      optimizer_(stage.store(), config.optimizer) {
  const int num_microbatches = static_cast<int>(config.batch.num_microbatches);
  schedule_ = make_schedule(config.parallel.pipeline_schedule, grid.shape().pp, grid.at().pp,
                            num_microbatches);
  stage_.on_final_gradient([this](Weight& weight) { reducer_.add(weight); });
}

void TrainStep::begin(const Batch& batch) {
  // Copies to a GPU among it.
  const Span span(&recorder_, StepPart::kData, {.what = "micro-batches"});
  stage_.begin_step(micro_batches_of(batch, config_, stage_),
                    1.0 / static_cast<double>(tokens_per_step_));
}

// The stage's loss and the gradients' norm in one copy from the device: all that a step waits for.
TrainStep::Measured TrainStep::measure() {
  at::Tensor squares;
  {
    const Span span(&recorder_, StepPart::kOptimizer, {.what = "gradient norm"});
    squares = norm_.gather();
  }
  const at::Tensor& loss = stage_.loss_on_device();
  const at::Tensor numbers =
      loss.defined() ? at::cat({loss.view({1}), squares}).cpu() : squares.cpu();
  const std::span all(numbers.const_data_ptr<double>(), static_cast<std::size_t>(numbers.numel()));
  return {.loss_sum = loss.defined() ? all.front() : 0.0,
          .grad_norm = GradientNorm::norm_of(all.subspan(loss.defined() ? 1 : 0))};
}

void TrainStep::update(double learning_rate, double clip) {
  hooks_.before_update();
  const Span span(&recorder_, StepPart::kOptimizer, {.what = "update"});
  optimizer_.step(learning_rate, clip);
}

StepResult TrainStep::run(const Batch& batch, std::int64_t step) {
  begin(batch);
  executor_.run(schedule_);
  reducer_.finish();
  if (stage_.tied_weight() != nullptr) {
    finish_tied_gradient(*stage_.tied_weight(), stage_.tied_gradient(), *communicators_.ends);
  }
  const Measured measured = measure();
  const LossTotal total =
      add_up_losses(config_, grid_, communicators_, measured.loss_sum, hooks_.wants_attention());
  StepResult result{
      .loss = total.loss,
      .grad_norm = measured.grad_norm,
      .learning_rate = learning_rate(config_.optimizer, step, config_.train.max_steps),
      .attention = total.attention};
  if (std::isfinite(result.loss) && std::isfinite(result.grad_norm)) {
    update(result.learning_rate, clip_factor(result.grad_norm, config_.optimizer.clip_grad));
  }
  return result;
}

}  // namespace cuboid
