// The sources of options, each read into a list of settings whose names are known.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "mistakes.hpp"

namespace cuboid {

struct Setting {
  std::string name;  // of an option or a general option, never an alias
  std::string value;
  std::string written;  // as the user wrote it, with its place: "run.conf:3: lr = 1e-3"
  std::string source;   // "command line", "@run.rsp", "run.conf:3"
};

// The settings of the command line, response files included.
std::vector<Setting> read_command_line(std::span<const std::string> arguments, Mistakes& mistakes);
// The settings of a configuration file.
std::vector<Setting> read_config_file(const std::string& path, Mistakes& mistakes);

}  // namespace cuboid
