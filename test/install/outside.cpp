// A small program of somebody else: reads options, puts its ranks on a grid, sums a tensor over it,
// and looks into a checkpoint. Built with what `make install` installed and nothing else:
//
//   mpicxx outside.cpp $(pkg-config --cflags --libs cuboid) -o outside
//   mpirun -np 2 ./outside CHECKPOINT --preset 124m --tensor-parallel-size 2
#include <ATen/ops/full.h>

#include <cstdio>
#include <string>
#include <vector>

#include "cuboid/base/error.hpp"
#include "cuboid/checkpoint/reader.hpp"
#include "cuboid/collective/grid_communicators.hpp"
#include "cuboid/config/model_size.hpp"
#include "cuboid/config/resolve.hpp"
#include "cuboid/launch/session.hpp"
#include "cuboid/model/tensor_buffer.hpp"

namespace {

void report(const cuboid::MpiSession& session, const std::vector<std::string>& arguments) {
  const std::vector<std::string> options(arguments.begin() + 1, arguments.end());
  cuboid::Facts facts;
  facts.world_size = session.size();
  facts.data = cuboid::DataFacts{cuboid::DataKind::kTokens, 50257};
  const cuboid::Config config = cuboid::finish(cuboid::parse_options(options), facts);

  const int tp = static_cast<int>(config.parallel.tensor_parallel_size);
  const cuboid::Grid grid(session.world(), {session.size() / tp, tp, 1});
  const auto communicators = cuboid::make_grid_communicators(grid, cuboid::Backend::kMpi);
  const at::Tensor values = at::full({4}, session.rank() + 1.0F);
  communicators.tp->all_reduce(cuboid::buffer_of(values));

  if (session.rank() == 0) {
    const cuboid::CheckpointReader checkpoint(arguments.front());
    std::printf("parameters %lld\n", static_cast<long long>(cuboid::num_parameters(config.model)));
    std::printf("sum %g on %s\n", values[3].item<float>(), cuboid::to_string(grid.shape()).c_str());
    std::printf("checkpoint with %zu tensors\n", checkpoint.tensors().size());
  }
}

}  // namespace

int main(int argc, char** argv) {
  const cuboid::MpiSession session(&argc, &argv);
  try {
    report(session, {argv + 1, argv + argc});
  } catch (const cuboid::UsageError& error) {
    std::fprintf(stderr, "outside: %s\n", error.what());
    session.abort(2);
  }
  return 0;
}
