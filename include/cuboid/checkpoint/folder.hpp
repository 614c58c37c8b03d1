// The checkpoints of one output folder: their names, which there are, which may go.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cuboid {

// FOLDER/checkpoint-STEP.h5, STEP without leading zeros.
std::string checkpoint_path(const std::string& folder, std::int64_t step);
// The step in such a file's name (without folder); none where the name is another.
std::optional<std::int64_t> step_of_checkpoint(std::string_view file_name);
// The name under which a checkpoint grows until it is whole. A file of such a name that no process
// is writing is left over from a job that died, and may be removed.
std::string partial_path(const std::string& path);

// The steps of all files of FOLDER that are named as checkpoints, newest first; none where there is
// no such folder. Only the names are looked at. Throws SystemError where it cannot be read.
std::vector<std::int64_t> steps_in(const std::string& folder);

// Removes what killed jobs have left of and beside unfinished checkpoints, and returns the paths.
// Only for who knows that no process is writing there. Throws SystemError.
std::vector<std::string> remove_partial_files(const std::string& folder);

// Which checkpoints stay: the newest `keep_last`, and those whose step is a multiple of
// `keep_every`. With keep_last 0 all stay; with keep_every 0 the second rule keeps none.
struct Retention {
  std::int64_t keep_last = 0;
  std::int64_t keep_every = 0;
};
// Those of `steps` (any order) that go, ascending.
std::vector<std::int64_t> steps_to_remove(std::vector<std::int64_t> steps,
                                          const Retention& retention);

// Removes the checkpoints of these steps, in that order, and waits until that is on the disk. A
// file that is gone already is no error. Throws SystemError.
void remove_checkpoints(const std::string& folder, const std::vector<std::int64_t>& steps);

}  // namespace cuboid
