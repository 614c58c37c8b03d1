// The memory of `cuboid bench collectives`: whether there is enough, then the two buffers.
#pragma once

#include <mpi.h>

#include "cuboid/app/setup.hpp"
#include "cuboid/base/handle.hpp"
#include "cuboid/collective/benchmark.hpp"
#include "cuboid/launch/session.hpp"

namespace cuboid {

// Collective over `world`; throws UsageError on all ranks where any node or GPU has too little free
// memory for its ranks. `largest`: the size that they need it for.
void require_memory(MPI_Comm world, const NodeMap& nodes, const Processor& processor,
                    const BenchmarkMemory& memory, std::int64_t largest);

struct BenchMemoryTraits {
  struct Type {
    void* data;
    Place place;
    bool operator==(const Type&) const = default;
  };
  static Type null() { return {nullptr, Place::kHost}; }
  static void release(Type memory) noexcept;
};
using BenchMemory = Handle<BenchMemoryTraits>;

// Of at least one byte, not yet touched.
BenchMemory allocate(std::int64_t bytes, Place place);

}  // namespace cuboid
