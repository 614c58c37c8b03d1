#include "cuboid/trainer/trainer.hpp"

#include <sys/resource.h>

#include <cmath>
#include <cstdio>

#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/base/timer.hpp"
#include "cuboid/checkpoint/folder.hpp"
#include "cuboid/checkpoint/load.hpp"
#include "cuboid/checkpoint/save.hpp"
#include "cuboid/config/model_size.hpp"
#include "cuboid/trainer/state.hpp"

namespace cuboid {
namespace {

BatchContent content_for(const StagePlace& place) {
  return place.is_first || place.is_last ? BatchContent::kTokensAndTargets : BatchContent::kIdsOnly;
}

// Largest resident size of this process so far.
double peak_resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024.0;
}

}  // namespace

Trainer::Trainer(const Config& config, const Grid& grid, GridCommunicators& communicators,
                 const Dataset& dataset, Stage& stage, TrainerOptions options)
    : config_(config),
      grid_(grid),
      communicators_(communicators),
      dataset_(dataset),
      stage_(stage),
      options_(std::move(options)),
      step_(config, grid, communicators, stage),
      progress_(options_.progress_line && grid.rank() == 0) {}

BatchReader Trainer::reader(const TokenSplit& tokens, SampleOrder order) const {
  return {tokens, std::move(order),
          BatchShape{.seq_length = config_.model.seq_length,
                     .micro_batch_size = config_.batch.micro_batch_size,
                     .num_microbatches = config_.batch.num_microbatches,
                     .dp_size = grid_.shape().dp,
                     .dp_rank = grid_.at().dp},
          content_for(stage_.place())};
}

void Trainer::resume(const std::string& path) {
  const StateSlices state = state_slices(stage_.store(), step_.optimizer(), grid_);
  const Metadata metadata = load_checkpoint(path, grid_.world(), state.slices);
  if (metadata.seed != static_cast<std::uint64_t>(config_.train.seed)) {
    throw UsageError(format(
        "--seed %ld contradicts --resume %s: that run's order of samples comes "
        "from seed %lu; legal: --seed %lu",
        static_cast<long>(config_.train.seed), path.c_str(),
        static_cast<unsigned long>(metadata.seed), static_cast<unsigned long>(metadata.seed)));
  }
  restore_state(state, stage_.store(), step_.optimizer());
  step_.optimizer().set_num_steps(metadata.step);
  completed_ = resumed_at_ = metadata.step;
  consumed_ = metadata.consumed_samples;
  history_ = metadata.history;
  digest_ = metadata.sample_digest;
  print("Resumed from " + path + " at step " + std::to_string(completed_));
}

bool Trainer::is_due(std::int64_t interval) const {
  return interval > 0 && completed_ % interval == 0;
}

void Trainer::run() {
  const TrainSampler sampler(dataset_.train.size(), config_.model.seq_length,
                             static_cast<std::uint64_t>(config_.train.seed));
  BatchLoader loader(reader(dataset_.train, order_of(sampler)), consumed_);
  if (speaks()) metrics_file_.emplace(config_.checkpoint.output_dir, completed_);
  const Timer timer;
  bool saved = true;
  while (completed_ < config_.train.max_steps) {
    train_one_step(loader);
    saved = is_due(config_.checkpoint.save_interval);
    if (saved) save();
  }
  if (!saved) save();
  print_summary(timer.seconds());
}

void Trainer::train_one_step(BatchLoader& loader) {
  const Timer timer;
  const Batch& batch = loader.next();
  const StepResult result = step_.run(batch, completed_);
  const double ms = timer.ms();
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) {
    throw Diverged(
        format("step %ld: loss %g, gradient norm %g; the weights before it are in the "
               "last checkpoint. A lower --learning-rate, more --warmup-steps or a "
               "smaller --clip-grad may help",
               static_cast<long>(completed_ + 1), result.loss, result.grad_norm));
  }
  ++completed_;
  consumed_ += config_.batch.global_batch_size;
  training_seconds_ += ms * 1e-3;
  StepMetrics metrics = measure(result, batch, ms);
  digest_ = batch.digest;
  history_.step.push_back(completed_);
  history_.loss.push_back(result.loss);
  history_.grad_norm.push_back(result.grad_norm);
  history_.learning_rate.push_back(result.learning_rate);
  history_.consumed_samples.push_back(consumed_);
  const bool last = completed_ == config_.train.max_steps;
  if (config_.train.eval_steps > 0 && (last || is_due(config_.train.eval_interval))) {
    metrics.validation_loss = validation_loss_ = validate();
  }
  if (!speaks()) return;
  metrics_file_->write(metrics);
  interval_.add(metrics);
  if (last || is_due(config_.train.log_interval)) {
    print(log_line(interval_.flush()));
  } else if (metrics.validation_loss) {
    print(format("Step %ld | Validation loss: %.4f", static_cast<long>(completed_),
                 *metrics.validation_loss));
  }
  const auto done = static_cast<double>(completed_ - resumed_at_);
  if (!last) progress_.show(completed_, config_.train.max_steps, training_seconds_ / done);
}

