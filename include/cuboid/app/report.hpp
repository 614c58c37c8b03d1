// What a run says about itself before the first step.
#pragma once

#include <string>

#include "cuboid/collective/grid_communicators.hpp"
#include "cuboid/config/config.hpp"
#include "cuboid/grid/shape.hpp"
#include "cuboid/launch/session.hpp"

namespace cuboid {

// "Grid 2x2x2 (DP x TP x PP)" and, for each node, its ranks with their coordinates; of large worlds
// only each node's range of ranks.
std::string grid_report(const GridShape& shape, const NodeMap& nodes);

// One row a stage: layers, parameters of the whole stage and of one of its ranks (`per_rank`: the
// largest, without padding), bytes of weights, gradients and optimizer on that rank.
struct StageSize {
  std::int64_t first_layer = 0;
  std::int64_t end_layer = 0;
  std::int64_t parameters = 0;  // of the stage, over its TP ranks
  std::int64_t per_rank = 0;
};
std::string stage_report(const std::vector<StageSize>& stages, Precision precision);

// A sentence for each TP group that spans nodes would be noise: one for all, or "".
std::string placement_warning(const GridShape& shape, const NodeMap& nodes);

// Where ranks of a node sum over messages for want of shared memory: why, and what to do; else "".
// Of all ranks, on all ranks. Collective over `world`.
std::string shared_memory_warning(MPI_Comm world, const GridCommunicators& communicators);

}  // namespace cuboid
