#include "cuboid/app/setup.hpp"

#include <ATen/Parallel.h>
#include <omp.h>

#include <cstdio>
#include <numeric>
#include <optional>
#include <vector>

#include "cuboid/app/command.hpp"
#include "cuboid/app/terminal.hpp"
#include "cuboid/base/processor.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/launch/device.hpp"

namespace cuboid {

void Announcer::say(const std::string& text) const {
  if (!speaks_ || text.empty()) return;
  std::printf("%s%s", text.c_str(), text.back() == '\n' ? "" : "\n");
  std::fflush(stdout);
}

void Announcer::warn(const std::string& text) const {
  if (!text.empty()) say(warning_prefix() + text);
}

Processor choose_processor(const RuntimeConfig& runtime, MPI_Comm world, const NodeMap& nodes) {
  Processor processor;
  if (runtime.device != DeviceChoice::kCuda) {
    if (const std::string instructions = vector_instructions(); !instructions.empty())
      processor.name += " (" + instructions + ")";
    return processor;
  }
  const CudaDevice device = use_cuda_device(nodes.local_rank);
  processor.device = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device.index));
  processor.name = device.name;
  // NCCL wants a GPU for each rank; ranks that share one talk over MPI unless told otherwise.
  processor.num_devices = num_devices(world, device.id);
  const bool shared = processor.num_devices < size_of_comm(world);
  const bool nccl = runtime.comm_backend == BackendChoice::kNccl ||
                    (runtime.comm_backend == BackendChoice::kAuto && !shared);
  processor.backend = nccl ? Backend::kNccl : Backend::kMpi;
  return processor;
}

std::unique_ptr<Watchdog> make_watchdog(const Config& config, const MpiSession& session,
                                        const NodeMap& nodes) {
  const auto timeout = config.runtime.comm_timeout;
  if (timeout == 0 || session.size() == 1) return nullptr;
  const auto name_of = [shape = shape_of(config.parallel), nodes](int rank) {
    const auto node = static_cast<std::size_t>(nodes.node_of[static_cast<std::size_t>(rank)]);
    return format("rank %d (%s) on %s", rank, to_string(coordinate_of(shape, rank)).c_str(),
                  nodes.hosts[node].c_str());
  };
  return std::make_unique<Watchdog>(
      session.world(),
      WatchdogOptions{
          .timeout = timeout ? std::optional(static_cast<double>(*timeout)) : std::nullopt,
          .exit_code = kHungExit,
          .prefix = error_prefix(),
          .name_of = name_of,
          .node_of = nodes.node_of,
          .abort_job = [&session](int exit_code) { session.abort(exit_code); }});
}

Grid make_grid(const MpiSession& session, const GridShape& shape, Watchdog* watchdog) {
  if (watchdog == nullptr) return Grid(session.world(), shape);
  std::vector<int> everyone(static_cast<std::size_t>(session.size()));
  std::iota(everyone.begin(), everyone.end(), 0);
  Channel& channel = watchdog->board().add("world", std::move(everyone));
  const Waiting waiting(&channel, channel.start("set-up", 0));
  return Grid(session.world(), shape);
}

GridCommunicators connect(const Grid& grid, const Processor& processor, Watchdog* watchdog) {
  return make_grid_communicators(grid, processor.backend, processor.stream,
                                 watchdog == nullptr ? nullptr : &watchdog->board());
}

at::ScalarType compute_type(const Config& config) {
  return config.runtime.dtype == Precision::kBFloat16 ? at::kBFloat16 : at::kFloat;
}

DataRequest data_request(const Config& config) {
  return {.path = config.data.data_dir,
          .output_dir = config.checkpoint.output_dir,
          .needs = {.seq_length = config.model.seq_length,
                    .vocab_size = config.model.vocab_size,
                    .validation = config.train.eval_steps > 0}};
}

Stage::Options stage_options(const Config& config, const Processor& processor) {
  return {.dtype = compute_type(config),
          .device = processor.device,
          .seed = static_cast<std::uint64_t>(config.train.seed),
          .micro_batch_size = config.batch.micro_batch_size,
          .attention = config.runtime.attention_kernel};
}

GridShape shape_of(const ParallelConfig& parallel) {
  return {.dp = static_cast<int>(parallel.data_parallel_size),
          .tp = static_cast<int>(parallel.tensor_parallel_size),
          .pp = static_cast<int>(parallel.pipeline_parallel_size)};
}

std::string device_report(const Processor& processor, const RuntimeConfig& runtime,
                          const NodeMap& nodes) {
  std::string text =
      format("Device: %s, %ld thread%s a rank, communication over %s\n", processor.name.c_str(),
             static_cast<long>(runtime.num_threads), runtime.num_threads == 1 ? "" : "s",
             processor.backend == Backend::kNccl ? "NCCL" : "MPI");
  if (processor.device.is_cpu() && runtime.dtype == Precision::kBFloat16 && !has_bf16_products()) {
    text += warning_prefix() +
            "this CPU has no instructions for bf16 products, which are made in fp32: --dtype bf16 "
            "saves memory here, no time\n";
  }
  if (nodes.oversubscribed()) {
    text += warning_prefix() +
            format("%d ranks share %d cores: timings are those of a crowded machine\n",
                   nodes.ranks_on_these_cores, nodes.cores);
  }
  return text;
}

void set_threads(std::int64_t count) {
  omp_set_num_threads(static_cast<int>(count));
  at::set_num_threads(static_cast<int>(count));
}

}  // namespace cuboid
