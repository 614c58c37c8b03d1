// The training loop: steps, validation, checkpoints, and what is printed about them.
#pragma once

#include <optional>
#include <string>

#include "cuboid/checkpoint/metadata.hpp"
#include "cuboid/data/dataset.hpp"
#include "cuboid/trainer/metrics.hpp"
#include "cuboid/trainer/train_step.hpp"

namespace cuboid {

// Loss or gradient norm stopped being finite. No weight has been changed by the bad step.
class Diverged : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// What the loop needs beside the objects of the run.
struct TrainerOptions {
  double peak_flops = 0.0;  // of all ranks together, for MFU; 0: unknown
  bool progress_line = false;
  TextPairs options;  // of the run, for checkpoints
  TextPairs versions;
};

class Trainer {
 public:
  // All but `config` and `options` must outlive the trainer.
  Trainer(const Config& config, const Grid& grid, GridCommunicators& communicators,
          const Dataset& dataset, Stage& stage, TrainerOptions options);

  // Continues from a checkpoint of the same run. Collective. Throws UsageError when the file or
  // its seed does not fit.
  void resume(const std::string& path);
  // Trains from the step reached until max_steps. Collective. Throws Diverged.
  void run();

 private:
  [[nodiscard]] bool speaks() const { return grid_.rank() == 0; }
  void train_one_step(BatchLoader& loader);
  [[nodiscard]] StepMetrics measure(const StepResult& result, const Batch& batch, double ms) const;
  [[nodiscard]] bool is_due(std::int64_t interval) const;
  double validate();
  void save();
  void print(const std::string& line);
  void print_summary(double seconds);
  [[nodiscard]] BatchReader reader(const TokenSplit& tokens, SampleOrder order) const;

  Config config_;
  const Grid& grid_;
  GridCommunicators& communicators_;
  const Dataset& dataset_;
  Stage& stage_;
  TrainerOptions options_;
  TrainStep step_;
  std::int64_t completed_ = 0;  // steps
  std::int64_t consumed_ = 0;   // samples; a resumed run may have had other batch sizes
  std::int64_t resumed_at_ = 0;
  std::optional<MetricsFile> metrics_file_;
  LogInterval interval_;
  ProgressLine progress_;
  History history_;
  std::string digest_;
  std::string last_saved_;  // checkpoint of this run
  std::optional<double> validation_loss_;
  double training_seconds_ = 0.0;
  double saving_seconds_ = 0.0;
  double validating_seconds_ = 0.0;
};

}  // namespace cuboid
