// ranks: 1
#include "cuboid/trainer/checkpointer.hpp"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <omp.h>
#include <stdlib.h>

#include <filesystem>
#include <iterator>

namespace cuboid {
namespace {

namespace fs = std::filesystem;

std::ptrdiff_t threads_of_this_process() {
  return std::distance(fs::directory_iterator("/proc/self/task"), fs::directory_iterator());
}

// A team that the save's thread made to copy with would wait in it until it ends.
TEST(Checkpointer, CopiesInTheBackgroundOnOneThread) {
  constexpr int kThreads = 4;
  omp_set_num_threads(kThreads);
  at::set_num_threads(kThreads);
  std::string folder = fs::temp_directory_path() / "cuboid-checkpointer-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const Grid grid(MPI_COMM_WORLD, {.dp = 1, .tp = 1, .pp = 1});
  WeightStore store;
  store.add({{.name = "layers.0.weight", .shape = {2048, 1024}}});
  store.allocate(at::kFloat, at::kCPU, /*seed=*/1);
  const AdamW optimizer(store, OptimizerConfig{});
  CheckpointConfig config;
  config.output_dir = folder;
  config.save_async = true;
  Checkpointer checkpointer(config, grid, store, optimizer);
  at::parallel_for(0, kThreads, 1, [](auto, auto) {});  // this thread's own team
  const std::ptrdiff_t before = threads_of_this_process();
  bool is_seen = false;
  for (int i = 0; i < 20 && !is_seen; ++i) {
    Metadata metadata;
    metadata.step = i;
    metadata.grid = grid.shape();
    checkpointer.save(metadata, /*in_background=*/true);
    checkpointer.wait_until_copied();
    const std::ptrdiff_t during = threads_of_this_process();
    is_seen = !checkpointer.take_report();  // it was still writing
    if (is_seen) {
      EXPECT_EQ(during, before + 1);
    }
    checkpointer.finish();
    checkpointer.take_report();
  }
  EXPECT_TRUE(is_seen);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace cuboid
