// Rules about what the processors can do.
#pragma once

#include "findings.hpp"

namespace cuboid {

// Adds what --comm-backend, --attention-kernel and --cuda-graph ask for in vain.
void check_device(Findings& findings);

}  // namespace cuboid
