#include "cuboid/base/text.hpp"
#include "cuboid/config/resolve.hpp"

namespace cuboid {
namespace {

// A pipeline with too few micro-batches idles: (p - 1) / (m + p - 1) of the time, both schedules.
void warn_of_bubble(const Config& config, std::vector<std::string>& warnings) {
  const std::int64_t stages = config.parallel.pipeline_parallel_size;
  const std::int64_t micro_batches = config.batch.num_microbatches;
  if (micro_batches >= stages) return;
  const double idle =
      static_cast<double>(stages - 1) / static_cast<double>(micro_batches + stages - 1);
  warnings.push_back(
      format("--num-microbatches %ld is less than --pipeline-parallel-size %ld: "
             "stages idle (p-1)/(m+p-1) = %.0f %% of the time; better: %ld or more "
             "(4 a stage)",
             static_cast<long>(micro_batches), static_cast<long>(stages), 100 * idle,
             static_cast<long>(4 * stages)));
}

void warn_of_interval(const char* option, std::int64_t interval, const char* what,
                      const Config& config, std::vector<std::string>& warnings) {
  if (interval <= config.train.max_steps) return;
  warnings.push_back(format("--%s %ld is beyond --max-steps %ld: %s only at the end", option,
                            static_cast<long>(interval), static_cast<long>(config.train.max_steps),
                            what));
}

}  // namespace

std::vector<std::string> find_warnings(const Config& config) {
  std::vector<std::string> warnings;
  warn_of_bubble(config, warnings);
  warn_of_interval("save-interval", config.checkpoint.save_interval, "checkpoints", config,
                   warnings);
  if (config.train.eval_steps > 0) {
    warn_of_interval("eval-interval", config.train.eval_interval, "validates", config, warnings);
  }
  if (config.train.eval_interval > 0 && config.train.eval_steps == 0) {
    warnings.emplace_back("--eval-interval has no effect with --eval-steps 0: nothing validates");
  }
  if (config.checkpoint.keep_every > 0 && config.checkpoint.keep_last == 0) {
    warnings.emplace_back("--keep-every has no effect with --keep-last 0: every checkpoint stays");
  }
  const auto& optimizer = config.optimizer;
  const std::int64_t warmup = optimizer.warmup_steps.value_or(0);
  if (warmup > config.train.max_steps) {
    warnings.push_back(
        format("--warmup-steps %ld goes beyond --max-steps %ld: the learning rate "
               "never reaches --learning-rate",
               static_cast<long>(warmup), static_cast<long>(config.train.max_steps)));
  }
  const bool unused_floor = optimizer.lr_schedule == LrSchedule::kConstant &&
                            optimizer.min_learning_rate.has_value() &&
                            *optimizer.min_learning_rate != optimizer.learning_rate;
  if (unused_floor) {
    warnings.emplace_back("--min-learning-rate has no effect with --lr-schedule constant");
  }
  return warnings;
}

}  // namespace cuboid
