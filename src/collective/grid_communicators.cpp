#include "cuboid/collective/grid_communicators.hpp"

#include <numeric>
#include <vector>

#include "cuboid/collective/timed_communicator.hpp"

namespace cuboid {
namespace {

StepPart slowest_axis(const GridShape& shape) {
  if (shape.pp > 1) return StepPart::kP2pWait;
  return shape.tp > 1 ? StepPart::kTpWait : StepPart::kDpWait;
}

// The ranks of `comm` as ranks of `world`. Not collective.
std::vector<int> members_of(MPI_Comm comm, MPI_Comm world) {
  std::vector<int> ranks(static_cast<std::size_t>(size_of_comm(comm)));
  std::iota(ranks.begin(), ranks.end(), 0);
  std::vector<int> members(ranks.size());
  MPI_Group part = MPI_GROUP_NULL;
  MPI_Group whole = MPI_GROUP_NULL;
  check_mpi(MPI_Comm_group(comm, &part));
  check_mpi(MPI_Comm_group(world, &whole));
  check_mpi(MPI_Group_translate_ranks(part, static_cast<int>(ranks.size()), ranks.data(), whole,
                                      members.data()));
  MPI_Group_free(&part);
  MPI_Group_free(&whole);
  return members;
}

}  // namespace

GridCommunicators make_grid_communicators(const Grid& grid, Backend backend,
                                          cudaStream_t compute_stream, ProgressBoard* board) {
  const auto channel = [&](MPI_Comm comm, const char* name) -> Channel* {
    if (board == nullptr || size_of_comm(comm) == 1) return nullptr;
    return &board->add(name, members_of(comm, grid.world()));
  };
  const auto make = [&](MPI_Comm comm, const char* name, const char* shown = nullptr) {
    return make_communicator(backend, comm, name, compute_stream,
                             channel(comm, shown == nullptr ? name : shown));
  };
  GridCommunicators all;
  all.backend = backend;
  if (backend == Backend::kNccl) all.replays = channel(grid.world(), "step graph");
  all.recorder = std::make_unique<StepRecorder>();
  const auto timed = [&](std::unique_ptr<Communicator> inner, StepPart part) {
    return make_timed_communicator(std::move(inner), *all.recorder, part);
  };
  const StepPart several = slowest_axis(grid.shape());
  all.control = timed(make_communicator(Backend::kMpi, grid.world(), "control", nullptr,
                                        channel(grid.world(), "control")),
                      several);
  all.dp = timed(make(grid.dp(), "dp"), StepPart::kDpWait);
  all.tp = timed(make(grid.tp(), "tp"), StepPart::kTpWait);
  all.model_parallel = timed(make(grid.model_parallel(), "model_parallel"), several);
  all.ends = timed(make(grid.ends(), "ends"), several);
  const auto make_previous = [&] {
    all.activation_in = make(grid.with_previous(), "activation_in", "pp activations");
    all.gradient_out = make(grid.with_previous(), "gradient_out", "pp gradients");
  };
  const auto make_next = [&] {
    all.activation_out = make(grid.with_next(), "activation_out", "pp activations");
    all.gradient_in = make(grid.with_next(), "gradient_in", "pp gradients");
  };
  // Making one is collective over two neighbours: all pairs (0,1), (2,3), ... at once, then (1,2),
  // (3,4), ..., instead of one after another along the pipeline.
  if (grid.at().pp % 2 == 0) {
    make_next();
    make_previous();
  } else {
    make_previous();
    make_next();
  }
  return all;
}

}  // namespace cuboid
