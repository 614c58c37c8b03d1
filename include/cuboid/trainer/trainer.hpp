// The training loop: steps, validation, checkpoints, and what is printed about them.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "cuboid/checkpoint/metadata.hpp"
#include "cuboid/data/dataset.hpp"
#include "cuboid/trainer/checkpointer.hpp"
#include "cuboid/trainer/resume.hpp"
#include "cuboid/trainer/run_log.hpp"
#include "cuboid/trainer/step_profile.hpp"
#include "cuboid/trainer/time_limit.hpp"
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
  double seconds_left = TimeLimit::kNone;  // in which the run must have saved and ended; of rank 0
  RankHosts hosts;
  // Is told how many seconds each step, or batch of a validation, took.
  std::function<void(double)> took = [](double) {};
};

enum class RunEnd : unsigned char {
  kDone,
  kStopped,  // by a signal or the time limit, with everything saved: to be started again
};

class Trainer {
 public:
  // All but `config` and `options` must outlive the trainer.
  Trainer(const Config& config, const Grid& grid, GridCommunicators& communicators,
          const Dataset& dataset, Stage& stage, TrainerOptions options);

  // Loads the checkpoint that was chosen (with `--resume auto` an older one where its tensors are
  // damaged), or starts anew. Moves aside what the run would overwrite. Collective; `choice` counts
  // on rank 0. Throws UsageError when the file does not fit.
  void begin(ResumeChoice choice);
  // Trains from the step reached until max_steps, or until it is asked to stop. Collective. Throws
  // Diverged.
  RunEnd run();

 private:
  [[nodiscard]] bool speaks() const { return grid_.rank() == 0; }
  void load(const std::string& path);
  void warn_of_other_data(const Metadata& metadata, const std::string& path);
  void set_aside(const std::string& resumed_from);
  void train_one_step(BatchLoader& loader);
  [[nodiscard]] double mfu_of(double tokens_per_second) const;
  [[nodiscard]] StepMetrics measure(const StepResult& result, const Batch& batch, double ms) const;
  [[nodiscard]] bool is_due(std::int64_t interval) const;
  [[nodiscard]] bool is_validation_due() const;
  [[nodiscard]] bool wants_attention() const;
  void took(double seconds);
  void validate();
  void talk();
  void finish_save();
  void save(bool goes_on);
  void save_at_the_end();
  [[nodiscard]] Metadata metadata() const;
  void report_save();
  void print_summary(double seconds);
  void report_step_times();

  Config config_;
  const Grid& grid_;
  GridCommunicators& communicators_;
  const Dataset& dataset_;
  Stage& stage_;
  TrainerOptions options_;
  TimeLimit time_limit_;
  RunLog log_;
  TrainStep step_;
  StepProfile profile_;
  Checkpointer checkpointer_;
  std::int64_t completed_ = 0;  // steps
  std::int64_t consumed_ = 0;   // samples; a resumed run may have had other batch sizes
  std::int64_t resumed_at_ = 0;
  // The last step whose checkpoint is in the output folder, or is being written.
  std::optional<std::int64_t> saved_at_;
  std::string stop_reason_;  // "SIGUSR1", "the time limit"; "": none, on all ranks alike
  bool validation_is_pending_ = false;
  History history_;
  std::string digest_;
  std::string last_saved_;  // checkpoint of this run
  std::optional<double> validation_loss_;
  double longest_seconds_ = 0.0;  // of what the run does between two looks at signals
  double training_seconds_ = 0.0;
  double saving_seconds_ = 0.0;
  double validating_seconds_ = 0.0;
};

}  // namespace cuboid
