#include "cuboid/app/bench_memory.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <new>
#include <string>

#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/agreement.hpp"
#include "cuboid/collective/cuda.hpp"
#include "cuboid/launch/device.hpp"
#include "cuboid/launch/memory.hpp"

namespace cuboid {
namespace {

constexpr std::align_val_t kAlignment{64};

std::string size_text(std::int64_t bytes) {
  return short_bytes(static_cast<double>(bytes));
}

void require_room(const std::string& where, std::int64_t each, int ranks, std::int64_t there,
                  std::int64_t largest) {
  if (each <= there / ranks) return;
  const std::string who = ranks == 1
                              ? "a rank needs " + size_text(each)
                              : format("%d ranks need %s each", ranks, size_text(each).c_str());
  throw UsageError(format(
      "--maxbytes %lld: %s, more than the %s that are free on %s; legal: a "
      "smaller --maxbytes, or fewer ranks",
      static_cast<long long>(largest), who.c_str(), size_text(there).c_str(), where.c_str()));
}

}  // namespace

void require_memory(MPI_Comm world, const NodeMap& nodes, const Processor& processor,
                    const BenchmarkMemory& memory, std::int64_t largest) {
  const std::int64_t all = memory.first + memory.second;
  const bool on_device = processor.device.is_cuda();
  // Over MPI, device memory goes through as much host memory.
  const bool on_host = !on_device || processor.backend == Backend::kMpi;
  together(world, [&] {
    int rank = 0;
    check_mpi(MPI_Comm_rank(world, &rank));
    const int node = nodes.node_of[static_cast<std::size_t>(rank)];
    const std::string host = nodes.hosts[static_cast<std::size_t>(node)];
    if (on_host) require_room(host, all, nodes.local_size, available_memory(), largest);
    if (!on_device) return;
    std::size_t free = 0;
    std::size_t total = 0;
    check_cuda(cudaMemGetInfo(&free, &total));
    // Ranks take the devices that they see in turns.
    const int devices = std::max(1, cuda_device_count());
    require_room("a GPU of " + host, all, (nodes.local_size + devices - 1) / devices,
                 static_cast<std::int64_t>(free), largest);
  });
}

void BenchMemoryTraits::release(Type memory) noexcept {
  if (memory.place == Place::kHost) {
    ::operator delete(memory.data, kAlignment);
  } else {
    cudaFree(memory.data);
  }
}

BenchMemory allocate(std::int64_t bytes, Place place) {
  const auto size = static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1));
  if (place == Place::kHost) return BenchMemory({::operator new(size, kAlignment), place});
  void* data = nullptr;
  check_cuda(cudaMalloc(&data, size));
  return BenchMemory({data, place});
}

}  // namespace cuboid
