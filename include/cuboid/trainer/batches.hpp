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

}  // namespace cuboid
