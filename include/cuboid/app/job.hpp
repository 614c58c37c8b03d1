// What the batch system says about the job that this process belongs to.
#pragma once

#include <string>
#include <vector>

#include "cuboid/config/config.hpp"

namespace cuboid {

// "SLURM job 1234", or "" outside of one.
std::string job_name();

// Seconds from now until the run must have ended: by --time-limit, of which `elapsed` seconds have
// passed, or by the job's end (SLURM_JOB_END_TIME, seconds since 1970), whichever comes first;
// TimeLimit::kNone without either. Where the variable is not a time, that becomes a problem.
double seconds_left(const TrainConfig& config, double elapsed, std::vector<std::string>& problems);

}  // namespace cuboid
