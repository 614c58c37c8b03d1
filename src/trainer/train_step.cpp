#include "cuboid/trainer/train_step.hpp"

#include <ATen/ops/from_blob.h>

#include <array>
#include <cmath>
#include <span>
#include <utility>

#include "cuboid/optimizer/lr_schedule.hpp"

namespace cuboid {
namespace {

// A view of the loader's memory, or a copy of it on the stage's device.
at::Tensor tokens_on(const std::vector<std::int64_t>& all, std::int64_t begin, std::int64_t count,
                     at::Device device) {
  if (all.empty()) return {};
  // from_blob wants mutable memory; nobody writes to tokens.
  auto* data = const_cast<std::int64_t*>(all.data()) + begin;
  return at::from_blob(data, {count}, at::kLong).to(device);
}

}  // namespace

TrainStep::TrainStep(const Config& config, const Grid& grid, GridCommunicators& communicators,
                     Stage& stage, StepHooks hooks)
    : config_(config),
      hooks_(std::move(hooks)),
      grid_(grid),
      communicators_(communicators),
      stage_(stage),
      tokens_per_step_(config.batch.global_batch_size * config.model.seq_length),
      executor_(stage, communicators),
      reducer_(stage.store(), *communicators.dp, config.optimizer.ddp_bucket_size),
      norm_(stage.store(), *communicators.model_parallel, grid.at().tp),
      optimizer_(stage.store(), config.optimizer) {
  const int num_microbatches = static_cast<int>(config.batch.num_microbatches);
  schedule_ = make_schedule(config.parallel.pipeline_schedule, grid.shape().pp, grid.at().pp,
                            num_microbatches);
  evaluation_schedule_ = forward_only(grid.shape().pp, grid.at().pp, num_microbatches);
  stage_.on_final_gradient([this](Weight& weight) { reducer_.add(weight); });
}

std::vector<MicroBatch> TrainStep::micro_batches(const Batch& batch) const {
  const std::int64_t size = config_.batch.micro_batch_size * config_.model.seq_length;
  const at::Device device = stage_.boundary_options().device();
  std::vector<MicroBatch> result;
  for (std::int64_t m = 0; m < config_.batch.num_microbatches; ++m) {
    result.push_back(
        {.tokens = stage_.place().is_first ? tokens_on(batch.tokens, m * size, size, device)
                                           : at::Tensor(),
         .targets = stage_.place().is_last ? tokens_on(batch.targets, m * size, size, device)
                                           : at::Tensor(),
         .first_sample = batch.first_sample + m * config_.batch.micro_batch_size});
  }
  return result;
}

TrainStep::Total TrainStep::add_up(double loss_sum) {
  // All TP ranks of the last stage hold the same sum; one of them speaks for each replica.
  const bool speaks = grid_.is_last_stage() && grid_.at().tp == 0;
  const bool attention = hooks_.wants_attention();
  std::array<double, 2> sums = {speaks ? loss_sum : 0.0, attention ? 1.0 : 0.0};
  communicators_.control->all_reduce(buffer_of(std::span<double>(sums)));
  return {.loss = sums[0] / static_cast<double>(tokens_per_step_), .attention = sums[1] > 0.0};
}

StepResult TrainStep::run(const Batch& batch, std::int64_t step) {
  stage_.begin_step(micro_batches(batch), 1.0 / static_cast<double>(tokens_per_step_));
  executor_.run(schedule_);
  reducer_.finish();
  if (stage_.tied_weight() != nullptr) {
    finish_tied_gradient(*stage_.tied_weight(), stage_.tied_gradient(), *communicators_.ends);
  }
  const Total total = add_up(stage_.loss_sum());
  StepResult result{
      .loss = total.loss,
      .grad_norm = norm_.compute(),
      .learning_rate = learning_rate(config_.optimizer, step, config_.train.max_steps),
      .attention = total.attention};
  if (std::isfinite(result.loss) && std::isfinite(result.grad_norm)) {
    hooks_.before_update();
    optimizer_.step(result.learning_rate,
                    clip_factor(result.grad_norm, config_.optimizer.clip_grad));
  }
  return result;
}

std::optional<double> TrainStep::evaluate(const BatchReader& reader, std::int64_t num_batches) {
  Batch batch;
  double losses = 0.0;
  for (std::int64_t i = 0; i < num_batches; ++i) {
    reader.read(i * reader.shape().global_batch_size(), batch);
    stage_.begin_step(micro_batches(batch), /*loss_scale=*/0.0);
    executor_.run(evaluation_schedule_);
    const Total total = add_up(stage_.loss_sum());
    if (total.attention) return std::nullopt;
    losses += total.loss;
  }
  return losses / static_cast<double>(num_batches);
}

}  // namespace cuboid
