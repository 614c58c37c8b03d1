// Presets: named sets of options for well-known models, for tests and for the demo.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cuboid {

struct Preset {
  std::string name;
  std::string description;
  std::vector<std::pair<std::string, std::string>> settings;  // option and value, as on a command
};

std::span<const Preset> presets();
// nullptr when there is none of that name.
const Preset* find_preset(std::string_view name);

// The table of `cuboid presets`: shape, parameters, and bytes of weights, gradients and optimizer
// in both precisions. A vocabulary that the data decides counts as 256 (bytes).
std::string presets_table();

}  // namespace cuboid
