// What is gathered while options are read, and how user text is shown in messages.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cuboid {

struct Mistakes {
  std::vector<std::string> problems;
  std::vector<std::string> doubtful;  // options whose value is not known
};

// For a source that could not be read: it may have set any option.
void doubt_everything(Mistakes& mistakes);

// `text` for a message: control characters as \xNN, at most 60 characters, quoted where blank or
// empty.
std::string shown(std::string_view text);

}  // namespace cuboid
