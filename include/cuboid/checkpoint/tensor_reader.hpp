// The parallel part of a load: all ranks read their share of the file at once.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <span>
#include <vector>

#include "cuboid/checkpoint/load_plan.hpp"
#include "cuboid/checkpoint/reader.hpp"

namespace cuboid {

// Collective over `comm`. Fills the slices and returns what each adds to its tensor's sum
// (digest.hpp), computed from the memory that was filled. Throws the same on all ranks, SystemError
// where reading fails on any. exchange_bytes: see LoadOptions.
std::vector<std::uint64_t> read_tensors(const CheckpointReader& file, MPI_Comm comm,
                                        const LoadPlan& plan, std::span<const TensorSlice> slices,
                                        std::int64_t exchange_bytes);

}  // namespace cuboid
