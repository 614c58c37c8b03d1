// Small training runs on any grid, for tests: the same model and data wherever they run.
#pragma once

#include <mpi.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cuboid/collective/backend.hpp"
#include "cuboid/config/config.hpp"
#include "cuboid/grid/grid.hpp"
#include "cuboid/trainer/train_step.hpp"

namespace cuboid::test {

// Models small enough for eight ranks on two cores, with what is awkward about real ones: a
// vocabulary that TP does not divide, layers that stages do not, heads that share keys.
ModelConfig tiny_gpt2();
ModelConfig tiny_llama();

struct RunOptions {
  ModelConfig model;
  GridShape shape{};
  PipelineSchedule schedule = PipelineSchedule::kOneFOneB;
  std::int64_t global_batch_size = 8;
  std::int64_t micro_batch_size = 1;
  std::int64_t steps = 20;
  at::ScalarType dtype = at::kFloat;
  std::uint64_t seed = 7;
  at::Device device = at::kCPU;
  Backend backend = Backend::kMpi;
  std::optional<bool> cuda_graph{};
  AttentionKernel attention = AttentionKernel::kAuto;
  // On a GPU; null: LibTorch's default stream, where no step can be captured.
  cudaStream_t stream = nullptr;
  // What the run says of itself; null: nobody listens.
  std::vector<std::string>* said = nullptr;
};

struct RunResult {
  std::vector<double> losses, grad_norms;
  // Whole logical tensors by name, fp64 on the host, the same on all ranks of the run.
  std::map<std::string, at::Tensor> initial, final;
};

Config make_config(const RunOptions& options);
// The global batch of one step as one replica sees it: tokens are a pure function of (sample, t).
Batch make_batch(const Config& config, const GridShape& shape, int dp_rank, std::int64_t step);
// Whole logical tensors from a flat buffer laid out like the store's master weights. Collective.
std::map<std::string, at::Tensor> gather(const WeightStore& store, const at::Tensor& flat,
                                         const Grid& grid, Communicator& model_parallel);
// Collective over `world`, which must have options.shape.size() ranks.
RunResult train(MPI_Comm world, const RunOptions& options);

}  // namespace cuboid::test
