// Configuration files: "key = value" lines with the options' names, '#' comments. A value that
// holds '#' or '"', or that begins or ends with a blank, stands in double quotes; in them a
// backslash escapes a quote or another backslash.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cuboid {

struct ConfigLine {
  int number = 0;  // from 1
  std::string key;
  std::string value;
  std::string problem;  // what is wrong with the line; then key and value are empty
};

// The lines that say something; comments and blank lines are left out.
std::vector<ConfigLine> parse_config_text(std::string_view text);

// `key = value` as parse_config_text reads it back.
std::string config_line(std::string_view key, std::string_view value);

}  // namespace cuboid
