// The options that steer the program and are no part of a Config.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cuboid {

enum class General { kPreset, kConfig, kPrintConfig, kDryRun, kVersion, kHelp };

struct GeneralOption {
  General meaning;
  std::string name;
  std::string value_name;  // empty: a switch
  std::string help;
};

std::span<const GeneralOption> general_options();
const GeneralOption* find_general_option(std::string_view name);

// Every name that an option goes by, for hints and for the parser.
std::vector<std::string> all_option_names();

}  // namespace cuboid
