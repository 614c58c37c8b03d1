// The loss of a checkpoint's model, without training it.
#pragma once

#include <cstdint>
#include <string>

#include "cuboid/data/dataset.hpp"
#include "cuboid/trainer/evaluator.hpp"

namespace cuboid {

struct Evaluation {
  double loss = 0.0;        // nats a token
  std::int64_t tokens = 0;  // that it is the mean of
  double load_seconds = 0.0;
  double seconds = 0.0;  // of the forward passes
};

// Collective: loads the weights of the checkpoint at `path` into `stage`, whatever grid saved them,
// and takes their loss as a run with these options does. Throws what load_checkpoint throws.
Evaluation evaluate_checkpoint(const std::string& path, const Config& config, const Grid& grid,
                               GridCommunicators& communicators, const Dataset& dataset,
                               Stage& stage);

}  // namespace cuboid
