// Which checkpoint `--resume` means, and whether it fits the options.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "cuboid/checkpoint/metadata.hpp"
#include "cuboid/config/config.hpp"

namespace cuboid {

struct ResumeChoice {
  std::string path;                      // "": there is no checkpoint to go on from
  std::vector<std::string> passed_over;  // why newer files were not taken, one sentence each
  std::optional<Metadata> metadata;      // of that file, for who has read it
};

// For one process. The file that was named; for "auto" the newest of the output folder, of a step
// below `before`, whose seal, structure and metadata are whole (tensors are verified when they are
// loaded); nothing for "none". Throws UsageError where the named file cannot be read, and where the
// folder has checkpoints but not one that can.
ResumeChoice choose_checkpoint(const CheckpointConfig& config,
                               std::int64_t before = std::numeric_limits<std::int64_t>::max());

// Options that must be what they were, because the weights or the order of samples depend on them:
// one sentence for each that is not. `config` is resolved.
std::vector<std::string> find_contradictions(const Config& config, const Metadata& metadata,
                                             const std::string& path);

// What else about the training is not what it was: "learning-rate 0.0003 -> 0.0001", ...
std::vector<std::string> find_changes(const Config& config, const Metadata& metadata);

}  // namespace cuboid
