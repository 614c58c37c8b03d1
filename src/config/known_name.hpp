// From a name that a user wrote to the option that it means.
#pragma once

#include <string>
#include <string_view>

#include "mistakes.hpp"

namespace cuboid {

struct KnownName {
  std::string name;         // canonical; empty: no option has the name
  std::string fixed_value;  // of an alias that is a switch
};

KnownName known_name(std::string_view written);

// Adds "unknown option '--hidden-siz': did you mean '--hidden-size'?"; `place` goes before it and
// `dashes` ("--" or "") before the names.
void report_unknown(std::string_view name, const std::string& place, const std::string& dashes,
                    Mistakes& mistakes);

}  // namespace cuboid
