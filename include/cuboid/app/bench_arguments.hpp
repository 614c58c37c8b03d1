// The arguments of `cuboid bench collectives`: nccl-tests' own, and those of a run that say which
// grid, device and backend.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "cuboid/collective/benchmark.hpp"
#include "cuboid/config/config.hpp"

namespace cuboid {

struct BenchArguments {
  std::int64_t min_bytes = 0;    // 0: 1 KiB, or max_bytes where that is less
  std::int64_t max_bytes = 0;    // 0: 16 MiB, or min_bytes where that is more
  std::int64_t step_bytes = 0;   // 0: step_factor
  std::int64_t step_factor = 0;  // 0: 4
  std::int64_t iterations = 20;
  std::int64_t warmups = 5;
  std::int64_t checks = 1;
  Average average = Average::kMaximum;
  std::int64_t root = 0;
  std::vector<ReduceOp> ops = {ReduceOp::kSum};
  std::vector<DType> dtypes = {DType::kFloat32};
  std::vector<Collective> collectives;
  std::string axis = "world";
  bool shared_memory = true;  // where ranks share a node, as training has it
  std::string json;           // path; empty: none
  ParallelConfig parallel;
  RuntimeConfig runtime;
  bool help = false;
  std::vector<std::string> problems;  // everything that was not understood

  // The sizes of the table, smallest first.
  [[nodiscard]] std::vector<std::int64_t> sizes() const;
  // The table's cases, by collective; sizes without an element for each of `ranks` are left out.
  [[nodiscard]] std::vector<CollectiveCase> cases(int ranks) const;
};

struct BenchOption {
  char letter = '\0';      // "-b"; none
  std::string name;        // "minbytes", as nccl-tests has it
  std::string value_name;  // "SIZE"
  std::string help;
  std::string legal;
  std::function<bool(BenchArguments&, const std::string& text)> set;  // false: not legal
};
std::span<const BenchOption> bench_options();
// Options of `cuboid pretrain` that a benchmark takes, too.
std::span<const std::string> bench_run_options();

// Never throws: mistakes become problems.
BenchArguments read_bench_arguments(std::span<const std::string> words);

// The text of `cuboid bench collectives --help`.
std::string bench_help();
std::string_view name_of(ReduceOp op);

}  // namespace cuboid
