#include "cuboid/collective/grid_communicators.hpp"

namespace cuboid {

GridCommunicators make_grid_communicators(const Grid& grid, Backend backend,
                                          cudaStream_t compute_stream) {
  const auto make = [&](MPI_Comm comm, const char* name) {
    return make_communicator(backend, comm, name, compute_stream);
  };
  GridCommunicators all;
  all.control = make_communicator(Backend::kMpi, grid.world(), "control");
  all.dp = make(grid.dp(), "dp");
  all.tp = make(grid.tp(), "tp");
  all.model_parallel = make(grid.model_parallel(), "model_parallel");
  all.ends = make(grid.ends(), "ends");
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
