// Everything that can be checked before a grid is made: options, data, output folder, device.
#pragma once

#include "cuboid/config/config.hpp"
#include "cuboid/config/parse.hpp"
#include "cuboid/data/data_info.hpp"
#include "cuboid/launch/session.hpp"

namespace cuboid {

struct Preflight {
  Config config;  // resolved; data_dir and device are filled in
  std::vector<std::string> warnings;
  bool uses_default_text = false;
};

// Collective over the session. Rank 0 looks at the data and the output folder; all ranks get the
// same answer. Throws UsageError with every problem found, the same on all ranks; also where ranks
// were started with different options, naming the first that differs.
Preflight check_before_start(const ParseResult& parsed, const MpiSession& session,
                             const NodeMap& nodes);

}  // namespace cuboid
