// Saving during a run: at once or in the background, and letting old checkpoints go.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cuboid/base/timer.hpp"
#include "cuboid/checkpoint/background_task.hpp"
#include "cuboid/checkpoint/metadata.hpp"
#include "cuboid/config/config.hpp"
#include "cuboid/grid/grid.hpp"
#include "cuboid/model/weight.hpp"
#include "cuboid/optimizer/adamw.hpp"
#include "cuboid/trainer/state.hpp"

namespace cuboid {

// A save that is complete: the file is whole, on the disk, and has its name.
struct SaveReport {
  std::string path;
  double seconds = 0.0;        // from the call of save() to the end
  double stall_seconds = 0.0;  // in which the training could not go on
  bool in_background = false;
  std::vector<std::int64_t> removed;  // steps of the checkpoints that went
};

class Checkpointer {
 public:
  // Collective over the grid; all but `config` must outlive this.
  Checkpointer(const CheckpointConfig& config, const Grid& grid, const WeightStore& store,
               const AdamW& optimizer);

  // Collective. Saves OUTPUT_DIR/checkpoint-STEP.h5 of metadata.step and then removes what the
  // configuration lets go. In the background, it returns at once, and a thread copies the state and
  // writes the copy; an earlier save must be finished and its report taken. Throws as
  // save_checkpoint and retain_checkpoints do.
  void save(const Metadata& metadata, bool in_background);
  // Waits until the state is copied. Before it returned, weights and moments must not change: the
  // passes of the next step, which only read them, go on beside the copying.
  void wait_until_copied();
  // Waits for a save in the background, which counts as its stall; throws as it does. All ranks
  // must call it.
  void finish();
  // True on this rank once a save in the background has failed here: finish() throws why. Others
  // may not know it yet.
  [[nodiscard]] bool has_failed() const { return background_.has_failed(); }
  // What save() came to, once and when it is complete.
  std::optional<SaveReport> take_report();

 private:
  StateSlices copy();
  void write(MPI_Comm comm, const StateSlices& state, const Metadata& metadata);

  CheckpointConfig config_;
  const Grid& grid_;
  const WeightStore& store_;
  const AdamW& optimizer_;
  at::Tensor copy_;  // memory of the state while it is saved in the background
  std::atomic<bool> is_copied_ = true;
  SaveReport report_;
  bool has_report_ = false;
  Timer clock_;
  BackgroundTask background_;  // last: its thread uses the members above
};

}  // namespace cuboid
