// The rows of the option table (cuboid/config/option.hpp), made once.
#pragma once

#include <vector>

#include "cuboid/config/option.hpp"

namespace cuboid {

std::vector<Option> make_options();

}  // namespace cuboid
