// Saving at once and in the background: the time in which training cannot go on. The state is that
// of 64 Mi parameters (768 MiB of fp32 weights and two moments) on a DP grid, saved to the current
// folder.
//   sync        the whole save
//   async       the stall: what save() takes before it returns, and what the next step then waits
//               before its update; between the two lie matrix products of about half a second, as
//               the passes of a step do. share_of_sync: the stall of `sync`'s time in the same
//               process; products_slower: what copying and writing beside them cost the products;
//               complete_ms: the end of the save
//   plain_copy  one copy of this rank's share: the stall where nothing lies between
// extra_MiB: by how much the largest rank's peak memory grows over what it held before.
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <benchmark/benchmark.h>
#include <c10/core/InferenceMode.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "cuboid/base/timer.hpp"
#include "cuboid/checkpoint/folder.hpp"
#include "cuboid/trainer/checkpointer.hpp"

namespace cuboid {
namespace {

constexpr std::int64_t kRows = 4096;
constexpr std::int64_t kColumns = 1024;
constexpr int kWeights = 16;
constexpr int kIterations = 7;

double largest(double value) {
  MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return value;
}

// Peak resident memory since the last call, in MiB, and that of now.
double peak_mib(const char* field) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    double kib = 0.0;
    if (word == field && status >> kib) return kib / 1024.0;
  }
  return 0.0;
}
void restart_peak() {
  std::ofstream("/proc/self/clear_refs") << "5";
}

struct State {
  State()
      : grid(MPI_COMM_WORLD, {.dp = size(), .tp = 1, .pp = 1}),
        store(make_store()),
        optimizer(store, OptimizerConfig{}) {}
  static int size() {
    int size = 0;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    return size;
  }
  static WeightStore make_store() {
    WeightStore store;
    for (int i = 0; i < kWeights; ++i)
      store.add({{.name = "layers." + std::to_string(i) + ".weight", .shape = {kRows, kColumns}}});
    store.allocate(at::kFloat, at::kCPU, 1);
    return store;
  }
  Grid grid;
  WeightStore store;
  AdamW optimizer;
};

State& state() {
  static State state;
  return state;
}

Metadata metadata() {
  Metadata metadata;
  metadata.grid = state().grid.shape();
  return metadata;
}

void remove_file() {
  MPI_Barrier(MPI_COMM_WORLD);
  if (state().grid.rank() == 0) ::unlink(checkpoint_path(".", 0).c_str());
  MPI_Barrier(MPI_COMM_WORLD);
}

double g_sync_seconds = 0.0;  // the median, for the share

// Seconds of the products that stand for a step's passes.
double multiply() {
  constexpr std::int64_t kSide = 1024;
  static const at::Tensor a = at::empty({kSide, kSide}, at::kFloat).fill_(0.5);
  static const at::Tensor out = at::empty({kSide, kSide}, at::kFloat).fill_(0.0);
  static const int count = [] {
    const Timer timer;
    int number = 0;
    while (timer.seconds() < 0.5) at::mm_out(const_cast<at::Tensor&>(out), a, a), ++number;
    return number;
  }();
  const Timer timer;
  for (int i = 0; i < count; ++i) at::mm_out(const_cast<at::Tensor&>(out), a, a);
  return timer.seconds();
}

void save(benchmark::State& bench, bool in_background) {
  const c10::InferenceMode no_autograd;
  CheckpointConfig config;
  config.output_dir = ".";
  config.save_async = in_background;
  state();
  const double before = peak_mib("VmRSS:");
  restart_peak();
  Checkpointer checkpointer(config, state().grid, state().store, state().optimizer);
  std::vector<double> stalls;
  std::vector<double> totals;
  double products = 0.0;
  double undisturbed = 0.0;
  for (auto _ : bench) {
    remove_file();
    if (in_background) undisturbed += multiply();
    MPI_Barrier(MPI_COMM_WORLD);
    const Timer timer;
    checkpointer.save(metadata(), in_background);
    const double stall = timer.seconds();
    if (in_background) products += multiply();
    const Timer wait;
    checkpointer.wait_until_copied();
    stalls.push_back(largest(stall + wait.seconds()));
    checkpointer.finish();
    totals.push_back(largest(timer.seconds()));
    bench.SetIterationTime(stalls.back());
  }
  const auto median = [](std::vector<double>& values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
  };
  if (!in_background) g_sync_seconds = median(totals);
  bench.counters["median_ms"] = median(stalls) * 1e3;
  bench.counters["extra_MiB"] = largest(peak_mib("VmHWM:") - before);
  if (in_background) {
    bench.counters["complete_ms"] = median(totals) * 1e3;
    bench.counters["products_slower"] = largest(products / undisturbed);
    bench.counters["share_of_sync"] = median(stalls) / g_sync_seconds;
  }
  remove_file();
}

void plain_copy(benchmark::State& bench) {
  const std::int64_t count = 3 * kWeights * kRows * kColumns / State::size();
  const at::Tensor from = at::empty({count}, at::kFloat).fill_(1.0);
  const at::Tensor to = at::empty({count}, at::kFloat).fill_(2.0);
  for (auto _ : bench) {
    MPI_Barrier(MPI_COMM_WORLD);
    const Timer timer;
    to.copy_(from);
    bench.SetIterationTime(largest(timer.seconds()));
  }
}

const auto* const kRegistered = [] {
  const auto add = [](const char* name, const std::function<void(benchmark::State&)>& run) {
    return benchmark::RegisterBenchmark(name, run)
        ->Iterations(kIterations)
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  };
  add("sync", [](benchmark::State& bench) { save(bench, false); });
  add("async", [](benchmark::State& bench) { save(bench, true); });
  return add("plain_copy", plain_copy);
}();

}  // namespace
}  // namespace cuboid
