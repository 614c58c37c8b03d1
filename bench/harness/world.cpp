#include "world.hpp"

#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime_api.h>
#include <mpi.h>
#include <omp.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>

#include "cuboid/app/command.hpp"
#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/launch/device.hpp"
#include "cuboid/launch/memory.hpp"

namespace cuboid::harness {
namespace {

World* g_world = nullptr;

// GPUs only where no rank must share one: a benchmark of a shared GPU measures the sharing. A rank
// may see all of its node's, or only its own.
DeviceChoice resolve(DeviceChoice choice, MPI_Comm comm, const NodeMap& nodes) {
  if (choice == DeviceChoice::kCpu) return choice;
  int sees_one = cuda_device_count() > 0 ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &sees_one, 1, MPI_INT, MPI_MIN, comm);
  if (sees_one != 0 && !is_device_shared(comm, use_cuda_device(nodes.local_rank).id))
    return DeviceChoice::kCuda;
  if (choice == DeviceChoice::kCuda)
    throw UsageError(sees_one != 0
                         ? "--device cuda: there are more ranks than GPUs, and a benchmark "
                           "of a shared GPU measures the sharing"
                         : "--device cuda: a rank sees no GPU");
  return DeviceChoice::kCpu;
}

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown";
}

}  // namespace

World& world() {
  require(g_world != nullptr, "benchmarks run inside main");
  return *g_world;
}
void set_world(World* world) {
  g_world = world;
}

Settings take_settings(std::vector<std::string>& arguments) {
  Settings settings;
  const auto value_of = [](const std::string& argument) {
    return argument.substr(argument.find('=') + 1);
  };
  const auto take = [&](const std::string& argument) {
    if (argument == "--all") {
      settings.all = true;
    } else if (argument.starts_with("--device=")) {
      const std::string value = value_of(argument);
      if (value != "auto" && value != "cpu" && value != "cuda")
        throw UsageError("--device '" + value + "' is not a device; legal: auto, cpu, cuda");
      settings.device = value == "cpu"    ? DeviceChoice::kCpu
                        : value == "cuda" ? DeviceChoice::kCuda
                                          : DeviceChoice::kAuto;
    } else if (argument.starts_with("--benchmark_min_time=")) {
      const std::string value = value_of(argument);
      char* end = nullptr;
      settings.min_seconds = std::strtod(value.c_str(), &end);
      const std::string unit = end;
      if (end == value.c_str() || (!unit.empty() && unit != "s") || !(settings.min_seconds >= 0))
        throw UsageError("--benchmark_min_time '" + value + "' is not a time; legal: seconds, 0.5");
    } else {
      return false;
    }
    return true;
  };
  std::erase_if(arguments, take);
  return settings;
}

World::World(const MpiSession& session, const Settings& settings)
    : session_(session), settings_(settings), nodes_(map_nodes(session.world())) {
  RuntimeConfig runtime;
  runtime.device = resolve(settings.device, session.world(), nodes_);
  processor_ = choose_processor(runtime, session.world(), nodes_);
  threads_ =
      std::getenv("OMP_NUM_THREADS") != nullptr ? omp_get_max_threads() : nodes_.threads_per_rank();
  set_threads(threads_);
  const bool here = nodes_.ranks_on_these_cores * threads_ > nodes_.cores;
  shares_cores_ = largest(here ? 1 : 0) > 0;
  communicator_ = make_communicator(processor_.backend, session.world(), "bench");
}

std::string World::backend() const {
  return processor_.backend == Backend::kNccl ? "nccl" : "mpi";
}

double World::largest(double value) const {
  MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_DOUBLE, MPI_MAX, session_.world());
  return value;
}

std::string World::description() const {
  const auto many = [](std::size_t count, const char* what) {
    return format("%zu %s%s", count, what, count == 1 ? "" : "s");
  };
  const auto threads = static_cast<std::size_t>(threads_);
  const std::string device = processor_.device.is_cuda() ? processor_.name : processor_name();
  std::string text = many(static_cast<std::size_t>(size()), "rank") + " on " +
                     many(nodes_.hosts.size(), "node") + ", " + many(threads, "thread") +
                     (size() > 1 ? " each, on " : ", on ") + device + "\n";
  if (shares_cores_)
    text +=
        format("warning: %d ranks with %s each share %s: these are times of a crowded machine\n",
               nodes_.ranks_on_these_cores, many(threads, "thread").c_str(),
               many(static_cast<std::size_t>(nodes_.cores), "core").c_str());
  return text;
}

void World::add_context() const {
  const auto add = [](const std::string& key, const std::string& value) {
    benchmark::AddCustomContext(key, value);
  };
  add("cpu", processor_name());
  add("device", processor_.name);
  add("backend", backend());
  add("ranks", std::to_string(size()));
  add("nodes", std::to_string(nodes_.hosts.size()));
  add("ranks_on_first_node", std::to_string(nodes_.local_size));
  add("threads_per_rank", std::to_string(threads_));
  add("cores_of_first_rank", std::to_string(nodes_.cores));
  add("ranks_share_cores", shares_cores_ ? "true" : "false");
  add("min_seconds", format("%g", settings_.min_seconds));
  for (const auto& [name, version] : versions()) add("version_" + name, version);
}

bool fits(benchmark::State& state, double bytes, std::optional<Place> place) {
  const bool on_device = place ? *place == Place::kDevice : world().processor().device.is_cuda();
  // If all ranks of the node take as much.
  double free = static_cast<double>(available_memory()) / world().nodes().local_size;
  if (on_device) {
    // What earlier benchmarks have given back, LibTorch keeps.
    c10::cuda::CUDACachingAllocator::emptyCache();
    std::size_t available = 0;
    std::size_t total = 0;
    check_cuda(cudaMemGetInfo(&available, &total));
    free = static_cast<double>(available);
  }
  free = -world().largest(-free);
  constexpr double kShare = 0.8;                         // MPI and the system need room as well
  if (free <= 0 || bytes <= kShare * free) return true;  // 0: the system does not say
  state.SkipWithError(format("left out: needs %s a rank, %s are free", short_bytes(bytes).c_str(),
                             short_bytes(free).c_str())
                          .c_str());
  return false;
}

}  // namespace cuboid::harness
