// The communicators of one rank of a grid, each built from that axis's MPI communicator.
#pragma once

#include <memory>

#include "cuboid/collective/backend.hpp"
#include "cuboid/collective/communicator.hpp"
#include "cuboid/grid/grid.hpp"

namespace cuboid {

struct GridCommunicators {
  std::unique_ptr<Communicator> dp;
  std::unique_ptr<Communicator> tp;
  std::unique_ptr<Communicator> model_parallel;
  std::unique_ptr<Communicator> ends;
  // Point to point between stages, one communicator for each neighbour and direction, so that with
  // NCCL (one stream each) a receive posted ahead never holds up a send. Rank 0 is the earlier
  // stage.
  std::unique_ptr<Communicator> activation_in;   // from the previous stage
  std::unique_ptr<Communicator> activation_out;  // to the next stage
  std::unique_ptr<Communicator> gradient_in;     // from the next stage
  std::unique_ptr<Communicator> gradient_out;    // to the previous stage
  // Host values over the whole world, always by MPI: losses, digests, agreement.
  std::unique_ptr<Communicator> control;
};

// Collective over the grid. kNccl needs a CUDA device that this rank has already set. Device
// buffers are ordered with `compute_stream`; null is the legacy default stream (LibTorch's
// default).
GridCommunicators make_grid_communicators(const Grid& grid, Backend backend,
                                          cudaStream_t compute_stream = nullptr);

}  // namespace cuboid
