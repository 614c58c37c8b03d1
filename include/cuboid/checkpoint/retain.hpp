// Letting old checkpoints go.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <string>
#include <vector>

#include "cuboid/checkpoint/folder.hpp"

namespace cuboid {

// Collective over `comm`. Removes what retention lets go of the folder's checkpoints, after the one
// of `newest` was read back from the disk and found whole. Returns the steps that went, ascending,
// on all ranks. Throws SystemError, the same on all ranks, with nothing removed where the newest is
// not whole.
std::vector<std::int64_t> retain_checkpoints(const std::string& folder, MPI_Comm comm,
                                             const Retention& retention, std::int64_t newest);

}  // namespace cuboid
