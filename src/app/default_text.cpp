#include "cuboid/app/command.hpp"

namespace cuboid {

std::string default_text_folder() {
  return CUBOID_DEFAULT_TEXT;
}

}  // namespace cuboid
