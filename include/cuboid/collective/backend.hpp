// The two ways to communicate, and the one place that chooses between their classes.
#pragma once

#include <mpi.h>

#include <memory>
#include <string>

#include "cuboid/collective/communicator.hpp"
#include "cuboid/collective/cuda.hpp"
#include "cuboid/collective/progress_board.hpp"

namespace cuboid {

enum class Backend : unsigned char { kMpi, kNccl };

// Collective over `comm`. kNccl needs a CUDA device that this rank has already set. Device buffers
// are ordered with `compute_stream`; null is the legacy default stream (LibTorch's default). With a
// channel a watchdog sees what the communicator does, its making included.
std::unique_ptr<Communicator> make_communicator(Backend backend, MPI_Comm comm, std::string name,
                                                cudaStream_t compute_stream = nullptr,
                                                Channel* channel = nullptr);

}  // namespace cuboid
