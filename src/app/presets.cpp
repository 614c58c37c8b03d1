#include "cuboid/app/command.hpp"
#include "cuboid/app/speaker.hpp"
#include "cuboid/config/preset.hpp"

namespace cuboid {

int list_presets() {
  say_before_mpi(presets_table());
  return kDone;
}

}  // namespace cuboid
