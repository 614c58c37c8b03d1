// The commands of `cuboid checkpoint` and what they share. Each prints its findings on standard
// output and its problems on standard error, goes on to the next file whatever is wrong with one,
// and returns the exit code.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "cuboid/app/checkpoint_arguments.hpp"
#include "cuboid/checkpoint/metadata.hpp"
#include "cuboid/checkpoint/verify.hpp"

namespace cuboid {

struct CheckpointCommand {
  std::string name;
  std::string paths;    // as --help shows them, "FILE|FOLDER..."
  std::string summary;  // one line
  std::string text;     // what --help explains
  std::vector<CheckpointOption> options;
  std::size_t least_paths = 1;
  std::size_t most_paths = 1;
  int (*run)(const CheckpointArguments& arguments) = nullptr;
};

std::vector<CheckpointCommand> checkpoint_commands();
CheckpointCommand info_command();
CheckpointCommand verify_command();
CheckpointCommand diff_command();
CheckpointCommand prune_command();

// Runs `work`; where it throws, prints every problem and returns kUsage for a UsageError, kFailed
// for any other failure; else what it returns.
int report_problems(const std::function<int()>& work);

// The files that paths stand for: of a folder, its checkpoints by ascending step. Throws UsageError
// for a folder without any, SystemError for one that cannot be read.
bool is_folder(const std::string& path);
std::vector<std::string> checkpoints_in(const std::string& folder);

// How many threads read: --threads, or as many as there are cores for this process.
CheckpointOption threads_option();
int num_threads(const CheckpointArguments& arguments);

// For the progress callbacks of verify and compare: a bar on a terminal, once it takes longer than
// a second. It is erased with the last copy of the function.
std::function<void(std::int64_t, std::int64_t)> progress_bar(const std::string& label);

// Reads the file from the disk (unless `from_cache`) and checks all of it, with a progress bar.
Verified verify_with_bar(const std::string& path, int num_threads, bool from_cache = false);

// "2x1x2", "20" and so on, by name: what a checkpoint says of its run in one line each.
TextPairs facts_of(const Metadata& metadata);

}  // namespace cuboid
