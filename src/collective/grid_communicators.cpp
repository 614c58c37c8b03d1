#include "cuboid/collective/grid_communicators.hpp"

#include "cuboid/collective/timed_communicator.hpp"

namespace cuboid {
namespace {

StepPart slowest_axis(const GridShape& shape) {
  if (shape.pp > 1) return StepPart::kP2pWait;
  return shape.tp > 1 ? StepPart::kTpWait : StepPart::kDpWait;
}

}  // namespace

GridCommunicators make_grid_communicators(const Grid& grid, Backend backend,
                                          cudaStream_t compute_stream) {
  const auto make = [&](MPI_Comm comm, const char* name) {
    return make_communicator(backend, comm, name, compute_stream);
  };
  GridCommunicators all;
  all.recorder = std::make_unique<StepRecorder>();
  const auto timed = [&](std::unique_ptr<Communicator> inner, StepPart part) {
    return make_timed_communicator(std::move(inner), *all.recorder, part);
  };
  const StepPart several = slowest_axis(grid.shape());
  all.control = timed(make_communicator(Backend::kMpi, grid.world(), "control"), several);
  all.dp = timed(make(grid.dp(), "dp"), StepPart::kDpWait);
  all.tp = timed(make(grid.tp(), "tp"), StepPart::kTpWait);
  all.model_parallel = timed(make(grid.model_parallel(), "model_parallel"), several);
  all.ends = timed(make(grid.ends(), "ends"), several);
  const auto make_previous = [&] {
    all.activation_in = make(grid.with_previous(), "activation_in");
    all.gradient_out = make(grid.with_previous(), "gradient_out");
  };
  const auto make_next = [&] {
    all.activation_out = make(grid.with_next(), "activation_out");
    all.gradient_in = make(grid.with_next(), "gradient_in");
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
