// Saving at once and in the background: the time in which training cannot go on. The state is fp32
// weights and two moments of CUBOID_BENCH_MIB (768) on a DP grid, saved to the current folder.
//   sync        the whole save
//   async       the stall: what save() takes before it returns, and what the next step then waits
//               before its update; between the two lie matrix products of about half a second, as
//               the passes of a step do. of_sync: the stall's share of `sync`'s time in the same
//               process; products_slower: what copying and writing beside them cost the products;
//               complete_seconds: the end of the save
//   plain_copy  one copy of this rank's share: the stall where nothing lies between
// extra_bytes: by how much the largest rank's peak memory grows over what it held before.
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "../harness/measure.hpp"
#include "../harness/memory.hpp"
#include "cuboid/base/timer.hpp"
#include "cuboid/checkpoint/folder.hpp"
#include "cuboid/trainer/checkpointer.hpp"

namespace cuboid::harness {
namespace {

constexpr std::int64_t kRows = 4096;
constexpr std::int64_t kColumns = 1024;
constexpr std::int64_t kBytesOfWeight = 3 * 4 * kRows * kColumns;  // with its moments
constexpr int kSaves = 7;

std::int64_t num_weights() {
  static const std::int64_t count =
      std::max<std::int64_t>(1, (setting("CUBOID_BENCH_MIB", 768) << 20) / kBytesOfWeight);
  return count;
}

struct State {
  State()
      : grid(MPI_COMM_WORLD, {.dp = world().size(), .tp = 1, .pp = 1}),
        store(make_store()),
        optimizer(store, OptimizerConfig{}) {}
  static WeightStore make_store() {
    WeightStore store;
    for (std::int64_t i = 0; i < num_weights(); ++i)
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

double g_sync_seconds = 0.0;  // for the share

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
  CheckpointConfig config;
  config.output_dir = ".";
  config.save_async = in_background;
  state();
  const double before = restart_peak_bytes();
  Checkpointer checkpointer(config, state().grid, state().store, state().optimizer);
  std::vector<double> stalls;
  std::vector<double> totals;
  double products = 0.0;
  double undisturbed = 0.0;
  const int saves = world().settings().min_seconds > 0 ? kSaves : 1;
  for (int i = 0; i < saves; ++i) {
    remove_file();
    if (in_background) undisturbed += multiply();
    MPI_Barrier(MPI_COMM_WORLD);
    const Timer timer;
    checkpointer.save(metadata(), in_background);
    const double stall = timer.seconds();
    if (in_background) products += multiply();
    const Timer wait;
    checkpointer.wait_until_copied();
    stalls.push_back(world().largest(stall + wait.seconds()));
    checkpointer.finish();
    checkpointer.take_report();
    totals.push_back(world().largest(timer.seconds()));
  }
  remove_file();
  const Times times = report(bench, stalls);
  bench.counters["extra_bytes"] = world().largest(peak_bytes() - before);
  if (!in_background) {
    g_sync_seconds = times.median;
    set_rate(bench, times, "bytes", static_cast<double>(kBytesOfWeight * num_weights()),
             write_limit());
    return;
  }
  std::ranges::sort(totals);
  bench.counters["complete_seconds"] = totals[totals.size() / 2];
  bench.counters["products_slower"] = world().largest(products / undisturbed);
  if (g_sync_seconds > 0) bench.counters["of_sync"] = times.median / g_sync_seconds;
}

void plain_copy(benchmark::State& bench) {
  const std::int64_t count = kBytesOfWeight * num_weights() / 4 / world().size();
  const at::Tensor from = at::empty({count}, at::kFloat).fill_(1.0);
  const at::Tensor to = at::empty({count}, at::kFloat).fill_(2.0);
  const Times times = measure(bench, {.action = [&] { to.copy_(from); }});
  const double bytes = 8.0 * static_cast<double>(count) * world().size();
  set_rate(bench, times, "bytes", bytes, copy_limit(bytes));
}

void register_all() {
  add("save/sync", [](benchmark::State& bench) { save(bench, false); });
  add("save/async", [](benchmark::State& bench) { save(bench, true); });
  add("save/plain_copy", plain_copy);
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
