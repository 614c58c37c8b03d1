#include "cuboid/trainer/trainer.hpp"

#include <array>
#include <cmath>
#include <span>
#include <utility>

#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/base/timer.hpp"
#include "cuboid/config/model_size.hpp"
#include "cuboid/launch/memory.hpp"
#include "cuboid/launch/stop_signal.hpp"
#include "cuboid/trainer/batches.hpp"
#include "cuboid/trainer/device_memory.hpp"

namespace cuboid {
namespace {

constexpr const char* kTimeLimit = "the time limit";

// What a save may need before one was measured: the file of fp32 weights and two moments at 100
// MB/s, which is slow for any disk, and a second.
double first_guess_of_save_seconds(const ModelConfig& model) {
  return 12.0 * static_cast<double>(num_parameters(model)) / 100e6 + 1.0;
}

const Batch& next_batch(BatchLoader& loader, StepRecorder& recorder) {
  const Span span(&recorder, StepPart::kData, {.what = "next batch"});
  return loader.next();
}

// "; removed those of steps 10, 20"
std::string removed_text(const std::vector<std::int64_t>& steps) {
  std::string text;
  for (const std::int64_t step : steps) {
    text += text.empty() ? "; removed that of step " : ", ";
    text += std::to_string(step);
  }
  return text;
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
      time_limit_(options_.seconds_left, first_guess_of_save_seconds(config.model)),
      log_(grid.rank() == 0, options_.progress_line),
      step_(config, grid, communicators, stage,
            {.wants_attention = [this] { return wants_attention(); },
             .before_update = [this] { checkpointer_.wait_until_copied(); },
             .say = [this](const std::string& line) { log_.print(line); }}),
      profile_(config, grid.shape(), options_.hosts, communicators),
      checkpointer_(config.checkpoint, grid, stage.store(), step_.optimizer()) {}

bool Trainer::is_due(std::int64_t interval) const {
  return interval > 0 && completed_ % interval == 0;
}

bool Trainer::is_validation_due() const {
  const bool last = completed_ == config_.train.max_steps;
  return config_.train.eval_steps > 0 && (last || is_due(config_.train.eval_interval));
}

RunEnd Trainer::run() {
  const TrainSampler sampler(dataset_.train.size(), config_.model.seq_length,
                             static_cast<std::uint64_t>(config_.train.seed));
  BatchLoader loader(
      batch_reader(config_, grid_, stage_.place(), dataset_.train, order_of(sampler)), consumed_);
  log_.open_metrics(config_.checkpoint.output_dir, completed_);
  log_.print_if_any(profile_.plan(completed_));
  const Timer timer;
  talk();  // a signal may have come before the first step
  if (validation_is_pending_ && stop_reason_.empty()) {
    validate();
    if (validation_loss_) log_.late_validation(completed_, *validation_loss_);
  }
  while (completed_ < config_.train.max_steps && stop_reason_.empty()) {
    train_one_step(loader);
    const bool goes_on = completed_ < config_.train.max_steps && stop_reason_.empty();
    if (goes_on && is_due(config_.checkpoint.save_interval)) save(/*goes_on=*/true);
    report_save();
  }
  save_at_the_end();
  report_step_times();
  print_summary(timer.seconds());
  const bool is_done = completed_ == config_.train.max_steps && !validation_is_pending_;
  return is_done ? RunEnd::kDone : RunEnd::kStopped;
}

void Trainer::train_one_step(BatchLoader& loader) {
  profile_.begin_step(completed_ + 1);
  const Timer timer;
  const Batch& batch = next_batch(loader, *communicators_.recorder);
  const StepResult result = step_.run(batch, completed_);
  const double ms = timer.ms();
  profile_.end_step();
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
  took(ms * 1e-3);
  StepMetrics metrics = measure(result, batch, ms);
  digest_ = batch.digest;
  history_.step.push_back(completed_);
  history_.loss.push_back(result.loss);
  history_.grad_norm.push_back(result.grad_norm);
  history_.learning_rate.push_back(result.learning_rate);
  history_.consumed_samples.push_back(consumed_);
  log_.print_if_any(profile_.write_when_complete());
  if (result.attention) talk();
  validation_is_pending_ = is_validation_due();
  if (validation_is_pending_ && stop_reason_.empty()) {
    validate();
    metrics.validation_loss = validation_loss_;
  }
  const bool last = completed_ == config_.train.max_steps || !stop_reason_.empty();
  log_.step(metrics, last || is_due(config_.train.log_interval));
  const auto done = static_cast<double>(completed_ - resumed_at_);
  if (!last) log_.progress(completed_, config_.train.max_steps, training_seconds_ / done);
}

double Trainer::mfu_of(double tokens_per_second) const {
  if (options_.peak_flops == 0.0) return 0.0;
  const double flops = flops_per_token(config_.model, config_.runtime.mfu_convention,
                                       config_.parallel.tensor_parallel_size);
  return flops * tokens_per_second / options_.peak_flops;
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
          .mfu = mfu_of(tokens_per_second),
          .mfu_convention = std::string(name_of(config_.runtime.mfu_convention)),
          .sample_digest = batch.digest,
          .validation_loss = {}};
}

// Sets validation_loss_, or leaves validation_is_pending_ where a request to stop came between.
void Trainer::validate() {
  const Timer timer;
  validation_loss_ = step_.evaluator().run(dataset_.validation);
  validating_seconds_ += timer.seconds();
  validation_is_pending_ = !validation_loss_;
  if (validation_is_pending_) return talk();
  took(timer.seconds() / static_cast<double>(step_.evaluator().num_batches(dataset_.validation)));
}

// Something between two looks at signals and clock has taken so long.
void Trainer::took(double seconds) {
  constexpr double kShortest = 600.0;
  constexpr double kFactor = 10.0;
  time_limit_.took_step(seconds);
  options_.took(seconds);
  if (seconds <= longest_seconds_) return;
  longest_seconds_ = seconds;
  set_stop_patience(static_cast<unsigned>(kShortest + kFactor * seconds));
}

bool Trainer::wants_attention() const {
  return stop_signal() != 0 || checkpointer_.has_failed() || (speaks() && time_limit_.is_near());
}

// Collective: tells all ranks what some of them know. Throws on all where a save in the background
// has failed.
void Trainer::talk() {
  constexpr std::int64_t kTimeIsUp = 1;
  std::int64_t reason = speaks() && time_limit_.is_near() ? kTimeIsUp : 0;
  if (stop_signal() != 0) reason = kTimeIsUp + stop_signal();
  std::array<std::int64_t, 2> all = {checkpointer_.has_failed() ? 1 : 0, reason};
  communicators_.control->all_reduce(buffer_of(std::span<std::int64_t>(all)), ReduceOp::kMax);
  if (all[0] != 0) checkpointer_.finish();
  if (all[1] == 0 || !stop_reason_.empty()) return;
  stop_reason_ =
      all[1] == kTimeIsUp ? kTimeLimit : name_of_signal(static_cast<int>(all[1] - kTimeIsUp));
  log_.print(format("Stopping after step %ld for %s", static_cast<long>(completed_),
                    stop_reason_.c_str()));
}

Metadata Trainer::metadata() const {
  Metadata metadata;
  metadata.step = completed_;
  metadata.consumed_samples = consumed_;
  metadata.tokens = consumed_ * config_.model.seq_length;
  metadata.seed = static_cast<std::uint64_t>(config_.train.seed);
  metadata.sample_digest = digest_;
  metadata.grid = grid_.shape();
  metadata.options = options_.options;
  metadata.state = {
      {"rng", "Philox 4x32-10 keyed by seed, tensor or sample: no state beside consumed_samples"},
      {"learning_rate_step", std::to_string(completed_)},
      {"validation", validation_is_pending_ ? "pending" : "done"}};
  metadata.versions = options_.versions;
  metadata.history = history_;
  return metadata;
}

// The report of a save that still runs is gone once the next one has begun.
void Trainer::finish_save() {
  checkpointer_.finish();
  report_save();
}

void Trainer::save(bool goes_on) {
  finish_save();
  checkpointer_.save(metadata(), goes_on && config_.checkpoint.save_async);
  saved_at_ = completed_;
}

void Trainer::save_at_the_end() {
  finish_save();
  if (saved_at_ != completed_) save(/*goes_on=*/false);
  report_save();
}

void Trainer::report_save() {
  const auto report = checkpointer_.take_report();
  if (!report) return;
  last_saved_ = report->path;
  saving_seconds_ += report->stall_seconds;
  time_limit_.took_save(report->seconds);
  std::string line =
      format("Saved %s in %s", report->path.c_str(), short_duration(report->seconds).c_str());
  if (report->in_background) {
    line += format(" in the background (training waited %s)",
                   short_duration(report->stall_seconds).c_str());
  }
  log_.print(line + removed_text(report->removed));
}

void Trainer::report_step_times() {
  const auto tokens =
      static_cast<double>(config_.batch.global_batch_size * config_.model.seq_length);
  log_.print_if_any(profile_.finish([&](double step_seconds) {
    const double tokens_per_second = tokens / step_seconds;
    return StepSpeed{tokens_per_second, mfu_of(tokens_per_second),
                     std::string(name_of(config_.runtime.mfu_convention))};
  }));
}

void Trainer::print_summary(double seconds) {
  double memory = peak_resident_bytes();
  communicators_.control->all_reduce(buffer_of(memory), ReduceOp::kMax);
  double device_memory = peak_device_bytes();
  communicators_.control->all_reduce(buffer_of(device_memory), ReduceOp::kMax);
  const std::int64_t steps = completed_ - resumed_at_;
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
  rows.push_back(
      {"Peak memory",
       short_bytes(memory) + " resident" +
           (grid_.shape().size() == 1 ? "" : " on the largest rank, what it shares included")});
  if (!last_saved_.empty()) rows.push_back({"Checkpoint", last_saved_});
  if (device_memory > 0.0) {
    rows.push_back({"Peak GPU memory", short_bytes(device_memory) + " of tensors, largest rank"});
  }
  const bool stopped = !stop_reason_.empty() && completed_ < config_.train.max_steps;
  const std::string title =
      stopped ? format(
                    "Stopped at step %ld of %ld; the same command with "
                    "--resume auto goes on from here",
                    static_cast<long>(completed_), static_cast<long>(config_.train.max_steps))
              : "Done";
  log_.print("\n" + title + "\n" + table(rows, "  "));
}

}  // namespace cuboid
