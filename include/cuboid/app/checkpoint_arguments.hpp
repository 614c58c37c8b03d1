// The arguments of one command of `cuboid checkpoint`: few options, then files and folders.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace cuboid {

// "--threads N" or a switch like "--all".
struct CheckpointOption {
  std::string name;        // without dashes
  std::string value_name;  // as --help shows it, "N"; a switch has none
  std::string help;
  std::int64_t least = 0;  // legal numbers
  std::int64_t most = 0;
};

struct CheckpointArguments {
  std::vector<std::string> paths;
  std::map<std::string, std::int64_t> values;  // of the options given; a switch has 1
  bool help = false;

  [[nodiscard]] bool has(const std::string& name) const { return values.contains(name); }
  [[nodiscard]] std::int64_t number(const std::string& name, std::int64_t otherwise) const {
    const auto found = values.find(name);
    return found == values.end() ? otherwise : found->second;
  }
};

// Reads what follows the command's name: "--name N", "--name=N" and paths in any order; after "--"
// all are paths. Throws UsageError with everything that is not understood.
CheckpointArguments read_checkpoint_arguments(std::span<const std::string> words,
                                              std::span<const CheckpointOption> options);

}  // namespace cuboid
