// What the commands that compute do before they have a grid, and how they speak.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "cuboid/collective/grid_communicators.hpp"
#include "cuboid/collective/watchdog.hpp"
#include "cuboid/config/config.hpp"
#include "cuboid/data/dataset.hpp"
#include "cuboid/grid/shape.hpp"
#include "cuboid/launch/session.hpp"
#include "cuboid/model/stage.hpp"

namespace cuboid {

// Prints to standard output, on the one rank that speaks.
class Announcer {
 public:
  explicit Announcer(bool speaks) : speaks_(speaks) {}
  void say(const std::string& text) const;
  void warn(const std::string& text) const;

 private:
  bool speaks_;
};

struct Processor {
  at::Device device = at::kCPU;
  std::string name = "CPU";
  int num_devices = 0;  // GPUs that the ranks compute on together
  Backend backend = Backend::kMpi;
  cudaStream_t stream = nullptr;  // what it computes on; null: the default stream, or no GPU
};

// The device of this rank, and what its collectives go over. `runtime.device` is resolved.
// Collective over `world`.
Processor choose_processor(const RuntimeConfig& runtime, MPI_Comm world, const NodeMap& nodes);
// "Device: CPU (AVX2), 1 thread a rank, communication over MPI", and warnings: bf16 that this CPU
// has no instructions for, ranks that share cores.
std::string device_report(const Processor& processor, const RuntimeConfig& runtime,
                          const NodeMap& nodes);

// Watches the communication of this run as --comm-timeout says; null where it is 0, and on one
// rank. Collective over the session. `config` is resolved.
std::unique_ptr<Watchdog> make_watchdog(const Config& config, const MpiSession& session,
                                        const NodeMap& nodes);
// The grid, and its communicators below; making them is watched, too. The watchdog may be null.
Grid make_grid(const MpiSession& session, const GridShape& shape, Watchdog* watchdog);
GridCommunicators connect(const Grid& grid, const Processor& processor, Watchdog* watchdog);

at::ScalarType compute_type(const Config& config);
// What `config`, resolved, asks of its data and of this rank's stage of the model.
DataRequest data_request(const Config& config);
Stage::Options stage_options(const Config& config, const Processor& processor);
GridShape shape_of(const ParallelConfig& parallel);
// Of OpenMP and LibTorch alike.
void set_threads(std::int64_t count);

}  // namespace cuboid
