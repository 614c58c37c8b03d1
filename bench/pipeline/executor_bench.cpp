// What the executor itself costs: a step of 32 micro-batches whose computes do nothing, so that
// only actions, allocation and messages are left. Run with as many ranks as stages.
#include <ATen/ops/empty.h>
#include <benchmark/benchmark.h>
#include <mpi.h>

#include "cuboid/pipeline/executor.hpp"

namespace cuboid {
namespace {

constexpr int kMicroBatches = 32;

class NullStage : public StageCompute {
 public:
  NullStage(const Grid& grid, std::int64_t elements)
      : first_(grid.is_first_stage()),
        last_(grid.is_last_stage()),
        elements_(elements),
        boundary_(at::empty({elements}, at::kFloat)) {}

  std::vector<std::int64_t> boundary_shape() const override { return {elements_}; }
  at::TensorOptions boundary_options() const override { return boundary_.options(); }
  at::Tensor forward(int, const at::Tensor&) override { return last_ ? at::Tensor() : boundary_; }
  at::Tensor backward(int, const at::Tensor&, bool) override {
    return first_ ? at::Tensor() : boundary_;
  }

 private:
  bool first_;
  bool last_;
  std::int64_t elements_;
  at::Tensor boundary_;
};

// Arguments: elements of the boundary (fp32), schedule.
void run_step(benchmark::State& state) {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const Grid grid(MPI_COMM_WORLD, {.dp = 1, .tp = 1, .pp = size});
  const GridCommunicators communicators = make_grid_communicators(grid, Backend::kMpi);
  NullStage stage(grid, state.range(0));
  PipelineExecutor executor(stage, communicators);
  const auto actions =
      make_schedule(state.range(1) == 0 ? PipelineSchedule::kGpipe : PipelineSchedule::kOneFOneB,
                    grid.shape().pp, grid.at().pp, kMicroBatches);
  for (auto _ : state) executor.run(actions);
  const double micro_batches = static_cast<double>(state.iterations()) * kMicroBatches;
  state.counters["time_per_micro_batch"] =
      benchmark::Counter(micro_batches, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  // Each boundary carries one activation and one gradient.
  state.SetBytesProcessed(static_cast<std::int64_t>(micro_batches) * (size - 1) * 2 * 4 *
                          state.range(0));
}

// All ranks must run a step equally often: the number is fixed.
BENCHMARK(run_step)
    ->Name("pipeline/null_step")
    ->ArgNames({"elements", "1f1b"})
    ->ArgsProduct({{1024, 65536, 786432}, {0, 1}})
    ->Iterations(50)
    ->UseRealTime();

}  // namespace
}  // namespace cuboid
