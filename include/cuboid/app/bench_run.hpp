// What `cuboid bench collectives` measures, row by row, and how it prints it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cuboid/app/bench_arguments.hpp"
#include "cuboid/collective/benchmark.hpp"

namespace cuboid {

struct BenchFigures {
  double seconds = 0.0;
  double algorithm = 0.0;  // GB/s
  double bus = 0.0;
  std::optional<std::int64_t> wrong;  // over all groups; none: not checked
};

struct BenchRow {
  CollectiveCase one;
  std::int64_t bytes = 0;
  std::optional<BenchFigures> out_of_place, in_place;
};

struct BenchResult {
  std::vector<BenchRow> rows;
  // Elements over all rows; and the mean of all figures, small sizes included, as nccl-tests does.
  [[nodiscard]] std::int64_t wrong() const;
  [[nodiscard]] double average_bus() const;
};

// The ranks that talk and those that measure at the same time.
struct BenchRanks {
  Communicator& group;     // what is measured
  Communicator& control;   // its ranks, over MPI
  Communicator& everyone;  // of all groups, over MPI
  // Of a group. A rank whose own group is smaller (no end of a pipeline, say) only waits.
  int ranks = 1;
};

// The two buffers that a rank needs for all cases.
BenchmarkMemory memory_for(const std::vector<CollectiveCase>& cases, int ranks);

// Measures the cases one after the other and hands each row to `print`. Collective over everyone;
// rows are the same on all ranks. Time: of a group as `average` says, of the slowest group.
BenchResult run_benchmarks(const BenchArguments& arguments, const BenchRanks& ranks, Buffer first,
                           Buffer second, const std::function<void(const BenchRow&)>& print);

// nccl-tests' table: columns of one collective, a line of it, and what comes after all lines.
std::string bench_heading(Collective collective);
std::string bench_line(const BenchRow& row);
std::string bench_ending(const BenchResult& result);

}  // namespace cuboid
