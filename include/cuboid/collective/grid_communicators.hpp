// The communicators of one rank of a grid, each built from that axis's MPI communicator.
#pragma once

#include <memory>

#include "cuboid/base/step_recorder.hpp"
#include "cuboid/collective/backend.hpp"
#include "cuboid/collective/communicator.hpp"
#include "cuboid/grid/grid.hpp"

namespace cuboid {

struct GridCommunicators {
  // Where a step's time goes. Calls into the communicators below are its spans, each of its axis;
  // but those between stages, whose messages the pipeline records by micro-batch. What talks over
  // several axes (model_parallel, ends, control) does so when a step's passes are over and waits
  // for the slowest stage where there are stages, else for the slowest TP rank, else for the
  // slowest replica: it counts for that axis. The host's clock; a GPU's is the caller's to set.
  std::unique_ptr<StepRecorder> recorder;
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
  Backend backend = Backend::kMpi;  // of all but control
  // Where a watchdog looks whether this rank waits for a step that is replayed as one graph, whose
  // operations it does not see one by one. Null where nobody watches, or over MPI.
  Channel* replays = nullptr;
};

// Collective over the grid. kNccl needs a CUDA device that this rank has already set. Device
// buffers are ordered with `compute_stream`; null is the legacy default stream (LibTorch's
// default). With a board, which must outlive them, a watchdog sees what they do; those between
// stages have one name on both sides there, "pp activations" and "pp gradients".
GridCommunicators make_grid_communicators(const Grid& grid, Backend backend,
                                          cudaStream_t compute_stream = nullptr,
                                          ProgressBoard* board = nullptr);

}  // namespace cuboid
