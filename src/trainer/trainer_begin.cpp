// The part of Trainer that comes before the first step: where a run begins.
#include <cstdint>
#include <utility>
#include <vector>

#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/agreement.hpp"
#include "cuboid/checkpoint/damage.hpp"
#include "cuboid/checkpoint/folder.hpp"
#include "cuboid/checkpoint/load.hpp"
#include "cuboid/checkpoint/wire.hpp"
#include "cuboid/config/option.hpp"
#include "cuboid/trainer/output_folder.hpp"
#include "cuboid/trainer/state.hpp"
#include "cuboid/trainer/trainer.hpp"

namespace cuboid {
namespace {

// Rank 0's path on all ranks; the rest stays on rank 0.
std::string share_path(MPI_Comm world, const ResumeChoice& choice) {
  return broadcast_text(world, choice.path);
}

// Collective: what `--resume auto` means when `damaged` is not to be loaded.
ResumeChoice choose_older(MPI_Comm world, bool chooses, const CheckpointConfig& config,
                          const std::string& damaged) {
  ResumeChoice choice;
  together(world, [&] {
    if (!chooses) return;
    const std::string name = damaged.substr(damaged.rfind('/') + 1);
    choice = choose_checkpoint(config, step_of_checkpoint(name).value_or(0));
    if (choice.path.empty()) {
      throw UsageError("--resume auto: no checkpoint of '" + config.output_dir +
                       "' is whole; legal: --resume none to start anew (which moves these files "
                       "into a folder beside it)");
    }
  });
  return choice;
}

// The value that an option had; "" where it was not written down.
std::string value_then(const Metadata& metadata, const std::string& name) {
  for (const auto& [key, value] : metadata.options)
    if (key == name) return value;
  return "";
}

}  // namespace

void Trainer::begin(ResumeChoice choice) {
  std::string path = share_path(grid_.world(), choice);
  while (true) {
    for (const auto& reason : choice.passed_over) log_.print("Passed over: " + reason);
    if (path.empty()) break;
    try {
      load(path);
      break;
    } catch (const DamagedCheckpoint& error) {
      if (config_.checkpoint.resume != "auto") throw;
      for (const auto& problem : error.problems()) log_.print("Passed over: " + problem);
      choice = choose_older(grid_.world(), speaks(), config_.checkpoint, path);
      path = share_path(grid_.world(), choice);
    }
  }
  if (path.empty() && config_.checkpoint.resume == "auto") {
    log_.print("--resume auto: no checkpoint in " + config_.checkpoint.output_dir +
               "; starting from the beginning");
  }
  set_aside(path);
}

void Trainer::load(const std::string& path) {
  const StateSlices state = state_slices(stage_.store(), step_.optimizer(), grid_);
  const Metadata metadata = load_checkpoint(path, grid_.world(), state.slices);
  const auto contradictions = find_contradictions(config_, metadata, path);
  if (!contradictions.empty()) throw UsageError(contradictions);
  restore_state(state, stage_.store(), step_.optimizer());
  step_.optimizer().set_num_steps(metadata.step);
  completed_ = resumed_at_ = metadata.step;
  consumed_ = metadata.consumed_samples;
  history_ = metadata.history;
  digest_ = metadata.sample_digest;
  for (const auto& [key, value] : metadata.state)
    if (key == "validation") validation_is_pending_ = value == "pending" && is_validation_due();
  log_.print(format("Resumed from %s at step %ld, saved on grid %s", path.c_str(),
                    static_cast<long>(completed_), to_string(metadata.grid).c_str()));
  const auto changes = find_changes(config_, metadata);
  if (!changes.empty()) log_.print("Changed since then: " + join(changes, ", "));
  warn_of_other_data(metadata, path);
}

// The samples of the checkpoint's last step are a function of the data's size, sequence length and
// seed: drawn again, they must have the digest that was saved.
void Trainer::warn_of_other_data(const Metadata& metadata, const std::string& path) {
  const auto batch = find_option("global-batch-size");
  Config then;
  if (metadata.step == 0 || !batch->set(then, value_then(metadata, batch->name))) return;
  const std::int64_t size = then.batch.global_batch_size;
  if (size < 1 || size > metadata.consumed_samples) return;
  const TrainSampler sampler(dataset_.train.size(), config_.model.seq_length, metadata.seed);
  std::vector<std::int64_t> ids;
  for (std::int64_t i = metadata.consumed_samples - size; i < metadata.consumed_samples; ++i)
    ids.push_back(sampler.at(i).token_offset);
  if (sample_digest(ids) == metadata.sample_digest) return;
  log_.print("warning: the data are not those that " + path +
             " was trained on: its order of samples ends, and another begins");
}

// What an earlier run left and this one would overwrite.
void Trainer::set_aside(const std::string& resumed_from) {
  const std::string& folder = config_.checkpoint.output_dir;
  const bool is_new = config_.checkpoint.resume == "none";
  std::string moved;
  std::string goes_on;  // "yes" where the run's own checkpoint is the one it starts from
  together(grid_.world(), [&] {
    if (!speaks()) return;
    if (!resumed_from.empty() && is_in_folder(resumed_from, folder)) {
      goes_on = "yes";
      moved = set_later_checkpoints_aside(folder, completed_);
    } else if (!resumed_from.empty() || is_new) {
      moved = set_earlier_run_aside(folder);
    }
  });
  if (!moved.empty()) {
    log_.print((goes_on.empty() ? "An earlier run's checkpoints and metrics are now in "
                                : "Checkpoints of later steps are now in ") +
               moved);
  }
  if (!broadcast_text(grid_.world(), goes_on).empty()) saved_at_ = completed_;
}

}  // namespace cuboid
