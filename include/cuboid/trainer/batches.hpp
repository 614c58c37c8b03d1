// From token files to what a stage is fed: which batches a rank reads, and their micro-batches.
#pragma once

#include <vector>

#include "cuboid/config/config.hpp"
#include "cuboid/data/batch_loader.hpp"
#include "cuboid/data/token_sequence.hpp"
#include "cuboid/grid/grid.hpp"
#include "cuboid/model/stage.hpp"

namespace cuboid {

// Reads this rank's share of global batches of `tokens`. `config` is resolved; `tokens` must
// outlive the reader.
BatchReader batch_reader(const Config& config, const Grid& grid, const StagePlace& place,
                         const TokenSplit& tokens, SampleOrder order);

// The micro-batches of `batch` on the stage's device. On CPUs they view its memory.
std::vector<MicroBatch> micro_batches_of(const Batch& batch, const Config& config,
                                         const Stage& stage);

// A step's tokens at an address that stays, for steps that are captured once and replayed with
// other tokens. No memory is allocated for a step, and one copy carries all of it to a GPU.
class StepInput {
 public:
  StepInput(const Config& config, const Stage& stage);

  // Takes the batch over, on a GPU in the order of the current stream, out of pinned memory: the
  // copy of the last fill() must be through by then, as it is after a step that waited for its
  // loss.
  void fill(const Batch& batch);
  [[nodiscard]] const std::vector<MicroBatch>& micro_batches() const { return micro_batches_; }

 private:
  std::size_t count_;  // tokens of a step on this replica
  bool has_tokens_, has_targets_;
  at::Tensor host_, device_;  // [tokens, then targets, as the stage needs them, and first_sample]
  std::vector<MicroBatch> micro_batches_;
};

}  // namespace cuboid
