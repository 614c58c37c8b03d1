// What a checkpoint says about the run that wrote it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "cuboid/grid/shape.hpp"

namespace cuboid {

using TextPairs = std::vector<std::pair<std::string, std::string>>;

// One entry a step, from the first step of the run on; all columns have the same length.
struct History {
  std::vector<std::int64_t> step;
  std::vector<double> loss;
  std::vector<double> grad_norm;
  std::vector<double> learning_rate;
  std::vector<std::int64_t> consumed_samples;
};

struct Metadata {
  std::int64_t step = 0;              // optimizer steps done
  std::int64_t consumed_samples = 0;  // sequences, over all ranks
  std::int64_t tokens = 0;
  std::uint64_t seed = 0;
  std::string sample_digest;  // of the last step's sample ids
  GridShape grid;             // of the ranks that wrote it: grid.size() of them
  TextPairs options;          // every option by its name, resolved
  TextPairs state;            // whatever else resuming needs, as text
  TextPairs versions;         // of the program and libraries; save_checkpoint adds hdf5 and mpi
  History history;
  // Filled in by save_checkpoint.
  std::string time;                // of the save, UTC: "2026-01-31T12:00:00Z"
  std::string hostname;            // of rank 0
  std::vector<std::string> ranks;  // "dp 0, tp 1, pp 0 on HOST", by rank
};

}  // namespace cuboid
