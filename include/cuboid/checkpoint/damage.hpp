// The error of a file whose bytes are not those that were saved: another checkpoint may do instead,
// while other options would not help.
#pragma once

#include "cuboid/base/error.hpp"

namespace cuboid {

class DamagedCheckpoint : public UsageError {
 public:
  using UsageError::UsageError;
};

}  // namespace cuboid