StepMetrics Trainer::measure(const StepResult& result, const Batch& batch, double ms) const {
  const auto samples = static_cast<double>(config_.batch.global_batch_size);
  const double tokens = samples * static_cast<double>(config_.model.seq_length);
  const double tokens_per_second = tokens / (ms * 1e-3);
  return {.step = completed_,
          .loss = result.loss,
          .grad_norm = result.grad_norm,
          .learning_rate = result.learning_rate,
          .tokens = consumed_ * config_.model.seq_length,
          .samples_per_second = samples / (ms * 1e-3),
          .tokens_per_second = tokens_per_second,
          .step_ms = ms,
          .mfu = options_.peak_flops > 0.0
                     ? flops_per_token(config_.model) * tokens_per_second / options_.peak_flops
                     : 0.0,
          .sample_digest = batch.digest,
          .validation_loss = {}};
}

double Trainer::validate() {
  const Timer timer;
  const ValidationSampler sampler(dataset_.validation.size(), config_.model.seq_length,
                                  config_.train.eval_steps, config_.batch.global_batch_size);
  const double loss =
      step_.evaluate(reader(dataset_.validation, order_of(sampler)), sampler.num_batches());
  validating_seconds_ += timer.seconds();
  return loss;
}

void Trainer::save() {
  const Timer timer;
  const std::string path = checkpoint_path(config_.checkpoint.output_dir, completed_);
  Metadata metadata;
  metadata.step = completed_;
  metadata.consumed_samples = consumed_;
  metadata.tokens = metadata.consumed_samples * config_.model.seq_length;
  metadata.seed = static_cast<std::uint64_t>(config_.train.seed);
  metadata.sample_digest = digest_;
  metadata.grid = grid_.shape();
  metadata.options = options_.options;
  metadata.versions = options_.versions;
  metadata.history = history_;
  const StateSlices state = state_slices(stage_.store(), step_.optimizer(), grid_);
  save_checkpoint(path, grid_.world(), state.slices, metadata);
  last_saved_ = path;
  saving_seconds_ += timer.seconds();
  print(format("Saved %s in %s", path.c_str(), short_duration(timer.seconds()).c_str()));
}

void Trainer::print(const std::string& line) {
  if (!speaks()) return;
  progress_.clear();
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

void Trainer::print_summary(double seconds) {
  double memory = peak_resident_bytes();
  communicators_.control->all_reduce(buffer_of(memory), ReduceOp::kMax);
  const std::int64_t steps = completed_ - resumed_at_;
  if (!speaks()) return;
  const std::int64_t tokens = steps * config_.batch.global_batch_size * config_.model.seq_length;
  std::vector<std::vector<std::string>> rows = {
      {"Steps", grouped(steps)},
      {"Tokens", grouped(tokens)},
      {"Time", short_duration(seconds) + format(" (training %s, validation %s, saving %s)",
                                                short_duration(training_seconds_).c_str(),
                                                short_duration(validating_seconds_).c_str(),
                                                short_duration(saving_seconds_).c_str())}};
  if (steps > 0 && training_seconds_ > 0.0) {
    rows.push_back({"Mean throughput", grouped(static_cast<std::int64_t>(
                                           static_cast<double>(tokens) / training_seconds_)) +
                                           " tokens/s"});
  }
  if (!history_.loss.empty()) {
    rows.push_back({"Training loss", format("%.4f", history_.loss.back())});
  }
  if (validation_loss_) rows.push_back({"Validation loss", format("%.4f", *validation_loss_)});
  rows.push_back({"Peak memory", short_bytes(memory) + " of the largest rank"});
  if (!last_saved_.empty()) rows.push_back({"Checkpoint", last_saved_});
  print("\nDone\n" + table(rows, "  "));
}

}  // namespace cuboid
