// What the executor itself costs: a step of 32 micro-batches whose computes do nothing, with as
// many stages as ranks, so that only actions, allocation and messages are left. bytes: activations
// and gradients over all boundaries. Limit: what the links of all boundaries carry at once, both
// ways.
#include <ATen/ops/empty.h>

#include "../harness/measure.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/pipeline/executor.hpp"

namespace cuboid::harness {
namespace {

constexpr int kMicroBatches = 32;

class NullStage : public StageCompute {
 public:
  NullStage(const Grid& grid, std::int64_t elements)
      : first_(grid.is_first_stage()),
        last_(grid.is_last_stage()),
        elements_(elements),
        boundary_(at::empty({elements},
                            at::TensorOptions(at::kFloat).device(world().processor().device))) {}

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

void run_step(benchmark::State& state, PipelineSchedule schedule, std::int64_t elements) {
  const int stages = world().size();
  const Grid grid(MPI_COMM_WORLD, {.dp = 1, .tp = 1, .pp = stages});
  const GridCommunicators communicators =
      make_grid_communicators(grid, world().processor().backend);
  NullStage stage(grid, elements);
  PipelineExecutor executor(stage, communicators);
  const auto actions = make_schedule(schedule, stages, grid.at().pp, kMicroBatches);
  const Times times = measure(state, {.action = [&] { executor.run(actions); }});
  state.counters["per_micro_batch_seconds"] = times.median / kMicroBatches;
  if (stages == 1) return;
  Limit limit = link_limit();
  limit.rate *= 2 * (stages - 1);
  set_rate(state, times, "bytes",
           4.0 * static_cast<double>(elements) * 2 * kMicroBatches * (stages - 1), limit);
}

void register_all() {
  for (const std::int64_t elements : {1024, 65536, 786432})
    for (const auto& [schedule, name] : {std::pair(PipelineSchedule::kGpipe, "gpipe"),
                                         std::pair(PipelineSchedule::kOneFOneB, "1f1b")}) {
      std::string size = short_bytes(4.0 * static_cast<double>(elements));
      std::erase(size, ' ');
      add(std::string("null_step/") + name + "/" + size,
          [=](benchmark::State& state) { run_step(state, schedule, elements); });
    }
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
