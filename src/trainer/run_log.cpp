#include "cuboid/trainer/run_log.hpp"

#include <cstdio>

#include "cuboid/base/text.hpp"

namespace cuboid {
namespace {

std::string validation_line(std::int64_t step, double loss) {
  return format("Step %ld | Validation loss: %.4f", static_cast<long>(step), loss);
}

}  // namespace

void RunLog::open_metrics(const std::string& output_dir, std::int64_t completed) {
  if (speaks_) metrics_file_.emplace(output_dir, completed);
}

void RunLog::print(const std::string& line) {
  if (!speaks_) return;
  progress_.clear();
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

void RunLog::step(const StepMetrics& metrics, bool is_due) {
  if (!speaks_) return;
  metrics_file_->write(json_line(metrics));
  interval_.add(metrics);
  if (is_due) {
    print(log_line(interval_.flush()));
  } else if (metrics.validation_loss) {
    print(validation_line(metrics.step, *metrics.validation_loss));
  }
}

void RunLog::late_validation(std::int64_t step, double loss) {
  if (!speaks_) return;
  metrics_file_->write(json_line(step, loss));
  print(validation_line(step, loss));
}

void RunLog::progress(std::int64_t step, std::int64_t max_steps, double seconds_per_step) {
  progress_.show(step, max_steps, seconds_per_step);
}

}  // namespace cuboid
