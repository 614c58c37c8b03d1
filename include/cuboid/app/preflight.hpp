// Everything that can be checked before a grid is made: options, data, output folder, device.
#pragma once

#include "cuboid/base/timer.hpp"
#include "cuboid/config/config.hpp"
#include "cuboid/config/parse.hpp"
#include "cuboid/data/data_info.hpp"
#include "cuboid/launch/session.hpp"
#include "cuboid/trainer/output_lock.hpp"
#include "cuboid/trainer/resume.hpp"
#include "cuboid/trainer/time_limit.hpp"

namespace cuboid {

enum class Purpose : unsigned char {
  kTrain,
  kEvaluate,  // writes nothing into the output folder but a cache of text
};

struct Preflight {
  Config config;  // resolved; data_dir and device are filled in
  std::vector<std::string> warnings;
  bool uses_default_text = false;
  OutputLock lock;                         // of the output folder, on rank 0; none for a dry run
  ResumeChoice resume;                     // path and reasons on rank 0
  double seconds_left = TimeLimit::kNone;  // from now to the end of the run's time, on rank 0
};

// Collective over the session. Rank 0 looks at the data and the output folder; all ranks get the
// same answer. Throws UsageError with every problem found, the same on all ranks; also where ranks
// were started with different options, naming the first that differs. `since_start`: of the
// program.
Preflight check_before_start(const ParseResult& parsed, const MpiSession& session,
                             const NodeMap& nodes, const Timer& since_start,
                             Purpose purpose = Purpose::kTrain);

// Collective over `world`. Ranks may be started differently by mistake (an MPMD launch, a response
// file that differs between nodes): throws UsageError, the same on all ranks, naming the first rank
// whose options have another hash.
void require_same_options(MPI_Comm world, std::uint64_t hash);

// Collective over `world`. A GPU counts only where every rank sees one; a problem where it was
// asked for by name and there is none, a warning where CUDA itself fails.
DeviceChoice choose_device(MPI_Comm world, DeviceChoice wanted, std::vector<std::string>& problems,
                           std::vector<std::string>& warnings);

}  // namespace cuboid
