// Reading the small text files that hold options.
#pragma once

#include <optional>
#include <string>

namespace cuboid {

// The whole of a regular file of at most 1 MiB, or nothing with the reason in `problem`. Pipes and
// devices are refused: opening them could wait for ever.
std::optional<std::string> read_small_file(const std::string& path, std::string& problem);

}  // namespace cuboid
