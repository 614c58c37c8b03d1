// What a run prints and records about its steps.
#pragma once

#include <cstdint>
#include <fstream>
#include <optional>
#include <string>

namespace cuboid {

// One step, as written to metrics.jsonl.
struct StepMetrics {
  std::int64_t step = 0;  // completed steps, this one included
  double loss = 0.0;      // mean over the global batch, nats a token
  double grad_norm = 0.0;
  double learning_rate = 0.0;
  std::int64_t tokens = 0;          // trained on since the start of the run, this step included
  double samples_per_second = 0.0;  // sequences over all ranks
  double tokens_per_second = 0.0;   // over all ranks
  double step_ms = 0.0;
  double mfu = 0.0;            // a fraction of peak; 0 where no peak is known
  std::string mfu_convention;  // how its FLOPs are counted: "llmc"
  std::string sample_digest;   // of the global batch's sample ids
  std::optional<double> validation_loss;
};

// "Step 100 | Loss: 10.5432 | LR: 1.20e-04 | Throughput: 123.45 samples/s | Tokens/s: ..."
std::string log_line(const StepMetrics& metrics);
// One JSON object without a line end, doubles at full precision.
std::string json_line(const StepMetrics& metrics);
// {"step": ..., "validation_loss": ...}: of a validation that comes later than its step's line.
std::string json_line(std::int64_t step, double validation_loss);

// Sums up the steps since the last log line, so that it speaks for all of them.
class LogInterval {
 public:
  void add(const StepMetrics& metrics);
  // The last step's loss, norm and rate with the interval's mean throughput and time; starts anew.
  StepMetrics flush();

 private:
  StepMetrics last_;
  std::int64_t steps_ = 0;
  double ms_ = 0.0, samples_ = 0.0, tokens_ = 0.0, mfu_ms_ = 0.0;
};

// Appends objects to OUTPUT_DIR/metrics.jsonl, each line complete and flushed.
class MetricsFile {
 public:
  // Throws SystemError when the file cannot be opened or written. Lines of steps after
  // `completed_steps` (written before a crash that lost those steps) are dropped first; the whole
  // old file is kept beside it as metrics-before-STEP.jsonl.
  MetricsFile(const std::string& output_dir, std::int64_t completed_steps);
  void write(const std::string& line);

 private:
  std::string path_;
  std::ofstream file_;
};

// A line on a terminal's standard error that shows how far the run is and how long it will take;
// nothing where it is off.
class ProgressLine {
 public:
  explicit ProgressLine(bool on) : on_(on) {}
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void show(std::int64_t step, std::int64_t max_steps, double seconds_per_step);
  // Before anything else is printed.
  void clear();

 private:
  bool on_;
  bool shown_ = false;
};

}  // namespace cuboid
