// The folder that a run writes into.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cuboid {

// What stands against writing there, a sentence each naming the folder; empty when all is well.
// Makes the folder. Whether there is room is seen when it is locked (output_lock.hpp).
std::vector<std::string> check_output_dir(const std::string& output_dir);

// Moves checkpoints and metrics of an earlier run into OUTPUT_DIR/run-1 (or the next free number),
// so that a new run overwrites nothing. Returns that folder, or "" where there was nothing to move.
// Throws SystemError.
std::string set_earlier_run_aside(const std::string& output_dir);

// The same for the checkpoints of later steps alone: a run that goes on from `step` would overwrite
// them.
std::string set_later_checkpoints_aside(const std::string& output_dir, std::int64_t step);

// True where the file lies in the folder itself, whatever the two are called.
bool is_in_folder(const std::string& path, const std::string& folder);

}  // namespace cuboid
