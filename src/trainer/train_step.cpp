#include "cuboid/trainer/train_step.hpp"

#include <ATen/ops/zeros.h>

#include <cmath>
#include <span>
#include <utility>

#include "cuboid/base/error.hpp"
#include "cuboid/collective/progress_board.hpp"
#include "cuboid/optimizer/lr_schedule.hpp"
#include "cuboid/trainer/cuda_graph.hpp"

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
      optimizer_(stage.store(), config.optimizer),
      numbers_(at::zeros({communicators.model_parallel->size() + (stage.place().is_last ? 1 : 0)},
                         at::TensorOptions(at::kDouble).device(stage.boundary_options().device()))),
      graph_(make_graph()) {
  const int num_microbatches = static_cast<int>(config.batch.num_microbatches);
  schedule_ = make_schedule(config.parallel.pipeline_schedule, grid.shape().pp, grid.at().pp,
                            num_microbatches);
  if (stage_.boundary_options().device().is_cuda()) input_.emplace(config, stage);
  stage_.on_final_gradient([this](Weight& weight) { reducer_.add(weight); });
}

StepGraph TrainStep::make_graph() {
  const auto wanted = config_.runtime.cuda_graph;
  const at::Device device = stage_.boundary_options().device();
  std::string reason = why_not_captured(config_.parallel, device.is_cuda(), communicators_.backend);
  if (reason.empty() && !has_own_stream(device)) reason = "it computes on the default stream";
  if (!reason.empty() && wanted == true)
    throw UsageError("--cuda-graph true cannot be done: " + reason +
                     "; legal: --cuda-graph auto or false");
  const bool is_on = reason.empty() && wanted != false;
  if (device.is_cuda() && wanted != false)
    hooks_.say(is_on ? "CUDA graph: steps are captured in the second one, then replayed"
                     : "CUDA graph: off, since " + reason);
  return {is_on ? make_cuda_graph(device) : nullptr,
          {.is_required = wanted == true,
           .agree =
               [this](bool mine) {
                 std::int64_t all = mine ? 1 : 0;
                 communicators_.control->all_reduce(buffer_of(all), ReduceOp::kMin);
                 return all == 1;
               },
           .say = hooks_.say}};
}

// What a captured step reads. Copies to a GPU among it.
void TrainStep::feed(const Batch& batch) {
  if (!input_) return;
  const Span span(&recorder_, StepPart::kData, {.what = "micro-batches"});
  input_->fill(batch);
}

void TrainStep::begin(const Batch& batch) {
  const Span span(&recorder_, StepPart::kData, {.what = "micro-batches"});
  stage_.begin_step(input_ ? input_->micro_batches() : micro_batches_of(batch, config_, stage_),
                    1.0 / static_cast<double>(tokens_per_step_));
}

// All of a step's work on the device before its loss is known. Whatever it reads and leaves lies
// where it lay in the step before, and it asks the device for nothing, so that it can be captured.
void TrainStep::compute() {
  const RecordingPause pause(recorder_, graph_.is_capturing());
  executor_.run(schedule_);
  reducer_.finish();
  if (stage_.tied_weight() != nullptr) {
    finish_tied_gradient(*stage_.tied_weight(), stage_.tied_gradient(), *communicators_.ends);
  }
  const Span span(&recorder_, StepPart::kOptimizer, {.what = "gradient norm"});
  const at::Tensor squares = norm_.gather();
  const at::Tensor& loss = stage_.loss_on_device();
  at::Tensor squares_to = numbers_.narrow(0, numbers_.numel() - squares.numel(), squares.numel());
  squares_to.copy_(squares);
  if (loss.defined()) numbers_.narrow(0, 0, 1).copy_(loss.view({1}));
}

void TrainStep::abandon() {
  stage_.abandon_step();
  reducer_.abandon();
}

// The stage's loss and the gradients' norm in one copy from the device: all that a step waits for.
// Of a replayed step the watchdog sees nothing but this.
TrainStep::Measured TrainStep::measure(StepGraph::Ran ran) {
  Channel* const replays = ran == StepGraph::Ran::kEagerly ? nullptr : communicators_.replays;
  const Waiting waiting(replays, replays == nullptr ? Operation{} : replays->start("replay", 0));
  const at::Tensor numbers = numbers_.cpu();
  const std::span all(numbers.const_data_ptr<double>(), static_cast<std::size_t>(numbers.numel()));
  const bool has_loss = stage_.place().is_last;
  return {.loss_sum = has_loss ? all.front() : 0.0,
          .grad_norm = GradientNorm::norm_of(all.subspan(has_loss ? 1 : 0))};
}

void TrainStep::update(double learning_rate, double clip) {
  hooks_.before_update();
  const Span span(&recorder_, StepPart::kOptimizer, {.what = "update"});
  optimizer_.step(learning_rate, clip);
}

// A step that is to be seen in its parts is not replayed.
StepGraph::Ran TrainStep::run_passes(const Batch& batch) {
  const std::vector<std::int64_t> shape = {static_cast<std::int64_t>(batch.tokens.size()),
                                           static_cast<std::int64_t>(batch.targets.size()),
                                           static_cast<std::int64_t>(schedule_.size())};
  const bool eagerly = recorder_.keeps_spans();
  const bool is_eager = graph_.plan(shape, eagerly) == StepGraph::Ran::kEagerly;
  const Span span(is_eager ? nullptr : &recorder_, StepPart::kGraph, {.what = "graph"});
  return graph_.run(shape, eagerly,
                    {.begin = [&] { begin(batch); },
                     .compute = [&] { compute(); },
                     .abandon = [&] { abandon(); }});
}

StepResult TrainStep::run(const Batch& batch, std::int64_t step) {
  feed(batch);
  const Measured measured = measure(run_passes(batch));
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
