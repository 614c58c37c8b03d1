// What a benchmark program runs on: its ranks, their processors, and what its command line asks.
#pragma once

#include <ATen/core/Tensor.h>
#include <benchmark/benchmark.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cuboid/app/setup.hpp"
#include "cuboid/launch/session.hpp"

namespace cuboid::harness {

struct Settings {
  double min_seconds = 0.2;  // --benchmark_min_time: measured in all, for each benchmark
  bool all = false;          // --all: every size and shape, not only the quick set
  DeviceChoice device = DeviceChoice::kAuto;  // --device; auto: GPUs where each rank has one
};

// Removes the options above from `arguments`. Throws UsageError.
Settings take_settings(std::vector<std::string>& arguments);

class World {
 public:
  // Collective. Sets this rank's device and threads (OMP_NUM_THREADS, or its share of the cores).
  World(const MpiSession& session, const Settings& settings);

  [[nodiscard]] int rank() const { return session_.rank(); }
  [[nodiscard]] int size() const { return session_.size(); }
  [[nodiscard]] const Settings& settings() const { return settings_; }
  [[nodiscard]] const Processor& processor() const { return processor_; }
  [[nodiscard]] const NodeMap& nodes() const { return nodes_; }
  [[nodiscard]] int threads() const { return threads_; }
  // Whether threads of the ranks outnumber the cores that they run on, on any node.
  [[nodiscard]] bool shares_cores() const { return shares_cores_; }
  // All ranks, over NCCL where each has a GPU, over MPI elsewhere.
  [[nodiscard]] Communicator& communicator() const { return *communicator_; }
  // "mpi" or "nccl".
  [[nodiscard]] std::string backend() const;
  // Largest value over the ranks. Collective.
  [[nodiscard]] double largest(double value) const;

  // For the report's head, one sentence a line.
  [[nodiscard]] std::string description() const;
  // The same, the processor's name and library versions, for the JSON file.
  void add_context() const;

 private:
  const MpiSession& session_;
  Settings settings_;
  NodeMap nodes_;
  Processor processor_;
  int threads_ = 1;
  bool shares_cores_ = false;
  std::unique_ptr<Communicator> communicator_;
};

// The one of this program; it exists while benchmarks are registered and run.
World& world();
void set_world(World* world);

// Leaves a benchmark out, with the reason as its result, when `bytes` a rank are more than there
// are, of the memory of the processor that computes (a GPU's own), or of `place`. Collective; the
// same answer on all ranks.
bool fits(benchmark::State& state, double bytes, std::optional<Place> place = {});

}  // namespace cuboid::harness
