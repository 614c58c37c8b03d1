// The parallel part of a save: all ranks write their boxes into the file at once.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <string>

#include "cuboid/checkpoint/save_plan.hpp"

namespace cuboid {

// Collective over `comm`. Writes the values of the plan's tensors into the file that
// create_checkpoint_file made, and waits until what this rank wrote is on the disk. Throws
// SystemError on all ranks where it fails on any; `what` begins its text. exchange_bytes: see
// SaveOptions.
void write_tensors(const std::string& path, MPI_Comm comm, const SavePlan& plan,
                   std::int64_t exchange_bytes, const std::string& what);

}  // namespace cuboid
