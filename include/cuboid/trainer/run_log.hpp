// What a run says while it trains: lines, the progress line, metrics.jsonl. Rank 0's speaks, the
// others' do nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cuboid/trainer/metrics.hpp"

namespace cuboid {

class RunLog {
 public:
  RunLog(bool speaks, bool progress_line) : speaks_(speaks), progress_(speaks && progress_line) {}

  // Opens OUTPUT_DIR/metrics.jsonl for the steps after `completed`.
  void open_metrics(const std::string& output_dir, std::int64_t completed);
  // A line of text, at once.
  void print(const std::string& line);
  void print_if_any(const std::string& line) {
    if (!line.empty()) print(line);
  }
  // A step that is complete; `is_due`: the line for the steps since the last one is printed.
  void step(const StepMetrics& metrics, bool is_due);
  // A validation that did not belong to a step of this process.
  void late_validation(std::int64_t step, double loss);
  void progress(std::int64_t step, std::int64_t max_steps, double seconds_per_step);

 private:
  bool speaks_;
  std::optional<MetricsFile> metrics_file_;
  LogInterval interval_;
  ProgressLine progress_;
};

}  // namespace cuboid
