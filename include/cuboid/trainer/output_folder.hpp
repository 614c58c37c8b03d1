// The folder that a run writes into.
#pragma once

#include <string>
#include <vector>

namespace cuboid {

// What stands against writing there, a sentence each naming the folder; empty when all is well.
// Makes the folder and writes and removes a small file in it.
std::vector<std::string> check_output_dir(const std::string& output_dir);

// Moves checkpoints and metrics of an earlier run into OUTPUT_DIR/run-1 (or the next free number),
// so that a new run overwrites nothing. Returns that folder, or "" where there was nothing to move.
// Throws SystemError.
std::string set_earlier_run_aside(const std::string& output_dir);

}  // namespace cuboid
